import ControlAPI
import Observability
import System

/// The body of `martlet ls`.
func runList(_ request: ListRequest, _ context: CommandContext) async throws -> ExitCode {
    let connection = try await NodeConnection.toNode(context)
    let answer: Wire.ListModelsResponse
    do {
        answer = try await connection.node.listModels(Wire.ListModelsRequest())
        await connection.close()
    } catch {
        await connection.close()
        throw error
    }
    if request.json {
        context.console.print(JSONValue.array(answer.models.map(json)).text(pretty: true))
        return .ok
    }
    guard !answer.models.isEmpty else {
        context.console.note("no models here yet; `martlet get hf://org/name` brings one")
        return .ok
    }
    var table = TextTable([
        .left("REFERENCE"), .left("REVISION"), .right("FILES"), .right("SIZE"), .right("HERE"), .left("PINNED"),
        .left("LAST USED"),
    ])
    let nowMs = WallClock.nowMilliseconds()
    for model in answer.models.sorted(by: { $0.reference < $1.reference }) {
        table.add([
            model.reference, String(model.revision.prefix(12)), "\(model.files)", Units.bytes(model.totalBytes),
            model.complete ? "all" : Units.percent(model.heldBytes, of: model.totalBytes), model.pinned ? "yes" : "no",
            Units.duration(seconds: Double(nowMs - min(nowMs, model.lastUsedUnixMs)) / 1000) + " ago",
        ])
    }
    for line in table.lines() { context.console.print(line) }
    return .ok
}

private func json(_ model: Wire.StoredModel) -> JSONValue {
    [
        "model": .string(model.model), "reference": .string(model.reference), "revision": .string(model.revision),
        "files": .unsigned(UInt64(model.files)), "total_bytes": .unsigned(model.totalBytes),
        "held_bytes": .unsigned(model.heldBytes), "complete": .bool(model.complete), "pinned": .bool(model.pinned),
        "last_used_unix_ms": .unsigned(model.lastUsedUnixMs),
    ]
}
