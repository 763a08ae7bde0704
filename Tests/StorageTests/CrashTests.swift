import Artifacts
import Digests
import Glibc
import System
import Testing
import Workers

@testable import Storage

/// What is believed after each kind of crash.
@Suite struct CrashTests {
    let directory: TestDirectory
    init() throws { directory = try TestDirectory() }

    /// A store's directory with one task whose journal and file the test has made.
    private func place(
        _ sample: Sample, journal: ArraySlice<UInt8>, data: [UInt8], as name: String = "data.partial"
    ) throws
        -> (TestDirectory, StoreConfiguration)
    {
        let own = try TestDirectory()
        let task = "\(own.path)/store/tasks/\(sample.task.directoryName)"
        try Directory.create(path: task, permissions: 0o700)
        try writeFile("\(task)/journal", Array(journal))
        try writeFile("\(task)/\(name)", data)
        return (own, configuration(own))
    }

    private func journal(of sample: Sample, keeping pieces: [PieceIndex], boot: UInt8 = 1) throws -> [UInt8] {
        let own = try TestDirectory()
        let store = try Store(configuration(own, boot: boot))
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        for piece in pieces { try sample.keep(piece, in: file) }
        return try readFile("\(own.path)/store/tasks/\(sample.task.directoryName)/journal")
    }

    @Test func aJournalTornAtAnyByteProvesExactlyItsWholeRecords() throws {
        let sample = Sample(seed: 20, sizeBytes: 4 * quarterPiece + 10)
        let whole = try journal(of: sample, keeping: [PieceIndex(1), PieceIndex(0)])
        #expect(whole.count == JournalHeader.sizeBytes + 2 * JournalRecord.sizeBytes)
        for length in 0...whole.count {
            let replay = JournalReplay(Array(whole[..<length]))
            guard length >= JournalHeader.sizeBytes else {
                #expect(replay == nil)
                continue
            }
            let records = (length - JournalHeader.sizeBytes) / JournalRecord.sizeBytes
            #expect(replay?.held.members == [[], [PieceIndex(1)], [PieceIndex(0), PieceIndex(1)]][records])
        }
        // The same on disk, at every kind of place, and going on from there.
        for length in [0, 1, 127, 128, 129, 175, 176, 177, 223, 224] {
            let (own, configuration) = try place(sample, journal: whole[..<length], data: sample.bytes)
            let log = Log()
            do {
                let store = try Store(configuration, log: log.take)
                let known = store.task(sample.task)
                #expect((known == nil) == (length < 128))
                #expect(log.lines.count == (length < 128 ? 1 : 0))
                let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
                #expect(file.held.count == max(0, length - 128) / 48)
                for piece in sample.pieces { try sample.keep(piece, in: file) }
            }
            let store = try Store(configuration)
            let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
            #expect(file.held.isFull)
            #expect(try file.publish(expected: nil) == .published(sample.task.digest))
            _ = own
        }
    }

    @Test func aDamagedByteEndsTheJournalThere() throws {
        let sample = Sample(seed: 21, sizeBytes: 8 * quarterPiece + 10)
        let whole = try journal(of: sample, keeping: sample.pieces)
        for position in whole.indices {
            var damaged = whole
            damaged[position] ^= 0x10
            let replay = JournalReplay(damaged)
            if position < JournalHeader.sizeBytes {
                #expect(replay == nil)
            } else {
                let intact = (position - JournalHeader.sizeBytes) / JournalRecord.sizeBytes
                #expect(replay?.held.members == Array(sample.pieces[..<intact]))
            }
        }
        // A hole: a missing record hides those behind it.
        let holed = Array(whole[..<128] + whole[176...])
        #expect(JournalReplay(holed)?.held.isEmpty == true)
    }

