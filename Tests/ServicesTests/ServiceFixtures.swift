import Artifacts
import ControlAPI
import Digests
import Glibc
import ManagerService
import Observability
import RPC
import SchedulerService
import Testing

/// Nothing a test says is worth reading unless it fails.
let quiet = Logger(component: "test", sink: LogSink(format: .text) { _ in }, level: .error)

/// A directory that is gone after the test.
struct TemporaryDirectory: ~Copyable {
    let path: String

    init() {
        var template = Array("/tmp/martlet-services-XXXXXX".utf8CString)
        path = String(cString: mkdtemp(&template))
    }

    deinit {
        for suffix in ["", "-wal", "-shm"] { unlink("\(path)/manager.sqlite\(suffix)") }
        rmdir(path)
    }

    var database: String { "\(path)/manager.sqlite" }
}

/// A condition that must come true; a minute is far more than it takes.
func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
    for _ in 0..<6_000 {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("never came true: \(what)")
}

/// A manifest of one file of so many pieces of 1 MiB, and its model.
func wireModel(pieces: Int = 4) -> (id: String, task: String, manifest: Wire.Manifest) {
    let digest = Digests.sha256(Array("content".utf8))
    let file = ManifestFile(
        path: "model.safetensors", sizeBytes: UInt64(pieces) << 20, publishedDigest: digest,
        task: TaskID(digest))
    let manifest = try! Manifest(reference: "hf://org/name@main", revision: "c0ffee", files: [file])
    let id = ModelID(Digests.sha256(Array(manifest.canonicalText.utf8)))
    let wire = Wire.Manifest(
        reference: manifest.reference, revision: manifest.revision,
        files: [
            Wire.ManifestFile(
                path: file.path, sizeBytes: file.sizeBytes, publishedDigest: "\(digest)", task: "\(file.task)"
            )
        ])
    return (id.description, file.task.description, wire)
}

/// A host played over a real stream.
final class PlayedHost: Sendable {
    let channel: RPCChannel
    let call: RPCCall<Wire.HostMessage, Wire.SchedulerMessage>

    init(_ name: String, _ role: Wire.HostRole, cluster: String = "main", at address: RPCAddress) async throws {
        channel = try RPCChannel(to: address, credentials: .insecure)
        call = SchedulerClient(channel).attach(options: .timeout(.seconds(60)))
        let hello = Wire.Hello(
            host: name, incarnation: 1, cluster: cluster, role: role, addresses: ["tcp:127.0.0.1:1"])
        try await call.send(.hello(hello))
        try await call.send(.inventory(Wire.Inventory(last: true)))
    }

    /// The next message of the kind looked for; others are passed over.
    func next<Found>(_ kind: (Wire.SchedulerMessage.Kind) -> Found?) async throws -> Found {
        while let message = try await call.receive() {
            if let found = message.kind.flatMap(kind) { return found }
        }
        throw RPCError(.unavailable, "the stream ended")
    }

    /// How the stream ends, after whatever still comes.
    func outcome() async -> RPCOutcome {
        while (try? await call.receive()) ?? nil != nil {}
        return await call.status()
    }

    func leave() {
        call.cancel()
        channel.close()
    }
}
