import ControlAPI
import Observability

/// The body of `martlet rm`.
func runRemove(_ request: RemoveRequest, _ context: CommandContext) async throws -> ExitCode {
    try await onNode(context) { node in
        var removed: [JSONValue] = []
        for model in request.models {
            let answer = try await node.removeModel(Wire.RemoveModelRequest(model: model))
            removed.append(["model": .string(model), "freed_bytes": .unsigned(answer.freedBytes)])
            if !request.json { context.console.print("\(model): \(Units.bytes(answer.freedBytes)) freed") }
        }
        if request.json { context.console.print(JSONValue.array(removed).text(pretty: true)) }
        return .ok
    }
}