    @Test func afterAnotherBootUnsyncedPiecesAreDigestedAgain() throws {
        let sample = Sample(seed: 22, sizeBytes: 20 * quarterPiece)
        let data = "\(directory.path)/store/tasks/\(sample.task.directoryName)/data.partial"
        do {
            let store = try Store(configuration(directory))
            let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
            for piece in [0, 1] { try sample.keep(PieceIndex(piece), in: file) }
            try store.checkpoint()
            for piece in [2, 3] { try sample.keep(PieceIndex(piece), in: file) }
        }
        // What the machine's crash took: a block of piece 2 that had not reached the disk.
        try writeFile(data, Array(repeating: 0, count: 4096), at: UInt64(9 * quarterPiece))
        do {
            // Still the same boot: the page cache lives, and nothing is read again.
            let store = try Store(configuration(directory))
            #expect(store.task(sample.task)?.held.count == 4)
        }
        let log = Log()
        let store = try Store(configuration(directory, boot: 2), log: log.take)
        let file = try #require(store.task(sample.task))
        #expect(file.held.members == [PieceIndex(0), PieceIndex(1)])
        #expect(file.hasDoubtfulPieces)
        _ = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        #expect(file.held.members == [PieceIndex(0), PieceIndex(1), PieceIndex(3)])
        #expect(log.lines.contains { $0.contains("1 of 2 pieces") })
        for piece in [2, 4] { try sample.keep(PieceIndex(piece), in: file) }
        #expect(try file.publish(expected: nil) == .published(sample.task.digest))
    }

    @Test func anUnknownBootIsNeverTheSameBoot() throws {
        let sample = Sample(seed: 23, sizeBytes: quarterPiece)
        var unknown = configuration(directory)
        unknown.boot = .unknown
        do {
            let store = try Store(unknown)
            try sample.keep(PieceIndex(0), in: try store.open(sample.task, sizeBytes: sample.sizeBytes))
        }
        let store = try Store(unknown)
        #expect(store.task(sample.task)?.held.isEmpty == true)
        #expect(try store.open(sample.task, sizeBytes: sample.sizeBytes).held.isFull)
        #expect(BootID.current() != .unknown)
    }

