import Artifacts
import Digests
import System
import Testing

@testable import Storage

/// Random operations, restarts and machine crashes, against a model of what must be true.
@Suite struct RandomSequenceTests {
    /// What a task must be like.
    private struct Expected {
        var held: Set<PieceIndex> = []
        /// Kept since the last checkpoint: may be gone after another boot.
        var unsynced: Set<PieceIndex> = []
        var isPublished = false
        var isOpen = false
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func behavesAsTheModelSays(_ seed: UInt64) throws {
        var random = Seeded(seed)
        let directory = try TestDirectory()
        let samples = (0..<3).map { Sample(seed: 200 + UInt64($0), sizeBytes: (1 + $0 * 5) * quarterPiece + $0) }
        var expected = samples.map { _ in Expected() }
        var boot: UInt8 = 1
        var store = try Store(configuration(directory, boot: boot))
        for step in 0..<120 {
            let place = Int.random(in: samples.indices, using: &random)
            let sample = samples[place]
            let piece = sample.pieces.randomElement(using: &random)!
            let trace = "seed \(seed) step \(step) task \(place) \(piece)"
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<9:
                let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
                if !expected[place].isOpen, !expected[place].isPublished { expected[place].isOpen = true }
                if expected[place].isPublished {
                    #expect(
                        try sample.with(piece) {
                            try file.keep(piece, bytes: $0, digest: sample.digest(piece))
                        } == false)
                    continue
                }
                try sample.keep(piece, in: file)
                if expected[place].held.insert(piece).inserted {
                    expected[place].unsynced.insert(piece)
                }
            case 9, 10:
                guard let file = store.task(sample.task), expected[place].isOpen else { continue }
                try file.drop(piece)
                expected[place].held.remove(piece)
                expected[place].unsynced.remove(piece)
            case 11:
                try store.checkpoint()
                for place in samples.indices where expected[place].isOpen { expected[place].unsynced = [] }
            case 12, 13:
                guard let file = store.task(sample.task), expected[place].isOpen else { continue }
                if expected[place].held.count == sample.pieces.count {
                    #expect(try file.publish(expected: nil) == .published(sample.task.digest), "\(trace)")
                    expected[place].isPublished = true
                    expected[place].isOpen = false
                } else {
                    #expect(code { _ = try file.publish(expected: nil) } == .incomplete, "\(trace)")
                }
            case 14:
                try store.forget(sample.task)
                let wasOpen = expected[place].isOpen
                expected[place] = Expected()
                expected[place].isOpen = wasOpen
            case 15:
                guard let file = store.task(sample.task), expected[place].isOpen else { continue }
                try file.advanceHash(limitBytes: 3 << 20)
            case 16, 17:
                // The process dies and is started again: everything is as it was.
                store.unlock()
                store = try Store(configuration(directory, boot: boot))
                for place in samples.indices { expected[place].isOpen = false }
            default:
                // The machine dies: unsynced pieces may be damaged, and only whole ones are found again.
                for place in samples.indices where !expected[place].isPublished {
                    for piece in expected[place].unsynced where Bool.random(using: &random) {
                        let name = samples[place].task.directoryName
                        let offset = samples[place].layout.range(of: piece).offset
                        try writeFile(
                            "\(directory.path)/store/tasks/\(name)/data.partial",
                            [samples[place].bytes[Int(offset)] ^ 1], at: offset)
                        expected[place].held.remove(piece)
                    }
                    expected[place].unsynced = []
                    expected[place].isOpen = false
                }
                boot &+= 1
                store.unlock()
                store = try Store(configuration(directory, boot: boot))
                for (place, sample) in samples.enumerated() where store.task(sample.task) != nil {
                    _ = try store.open(sample.task, sizeBytes: sample.sizeBytes)
                    expected[place].isOpen = !expected[place].isPublished
                }
            }
            for (place, sample) in samples.enumerated() {
                let file = store.task(sample.task)
                #expect(
                    Set(file?.held.members ?? [])
                        == expected[place].held.union(expected[place].isPublished ? Set(sample.pieces) : []),
                    "\(trace)")
                #expect((file?.isPublished ?? false) == expected[place].isPublished, "\(trace)")
            }
        }
        for (place, sample) in samples.enumerated() {
            for piece in expected[place].held {
                #expect(try store.task(sample.task)?.rehash(piece) == sample.digest(piece))
            }
        }
    }
}
