import Artifacts
import Glibc
import System
import Testing

@testable import Storage

/// Models, space and the directory's lock.
@Suite struct StoreTests {
    let directory: TestDirectory
    init() throws { directory = try TestDirectory() }

    @Test func oneProcessAtATimeHasTheDirectory() async throws {
        let path = directory.path
        let store = try Store(configuration(directory))
        let here = #expect(throws: StorageError.self) { _ = try Store(configuration(directory)) }
        #expect(here?.code == .locked && here?.description.contains("process \(getpid());") == true)
        let owner = getpid()
        await #expect(processExitsWith: .success) { [path = path as String, owner = owner as Int32] in
            do {
                _ = try Store(StoreConfiguration(directory: path + "/store", freeBytesMin: 0, faults: nil))
            } catch {
                try #require((error as? StorageError)?.code == .locked)
                try #require("\(error)".contains("process \(owner);"))
                return
            }
            throw StorageError(.locked, "two processes have one directory")
        }
        try store.close()
        _ = try Store(configuration(directory))
    }

    @Test func modelsArePinnedTouchedAndFoundAgain() throws {
        let (one, two) = (Sample(seed: 40, sizeBytes: 5 * quarterPiece), Sample(seed: 41, sizeBytes: quarterPiece))
        let first = try manifest("first", [("a/one", one), ("two", two)])
        let second = try manifest("second", [("two", two), ("also/two", two)])
        let before: [StoredModel]
        do {
            let store = try Store(configuration(directory))
            try store.record(first, model: first.model, nowSeconds: 100)
            try store.record(second, model: second.model, nowSeconds: 200)
            try two.put(in: store)
            let file = try store.open(one.task, sizeBytes: one.sizeBytes)
            try one.keep(PieceIndex(1), in: file)
            #expect(store.model(first.model)?.isInUse == true)
            store.pause(one.task)
            try store.pin(first.model)
            try store.touch(first.model, nowSeconds: 300)
            before = store.models()
            #expect(before.map(\.isComplete) == [false, true])
            #expect(before.map(\.heldBytes) == [UInt64(2 * quarterPiece), UInt64(quarterPiece)])
            #expect(before.map(\.totalBytes) == [UInt64(6 * quarterPiece), UInt64(quarterPiece)])
            #expect(before.map(\.isPinned) == [true, false] && before.map(\.lastUsedSeconds) == [300, 200])
            #expect(
                store.usage.usedBytes == UInt64(6 * quarterPiece)
                    && store.usage.pinnedBytes == UInt64(6 * quarterPiece))
            #expect(code { try store.record(first, model: second.model, nowSeconds: 1) } == .invalid)
            #expect(code { try store.pin(ModelID(one.task.digest)) } == .unknownModel)
        }
        // A damaged manifest, and a pin of no model.
        let models = "\(directory.path)/store/models"
        try writeFile(
            "\(models)/\(String(repeating: "0", count: 64)).manifest", Array("martlet-manifest 1\n".utf8))
        try writeFile("\(models)/\(String(repeating: "1", count: 64)).pinned", [])
        let store = try Store(configuration(directory))
        #expect(store.models() == before)
        #expect(try Directory(path: models).names().count == 3)
        try store.unpin(first.model)
        // A task that another model has stays.
        try store.remove(first.model)
        #expect(store.task(one.task) == nil && store.task(two.task)?.isPublished == true)
        try store.hold(second.model)
        #expect(code { try store.remove(second.model) } == .inUse)
        store.release(second.model)
        try store.remove(second.model)
        #expect(store.tasks().isEmpty && store.models().isEmpty)
        #expect(try Directory(path: "\(directory.path)/store/tasks").names().isEmpty)
        #expect(try Directory(path: models).names().count == 0)
    }

    @Test func evictsWholeModelsLeastRecentlyUsedFirst() throws {
        let samples = (0..<5).map { Sample(seed: 50 + UInt64($0), sizeBytes: 2 * mebibyte) }
        let store = try Store(configuration(directory, budgetBytes: UInt64(10 * mebibyte)))
        let manifests = try samples.enumerated().map { try manifest("m\($0.offset)", [("f", $0.element)]) }
        // Used in the order 3, 0, 4, 1, 2; model 0 is pinned, 4 is being served.
        for (stamp, place) in [3, 0, 4, 1, 2].enumerated() {
            try store.record(manifests[place], model: manifests[place].model, nowSeconds: Int64(stamp))
            try samples[place].put(in: store)
        }
        try store.pin(manifests[0].model)
        let source = try store.task(samples[4].task)!.use()
        #expect(try store.makeRoom(for: 0).isEmpty)
        #expect(try store.makeRoom(for: UInt64(mebibyte)) == [manifests[3].model])
        #expect(try store.makeRoom(for: UInt64(4 * mebibyte)) == [manifests[1].model])
        // What cannot be had at all evicts nothing.
        let refused = #expect(throws: StorageError.self) { try store.makeRoom(for: UInt64(7 * mebibyte)) }
        #expect(refused?.code == .noSpace)
        #expect(refused?.description.contains("7.0 MiB") == true, "\(refused!)")
        #expect(refused?.description.contains("4.0 MiB of its budget of 10.0 MiB") == true)
        #expect(refused?.description.contains("2.0 MiB are pinned, the rest being in use") == true)
        #expect(store.models().count == 3)
        #expect(try store.makeRoom(for: UInt64(6 * mebibyte)) == [manifests[2].model])
        source.unuse()
        try store.unpin(manifests[0].model)
        // Model 0 was used before 4. A download makes its own room.
        let large = Sample(seed: 60, sizeBytes: 10 * mebibyte)
        let file = try store.open(large.task, sizeBytes: large.sizeBytes)
        #expect(store.models().isEmpty && store.tasks().map(\.task) == [large.task])
        // A running download is never evicted; one that ended and belongs to no model goes first.
        #expect(code { _ = try store.makeRoom(for: 1) } == .noSpace)
        try large.keep(PieceIndex(0), in: file)
        store.pause(large.task)
        #expect(try store.makeRoom(for: 1).isEmpty)
        #expect(store.tasks().isEmpty)
    }

    @Test func aDownloadBeginsWholeOrNotAtAll() throws {
        let samples = (0..<3).map { Sample(seed: 70 + UInt64($0), sizeBytes: 2 * mebibyte) }
        let store = try Store(configuration(directory, budgetBytes: UInt64(5 * mebibyte)))
        let wide = try manifest("wide", samples.enumerated().map { ("f\($0.offset)", $0.element) })
        let narrow = try manifest("narrow", [("f", samples[0]), ("g", samples[1])])
        #expect(code { _ = try store.beginDownload(of: wide, model: wide.model, nowSeconds: 1) } == .noSpace)
        #expect(store.tasks().isEmpty && store.model(wide.model)?.isInUse == false)
        let files = try store.beginDownload(of: narrow, model: narrow.model, nowSeconds: 2)
        #expect(files.map(\.task) == [samples[0].task, samples[1].task])
        #expect(code { try store.remove(narrow.model) } == .inUse)
        store.endDownload(of: narrow.model, files)
        try store.remove(narrow.model)
        // Its tasks belong to the other model as well.
        #expect(store.tasks().count == 2)
    }

    @Test func aFullDiskIsSaidAndSurvived() throws {
        let sample = Sample(seed: 80, sizeBytes: 13 * quarterPiece)
        let disk = DiskFullAfter(bytes: 5 << 18)
        do {
            let store = try Store(configuration(directory, faults: disk))
            let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
            try sample.keep(PieceIndex(0), in: file)
            let full = #expect(throws: StorageError.self) { try sample.keep(PieceIndex(1), in: file) }
            #expect(full?.code == .noSpace && full?.description.contains("the disk is full") == true)
            // Room for the piece, but not for its record.
            disk.free(bytes: 4 << 18)
            #expect(code { try sample.keep(PieceIndex(1), in: file) } == .noSpace)
            #expect(file.held.members == [PieceIndex(0)])
            disk.free(bytes: 1 << 30)
            try sample.keep(PieceIndex(2), in: file)
        }
        let store = try Store(configuration(directory))
        let file = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        #expect(file.held.members == [PieceIndex(0), PieceIndex(2)])
        for piece in [1, 3] { try sample.keep(PieceIndex(piece), in: file) }
        #expect(try file.publish(expected: nil) == .published(sample.task.digest))
    }

    @Test func aDiskThatIsFullFromTheStartIsKnownBeforeTheFirstByte() throws {
        let sample = Sample(seed: 81, sizeBytes: 5 * quarterPiece)
        let store = try Store(
            configuration(directory, faults: DiskFullAfter(bytes: 1 << 18, failsAllocations: true)))
        #expect(code { _ = try store.open(sample.task, sizeBytes: sample.sizeBytes) } == .noSpace)
        #expect(store.tasks().isEmpty)
        for inner in ["tasks", "tmp"] {
            #expect(try Directory(path: "\(directory.path)/store/\(inner)").names().isEmpty)
        }
        var real = configuration(directory)
        real.directory += "2"
        real.freeBytesMin = 1 << 60
        let refused = #expect(throws: StorageError.self) {
            _ = try Store(real).open(sample.task, sizeBytes: sample.sizeBytes)
        }
        #expect(refused?.code == .noSpace)
    }

    @Test func directoriesArePrivate() throws {
        let sample = Sample(seed: 82, sizeBytes: quarterPiece)
        let store = try Store(configuration(directory))
        _ = try store.open(sample.task, sizeBytes: sample.sizeBytes)
        let root = try Directory(path: directory.path)
        let task = "store/tasks/\(sample.task.directoryName)"
        for inner in ["store", "store/tasks", "store/models", "store/tmp", task] {
            #expect(try root.status(inner)?.permissions == 0o700, "\(inner)")
        }
        for file in ["\(task)/data.partial", "\(task)/journal", "store/lock"] {
            #expect(try root.status(file)?.permissions == 0o600, "\(file)")
        }
    }

    @Test func manifestsSurviveAsText() throws {
        let sample = Sample(seed: 83, sizeBytes: 10)
        let plain = try manifest("m", [("b/ü c", sample), ("a", sample)])
        let unpublished = try Manifest(
            reference: "http://example.org/x", revision: "",
            files: [ManifestFile(path: "x", sizeBytes: 0, publishedDigest: nil, task: sample.task)])
        for manifest in [plain, unpublished] {
            let bytes = try #require(ManifestText.encode(manifest))
            #expect(ManifestText.decode(bytes) == manifest)
            for position in bytes.indices {
                var damaged = bytes
                damaged[position] ^= 1
                #expect(ManifestText.decode(damaged) == nil)
            }
        }
        let torn = try Manifest(reference: "a\nend", revision: "1", files: plain.files)
        #expect(ManifestText.encode(torn) == nil)
    }
}