    @Test func killedInTheMiddleOfWritingItKeepsWhatItRecorded() async throws {
        let path = directory.path
        // Dies after some of 16 pieces, written by three threads in a random order.
        let result = await #expect(processExitsWith: .signal(SIGKILL), observing: [\.standardErrorContent]) {
            [path = path as String] in
            let sample = Sample(seed: 24, sizeBytes: 63 * quarterPiece)
            let store = try Store(
                StoreConfiguration(directory: path + "/store", freeBytesMin: 0, faults: nil))
            let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
            let pool = try WorkerPool(WorkerConfiguration(name: "keep", threadCount: 3, queueLimit: 64))
            var random = Seeded(24)
            for piece in sample.pieces.shuffled(using: &random) {
                _ = pool.submit {
                    guard (try? sample.keep(piece, in: file)) != nil else { return }
                    _ = Glibc.write(2, "kept \(piece.value)\n", "kept \(piece.value)\n".utf8.count)
                }
            }
            while file.held.count < 5 { usleep(100) }
            kill(getpid(), SIGKILL)
            pool.stop()
        }
        let told = String(decoding: try #require(result).standardErrorContent, as: UTF8.self)
            .split(separator: "\n").compactMap { $0.hasPrefix("kept ") ? UInt32($0.dropFirst(5)) : nil }
        let sample = Sample(seed: 24, sizeBytes: 63 * quarterPiece)
        let store = try Store(StoreConfiguration(directory: path + "/store", freeBytesMin: 0, faults: nil))
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        // Everything whose keeping was said to be done is there, and everything there is right.
        for piece in told { #expect(file.held.contains(PieceIndex(piece))) }
        #expect(file.held.count >= 5)
        for piece in file.held.members { #expect(try file.rehash(piece) == sample.digest(piece)) }
        for piece in file.held.missing { try sample.keep(piece, in: file) }
        #expect(try file.publish(expected: nil) == .published(sample.task.digest))
    }

    @Test func killedBetweenTheRecordAndTheNameItIsPublishedAllTheSame() throws {
        let sample = Sample(seed: 25, sizeBytes: 5 * quarterPiece)
        let task = "\(directory.path)/store/tasks/\(sample.task.directoryName)"
        do { try sample.put(in: try Store(configuration(directory))) }
        try #require(rename("\(task)/data", "\(task)/data.partial") == 0)
        let store = try Store(configuration(directory))
        #expect(store.task(sample.task)?.isPublished == true)
        #expect(try readFile("\(task)/data") == sample.bytes)
    }

    @Test func whatIsNotProvenIsSetAside() throws {
        let sample = Sample(seed: 26, sizeBytes: quarterPiece)
        let whole = try journal(of: sample, keeping: sample.pieces)
        let other = try journal(of: Sample(seed: 27, sizeBytes: quarterPiece), keeping: [])
        var cases: [(String, ArraySlice<UInt8>, [UInt8], String)] = [
            ("the final name without a check", whole[...], sample.bytes, "data"),
            ("another size", whole[...], Array(sample.bytes.dropLast()), "data.partial"),
            ("another task's journal", other[...], sample.bytes, "data.partial"),
            ("no file", whole[...], sample.bytes, "something"),
        ]
        var version = whole
        version[8] = 9
        cases.append(("another version", version[...], sample.bytes, "data.partial"))
        for (what, journal, data, name) in cases {
            let (own, configuration) = try place(sample, journal: journal, data: data, as: name)
            let log = Log()
            let store = try Store(configuration, log: log.take)
            #expect(store.tasks().isEmpty, "\(what)")
            #expect(log.lines.count == 1, "\(what)")
            #expect(try Directory(path: "\(own.path)/store/aside").names().count == 1, "\(what)")
            _ = own
        }
        let (own, configuration) = try place(sample, journal: whole[...], data: sample.bytes)
        try Directory.create(path: "\(own.path)/store/tasks/unheard-of", permissions: 0o700)
        try Directory.create(path: "\(own.path)/store/tmp/5/deep", permissions: 0o700)
        let store = try Store(configuration)
        #expect(store.tasks().count == 1)
        #expect(try Directory(path: "\(own.path)/store/tmp").names().isEmpty)
    }

    @Test func aPublishedFileChangedBehindOurBackIsNotServed() throws {
        let (touched, changed) = (
            Sample(seed: 28, sizeBytes: 5 * quarterPiece), Sample(seed: 29, sizeBytes: 5 * quarterPiece)
        )
        do {
            let store = try Store(configuration(directory))
            try touched.put(in: store)
            try changed.put(in: store)
        }
        let tasks = try Directory(path: "\(directory.path)/store/tasks")
        try tasks.open("\(touched.task.directoryName)/data", .read).setModified(ns: 5_000_000_000)
        try writeFile(
            "\(directory.path)/store/tasks/\(changed.task.directoryName)/data", [1, 2, 3], at: 1_200_000)
        let log = Log()
        do {
            let store = try Store(configuration(directory), log: log.take)
            #expect(store.tasks().map(\.task) == [touched.task])
            #expect(log.lines.count == 3)
        }
        // Proven once, it is not read again.
        let quiet = Log()
        let store = try Store(configuration(directory), log: quiet.take)
        #expect(store.tasks().count == 1 && quiet.lines.isEmpty)
    }
}

/// Collects what a store says.
final class Log: Sendable {
    private let all = JobLines()
    var lines: [String] { all.lines }
    var take: @Sendable (String) -> Void { { [all] in all.append($0) } }
}

/// Lines under a lock.
final class JobLines: @unchecked Sendable {
    // Safety: `kept` is touched between lock and unlock only.
    private let monitor = Monitor()
    private var kept: [String] = []
    var lines: [String] {
        monitor.lock()
        defer { monitor.unlock() }
        return kept
    }
    func append(_ line: String) {
        monitor.lock()
        kept.append(line)
        monitor.unlock()
    }
}
