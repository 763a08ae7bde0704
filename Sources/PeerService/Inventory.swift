import Artifacts
import ControlAPI
import Storage

/// What a host holds, as it tells a scheduler: models with their manifests, and each task's pieces with their digests.
enum Inventory {
    /// Messages are cut at about this many bytes, well below the gRPC limit of 4 MiB.
    private static let messageBytesTarget = 1 << 20

    /// Reads the store (blocks on its locks): at least one message, the last one marked.
    static func messages(of store: Store) -> [Wire.Inventory] {
        var messages: [Wire.Inventory] = []
        var current = Wire.Inventory()
        var bytes = 0
        func cut() {
            messages.append(current)
            current = Wire.Inventory()
            bytes = 0
        }
        for model in store.models() {
            current.models.append(
                Wire.HeldModel(
                    model: model.id.description, manifest: model.manifest.wire, complete: model.isComplete))
            bytes += 200 + model.manifest.files.reduce(0) { $0 + $1.path.utf8.count + 180 }
            if bytes > messageBytesTarget { cut() }
        }
        for inventory in store.tasks() where !inventory.held.isEmpty || inventory.isPublished {
            let digests = store.task(inventory.task)?.digests ?? [:]
            // A piece kept after `held` was read has a digest already; the map and the digests must be in step.
            let pieces = inventory.held.members.filter { digests[$0]?.algorithm == .blake3 }
            var held = PieceSet(capacity: inventory.held.capacity)
            for piece in pieces { held.insert(piece) }
            current.tasks.append(
                Wire.HeldTask(
                    task: inventory.task.description, sizeBytes: inventory.sizeBytes, pieces: held.bytes,
                    digests: pieces.flatMap { digests[$0]?.bytes ?? [] }))
            bytes += 128 + held.bytes.count + 32 * pieces.count
            if bytes > messageBytesTarget { cut() }
        }
        current.last = true
        messages.append(current)
        return messages
    }
}
