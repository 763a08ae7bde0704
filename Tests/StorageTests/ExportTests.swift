import Artifacts
import Glibc
import System
import Testing

@testable import Storage

/// Placing finished files where people want them, and nowhere else.
@Suite struct ExportTests {
    let directory: TestDirectory
    let store: Store
    let samples: [Sample]
    let model: ModelID

    init() throws {
        directory = try TestDirectory()
        store = try Store(configuration(directory))
        samples = [
            Sample(seed: 100, sizeBytes: 5 * quarterPiece), Sample(seed: 101, sizeBytes: 0),
            Sample(seed: 102, sizeBytes: 77),
        ]
        let manifest = try manifest(
            "m", [("config.json", samples[2]), ("weights/empty", samples[1]), ("weights/part/a", samples[0])])
        model = manifest.model
        try store.record(manifest, model: model, nowSeconds: 1)
        for sample in samples { try sample.put(in: store) }
    }

    private func check(_ place: String) throws {
        #expect(try readFile("\(place)/config.json") == samples[2].bytes)
        #expect(try readFile("\(place)/weights/empty") == [])
        #expect(try readFile("\(place)/weights/part/a") == samples[0].bytes)
        for inner in ["", "/weights", "/weights/part"] {
            #expect(try Directory(path: place + inner).names().allSatisfy { !$0.hasPrefix(".martlet") })
        }
    }

    @Test func linksOnTheSameFileSystem() throws {
        let place = "\(directory.path)/out/deep"
        #expect(try store.export(model, to: place).map(\.how) == [.hardlink, .hardlink, .hardlink])
        try check(place)
        #expect(try Directory(path: place).status("config.json")?.linkCount == 2)
        #expect(try store.export(model, to: place).map(\.how) == [.kept, .kept, .kept])
        // A copy that is asked for is one.
        #expect(try store.export(model, to: place, mode: .copy).map(\.how) == [.copy, .copy, .copy])
        #expect(try Directory(path: place).status("config.json")?.linkCount == 1)
        try check(place)
        #expect(try store.export(model, to: place, mode: .auto).map(\.how) == [.kept, .kept, .kept])
        // Evicting the model does not take the exported files away.
        try store.remove(model)
        try check(place)
    }

    @Test func copiesAcrossFileSystems() throws {
        let elsewhere = try TestDirectory(under: "/dev/shm")
        let devices = try (
            Directory(path: elsewhere.path).status().device, Directory(path: directory.path).status().device
        )
        try #require(devices.0 != devices.1, "/dev/shm and /tmp are one file system here; the test needs two")
        #expect(try store.export(model, to: elsewhere.path).map(\.how) == [.copy, .copy, .copy])
        try check(elsewhere.path)
        let refused = code { _ = try store.export(model, to: elsewhere.path + "/2", mode: .hardlink) }
        #expect(refused == .io)
        #expect(try Directory(path: elsewhere.path + "/2").names().isEmpty)
    }

    @Test func reflinksWhereTheFileSystemCan() throws {
        let place = "\(directory.path)/reflinked"
        // Asked of the file system itself, so that neither answer passes for the other.
        try writeFile("\(directory.path)/one", [1])
        let probe = try Directory(path: directory.path)
        if try probe.open("two", .createNew).clone(from: probe.open("one", .read)) {
            #expect(
                try store.export(model, to: place, mode: .reflink).map(\.how) == [
                    .reflink, .reflink, .reflink,
                ])
            try check(place)
            #expect(try Directory(path: place).status("config.json")?.linkCount == 1)
        } else {
            let refused = #expect(throws: StorageError.self) {
                _ = try store.export(model, to: place, mode: .reflink)
            }
            #expect(
                refused?.code == .io && refused?.description.contains("export by copying instead") == true)
            #expect(try Directory(path: place).names().isEmpty)
        }
    }

    @Test func replacesWhatIsNotEqual() throws {
        let place = "\(directory.path)/out"
        _ = try store.export(model, to: place, mode: .copy)
        try writeFile("\(place)/weights/part/a", [0xff], at: 4_900_000)
        try #require(truncate("\(place)/config.json", 3) == 0)
        #expect(try store.export(model, to: place, mode: .copy).map(\.how) == [.copy, .kept, .copy])
        try check(place)
    }

    @Test func neverLeavesTheDirectory() throws {
        let (place, outside) = ("\(directory.path)/out", "\(directory.path)/outside")
        for path in [place, outside] { try Directory.create(path: path, permissions: 0o755) }
        try writeFile("\(outside)/victim", [1, 2, 3])
        // A directory that leads away is not followed; a link in a file's place is replaced.
        try #require(symlink(outside, "\(place)/weights") == 0)
        try #require(symlink("\(outside)/victim", "\(place)/config.json") == 0)
        let refused = #expect(throws: StorageError.self) { _ = try store.export(model, to: place) }
        #expect(refused?.code == .badPath && refused?.description.contains("out/weights/empty") == true)
        #expect(try Directory(path: outside).names() == ["victim"])
        #expect(try readFile("\(outside)/victim") == [1, 2, 3])
        #expect(try Directory(path: place).status("config.json")?.kind == .regular)
        try #require(unlink("\(place)/weights") == 0)
        _ = try store.export(model, to: place)
        try check(place)
        // Manifests refuse such names; the directory does as well.
        let root = try Directory(path: place)
        for part in ["..", ".", ""] {
            #expect(throws: Errno.self) {
                _ = try root.openBeneath(creating: part, permissions: 0o755).names()
            }
        }
        for path in ["../x", "/x", "a/../../x", "a//b", ""] { #expect(Manifest.pathFault(path) != nil) }
    }

    @Test func saysInOneLineWhatIsInTheWay() throws {
        let place = "\(directory.path)/out"
        try Directory.create(path: "\(place)/config.json", permissions: 0o755)
        #expect(code { _ = try store.export(model, to: place) } == .badPath)
        try writeFile("\(directory.path)/file", [1])
        #expect(code { _ = try store.export(model, to: "\(directory.path)/file") } == .badPath)
        // Nobody, not even root, may write here.
        let refused = #expect(throws: StorageError.self) {
            _ = try store.export(model, to: "/sys/martlet-export")
        }
        #expect(refused?.code == .unwritable && refused?.description.contains("\n") == false)
        #expect(code { _ = try Store(StoreConfiguration(directory: "/sys/martlet-store")) } == .unwritable)
        try store.forget(samples[1].task)
        #expect(code { _ = try store.export(model, to: place) } == .incomplete)
    }
}
