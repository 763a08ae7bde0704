import Artifacts
import Digests
import Glibc
import System
import Testing
import Workers

@testable import Storage

/// Keeping, checking and publishing one file.
@Suite struct TaskFileTests {
    let directory: TestDirectory
    init() throws { directory = try TestDirectory() }

    @Test func keepsPiecesInAnyOrderAndGivesThemBack() throws {
        let store = try Store(configuration(directory))
        let sample = Sample(seed: 1, sizeBytes: 9 * quarterPiece + 5)
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        #expect(file.held.isEmpty)
        for piece in [2, 0].map({ PieceIndex($0) }) { try sample.keep(piece, in: file) }
        #expect(file.held.members == [PieceIndex(0), PieceIndex(2)])
        #expect(file.digest(of: PieceIndex(2)) == sample.digest(PieceIndex(2)))
        #expect(file.digest(of: PieceIndex(1)) == nil)
        #expect(try file.rehash(PieceIndex(2)) == sample.digest(PieceIndex(2)))
        // A second time nothing is written.
        let again = try sample.with(PieceIndex(0)) {
            try file.keep(PieceIndex(0), bytes: $0, digest: sample.digest(PieceIndex(0)))
        }
        #expect(!again)
        #expect(store.tasks().first?.held == file.held)
    }

