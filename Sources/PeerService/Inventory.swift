import Artifacts
import ControlAPI
import Storage

/// What of a model a scheduler is told.
struct InventoryPart: Sendable {
    /// The model belongs to the scheduler: its tasks too.
    var isModel: Bool
    /// Its reference does: the model's manifest alone, with which the reference can be answered.
    var isReference: Bool
}

/// What a host holds, as it tells a scheduler: models with their manifests, and each task's pieces with their digests.
enum Inventory {
    /// Messages are cut at about this many bytes, well below the gRPC limit of 4 MiB.
    private static let messageBytesTarget = 1 << 20

    /// Reads the store (blocks on its locks): at least one message, the last one marked.
    ///
    /// - Parameters:
    ///   - isWhole: whether what is not named is not held; else it adds to what was said before.
    ///   - concerning: what of each model, known by its identity and reference, the scheduler is to hear. A task that
    ///     belongs to no model, or to one of the scheduler's models besides others, is among it.
    static func messages(
        of store: Store, isWhole: Bool = true, concerning: (ModelID, String) -> InventoryPart
    ) -> [Wire.Inventory] {
        var messages: [Wire.Inventory] = []
        var current = Wire.Inventory()
        var bytes = 0
        func cut() {
            messages.append(current)
            current = Wire.Inventory()
            bytes = 0
        }
        var wanted: Set<TaskID> = []
        var others: Set<TaskID> = []
        for model in store.models() {
            let part = concerning(model.id, model.manifest.reference)
            for file in model.manifest.files {
                if part.isModel { wanted.insert(file.task) } else { others.insert(file.task) }
            }
            guard part.isModel || part.isReference else { continue }
            current.models.append(
                Wire.HeldModel(
                    model: model.id.description, manifest: model.manifest.wire, complete: model.isComplete))
            bytes += 200 + model.manifest.files.reduce(0) { $0 + $1.path.utf8.count + 180 }
            if bytes > messageBytesTarget { cut() }
        }
        for inventory in store.tasks() where !inventory.held.isEmpty || inventory.isPublished {
            let isConcerned = wanted.contains(inventory.task) || isWhole && !others.contains(inventory.task)
            guard isConcerned else { continue }
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
        current.last = isWhole
        messages.append(current)
        return messages
    }
}
