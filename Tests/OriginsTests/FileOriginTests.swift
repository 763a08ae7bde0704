import Artifacts
import Foundation
import Origins
import Testing

@Suite(.timeLimit(.minutes(2))) struct FileOriginTests {
    /// A directory that goes with the test.
    private final class Directory {
        let path: String
        init(_ files: [String: [UInt8]]) throws {
            let url = FileManager.default.temporaryDirectory.appending(
                path: "martlet-files-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            path = url.path(percentEncoded: false)
            for (name, bytes) in files {
                let file = url.appending(path: name)
                try FileManager.default.createDirectory(
                    at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
                try Data(bytes).write(to: file)
            }
        }
        func link(_ name: String, to target: String) throws {
            try FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }
    }

    private static let bytes = patternedBytes(700_000, seed: 3)

    @Test func nothingOutsideTheRootsIsRead() async throws {
        let directory = try Directory(["open/m/w": [1], "secret/w": [2], "opened/w": [3]])
        try directory.link("open/out", to: "\(directory.path)/secret")
        let origin = try FileOrigin(roots: ["\(directory.path)/open"])
        let found = try await origin.resolve(ModelReference("file://\(directory.path)/open/m"))
        #expect(found.manifest.files.map(\.path) == ["w"])
        // What is there and what is not are answered alike.
        for path in ["/secret/w", "/secret", "/nothing", "/opened/w", "/open/out/w", "/open/out", ""] {
            let error = await #expect(throws: OriginError.self) {
                try await origin.resolve(ModelReference("file://\(directory.path)\(path)"))
            }
            #expect(error?.code == .forbidden, "\(path)")
        }
        let closed = try FileOrigin(roots: [])
        let error = await #expect(throws: OriginError.self) {
            try await closed.resolve(ModelReference("file:///etc/hostname"))
        }
        #expect(error?.code == .forbidden)
    }

    @Test func aDirectoryIsListedAndRead() async throws {
        let directory = try Directory([
            "m/weights.bin": FileOriginTests.bytes, "m/sub/a b%.txt": [1, 2, 3], "m/empty": [],
        ])
        let origin = try FileOrigin()
        let resolved = try await origin.resolve(ModelReference("file://\(directory.path)/m"))
        #expect(resolved.manifest.files.map(\.path) == ["empty", "sub/a b%.txt", "weights.bin"])
        #expect(resolved.manifest.revision.hasPrefix("mtime "))
        #expect(
            resolved.manifest.files.allSatisfy {
                $0.publishedDigest == nil && $0.task.digest.algorithm == .origin
            })
        #expect(await origin.read(resolved.locations[2]).bytes == FileOriginTests.bytes)
        #expect(await origin.read(resolved.locations[1]).bytes == [1, 2, 3])
        #expect(
            await origin.read(resolved.locations[2], ByteRange(offset: 65536, length: 131072)).bytes
                == Array(FileOriginTests.bytes[65536..<196608]))
        #expect(origin.counters.bytesRead == 700_003 + 131_072)
    }

    @Test func aFileIsAModelToo() async throws {
        let directory = try Directory(["weights.bin": [9]])
        let resolved = try await FileOrigin().resolve(ModelReference("file://\(directory.path)/weights.bin"))
        #expect(resolved.manifest.files.map(\.path) == ["weights.bin"])
    }

    @Test func linksInsideAreFollowedAndOthersRefused() async throws {
        let directory = try Directory(["m/blobs/x": [1, 2], "secret": [3]])
        let reference = try ModelReference("file://\(directory.path)/m")
        let origin = try FileOrigin()
        try directory.link("m/inside", to: "blobs/x")
        let resolved = try await origin.resolve(reference)
        #expect(resolved.manifest.files.map(\.path) == ["blobs/x", "inside"])
        #expect(await origin.read(resolved.locations[1]).bytes == [1, 2])
        for target in ["../secret", "/etc/hostname", "blobs", "nowhere"] {
            try directory.link("m/bad", to: target)
            let error = await #expect(throws: OriginError.self) { try await origin.resolve(reference) }
            #expect(error?.code == (target == "nowhere" ? .notFoundFile : .refusedName))
            try FileManager.default.removeItem(atPath: "\(directory.path)/m/bad")
        }
    }

    @Test func whatIsMissingOrEmptyIsNamed() async throws {
        let directory = try Directory([:])
        let origin = try FileOrigin()
        for path in ["/nothing", ""] {
            let error = await #expect(throws: OriginError.self) {
                try await origin.resolve(ModelReference("file://\(directory.path)\(path)"))
            }
            #expect(error?.code == .notFoundFile)
        }
    }

    @Test func aRewrittenFileIsAnotherTaskAndIsNotRead() async throws {
        let directory = try Directory(["w": FileOriginTests.bytes])
        let origin = try FileOrigin()
        let reference = try ModelReference("file://\(directory.path)/w")
        let before = try await origin.resolve(reference)
        try FileManager.default.setAttributes(
            [.modificationDate: Date(timeIntervalSince1970: 1_000_000)], ofItemAtPath: "\(directory.path)/w")
        let after = try await origin.resolve(reference)
        #expect(before.model != after.model)
        #expect(await origin.read(before.locations[0]).end.code == .changed)
        #expect(await origin.read(after.locations[0]).end.code == nil)
        try FileManager.default.removeItem(atPath: "\(directory.path)/w")
        #expect(await origin.read(after.locations[0]).end.code == .notFoundFile)
    }

    @Test func aFileThatShrinksInTheMiddleIsNoticed() async throws {
        let directory = try Directory(["w": FileOriginTests.bytes])
        let origin = try FileOrigin()
        let location = try await origin.resolve(ModelReference("file://\(directory.path)/w")).locations[0]
        let sink = GatheringSink(slots: 2)
        let handle = origin.fetch(
            location, range: ByteRange(offset: 0, length: location.sizeBytes), pieceBytes: 65536, sink: sink)
        await sink.refusal()
        #expect(truncate("\(directory.path)/w", 200_000) == 0)
        sink.allow(100)
        handle.resume()
        #expect(await sink.end().code == .changed)
        #expect(sink.filledCount == 2)
    }

    @Test func pausedFetchesShareTheThreadAndEndAtShutdown() async throws {
        let directory = try Directory(["w": FileOriginTests.bytes])
        let origin = try FileOrigin()
        let location = try await origin.resolve(ModelReference("file://\(directory.path)/w")).locations[0]
        let range = ByteRange(offset: 0, length: location.sizeBytes)
        let (paused, cancelled) = (GatheringSink(slots: 1), GatheringSink(slots: 1))
        let handles = [paused, cancelled].map {
            origin.fetch(location, range: range, pieceBytes: 65536, sink: $0)
        }
        await paused.refusal()
        await cancelled.refusal()
        #expect(await origin.read(location).bytes == FileOriginTests.bytes)
        handles[1].cancel()
        #expect(await cancelled.end().code == .cancelled)
        origin.shutdown()
        #expect(await paused.end().code == .cancelled)
        handles.forEach { $0.resume() }
        #expect(paused.endCount == 1 && cancelled.endCount == 1)
        #expect(await origin.read(location).end.code == .cancelled)
    }
}