    @Test func keepsOnManyThreadsAtOnceAndFindsItAllAgain() throws {
        let sample = Sample(seed: 2, sizeBytes: 33 * quarterPiece)
        let before: [TaskInventory]
        do {
            let store = try Store(configuration(directory))
            let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
            let pool = try WorkerPool(WorkerConfiguration(name: "keep", threadCount: 4, queueLimit: 64))
            for piece in sample.pieces + sample.pieces {
                #expect(
                    pool.submit {
                        sample.with(piece) { bytes in
                            let outcome = keepPiece(
                                bytes, expected: sample.digest(piece), task: file, piece: piece)
                            if case .kept = outcome {} else { Issue.record("\(outcome)") }
                            do { try file.advanceHash(limitBytes: 8 << 20) } catch { Issue.record(error) }
                        }
                    })
            }
            pool.stop()
            #expect(file.held.isFull)
            before = store.tasks()
            try store.close()
        }
        let store = try Store(configuration(directory))
        #expect(store.tasks() == before)
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        #expect(
            file.digests == Dictionary(uniqueKeysWithValues: sample.pieces.map { ($0, sample.digest($0)) }))
        #expect(try file.publish(expected: sample.task.digest) == .published(sample.task.digest))
    }

    @Test(
        arguments: [Digest.Algorithm.sha256, .gitBlob, .blake3, .origin],
        [0, 1, 4 * quarterPiece, 9 * quarterPiece + 1])
    func publishesWhatIsRight(_ algorithm: Digest.Algorithm, _ sizeBytes: Int) throws {
        let sample = Sample(seed: 3, sizeBytes: sizeBytes, algorithm: algorithm)
        do {
            let store = try Store(configuration(directory))
            let file = try sample.put(in: store)
            #expect(file.isPublished)
            #expect(
                try file.publish(expected: nil) == .published(algorithm == .origin ? nil : sample.task.digest)
            )
        }
        let store = try Store(configuration(directory, boot: 2))
        #expect(store.task(sample.task)?.isPublished == true)
        #expect(store.task(sample.task)?.held.isFull == true)
        let place = "\(directory.path)/store/tasks/\(sample.task.directoryName)"
        #expect(try readFile("\(place)/data") == sample.bytes)
        #expect(try Directory(path: place).status("data")?.permissions == 0o444)
        #expect(try Directory(path: place).status("data.partial") == nil)
    }

    @Test func reportsAFileThatIsNotWhatWasPublished() throws {
        let store = try Store(configuration(directory))
        let (right, wrong) = (
            Sample(seed: 4, sizeBytes: 5 * quarterPiece), Sample(seed: 5, sizeBytes: 5 * quarterPiece)
        )
        let file = try store.open(right.task, sizeBytes: right.sizeBytes)
        try right.keep(PieceIndex(0), in: file)
        #expect(code { _ = try file.publish(expected: nil) } == .incomplete)
        try wrong.keep(PieceIndex(1), in: file)
        try file.advanceHash(limitBytes: 1 << 30)
        guard case .mismatched(let expected, let found) = try file.publish(expected: right.task.digest) else {
            Issue.record("a wrong file was published")
            return
        }
        #expect(expected == right.task.digest && found != expected)
        #expect(!file.isPublished)
        // Only the wrong piece is fetched again; the whole-file digest begins anew with it.
        try file.drop(PieceIndex(1))
        #expect(file.held.members == [PieceIndex(0)])
        try right.keep(PieceIndex(1), in: file)
        #expect(try file.publish(expected: right.task.digest) == .published(right.task.digest))
        #expect(code { try file.drop(PieceIndex(0)) } == .conflict)
    }

    @Test(arguments: [false, true])
    func replacesAPieceWhoseDigestWasWithdrawn(restarting: Bool) throws {
        let (old, new) = (Sample(seed: 6, sizeBytes: 5 * quarterPiece), Sample(seed: 7, sizeBytes: 5 * quarterPiece))
        let first = try Store(configuration(directory))
        var file = try first.open(new.task, sizeBytes: new.sizeBytes)
        for piece in old.pieces { try old.keep(piece, in: file) }
        // The whole-file digest has passed over what is replaced.
        try file.advanceHash(limitBytes: 1 << 30)
        for piece in new.pieces { try new.keep(piece, in: file) }
        if restarting {
            first.unlock()
            file = try Store(configuration(directory)).open(new.task, sizeBytes: new.sizeBytes)
        }
        #expect(file.digest(of: PieceIndex(1)) == new.digest(PieceIndex(1)))
        #expect(try file.publish(expected: nil) == .published(new.task.digest))
    }

    @Test func readersOutliveForgettingAndADownloadGoesOnEmpty() throws {
        let store = try Store(configuration(directory))
        let sample = Sample(seed: 8, sizeBytes: 5 * quarterPiece)
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        for piece in sample.pieces { try sample.keep(piece, in: file) }
        let source = try file.use()
        try store.forget(sample.task)
        #expect(store.task(sample.task) === file && file.held.isEmpty)
        var first = [UInt8](repeating: 0, count: 16)
        #expect(pread(source.descriptor, &first, 16, 0) == 16 && first == Array(sample.bytes.prefix(16)))
        source.unuse()
        source.unuse()
        try sample.keep(PieceIndex(0), in: file)
        store.pause(sample.task)
        #expect(code { try sample.keep(PieceIndex(1), in: file) } == .conflict)
        #expect(file.held.members == [PieceIndex(0)])
        try store.forget(sample.task)
        #expect(store.task(sample.task) == nil && store.tasks().isEmpty)
        #expect(code { try sample.keep(PieceIndex(0), in: file) } == .unknownTask)
        #expect(code { _ = try file.use() } == .unknownTask)
        // Anew, it is another object.
        #expect(try store.open(sample.task, sizeBytes: sample.sizeBytes) !== file)
    }

    @Test func twoDownloadsShareAFileUntilBothHaveEnded() throws {
        let store = try Store(configuration(directory))
        let sample = Sample(seed: 9, sizeBytes: 5 * quarterPiece)
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        #expect(try store.open(sample.task, sizeBytes: sample.sizeBytes) === file)
        #expect(code { _ = try store.open(sample.task, sizeBytes: 1) } == .conflict)
        store.pause(sample.task)
        try sample.keep(PieceIndex(0), in: file)
        store.pause(sample.task)
        #expect(code { try sample.keep(PieceIndex(1), in: file) } == .conflict)
    }

    @Test func aPieceThatIsNotAsExpectedIsNotWritten() throws {
        let store = try Store(configuration(directory))
        let sample = Sample(seed: 10, sizeBytes: 5 * quarterPiece)
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        sample.with(PieceIndex(0)) { bytes in
            let outcome = keepPiece(
                bytes, expected: sample.digest(PieceIndex(1)), task: file, piece: PieceIndex(0))
            guard case .mismatch(let found) = outcome else {
                Issue.record("\(outcome)")
                return
            }
            #expect(found == sample.digest(PieceIndex(0)))
        }
        #expect(file.held.isEmpty)
    }
}
