/// What `martlet rm` was asked for.
public struct RemoveRequest: Sendable {
    /// References or model ids.
    public var models: [String]
    /// Result as JSON.
    public var json: Bool
}

extension Command {
    static let remove = Command(
        name: "rm", summary: "remove a model from this node's store",
        examples: [
            Example("martlet rm hf://org/name", "Frees its space; files placed elsewhere by get stay.")
        ],
        arguments: .some("MODEL"), options: [.json], configuration: .rm
    ) { input, context in
        try await runRemove(RemoveRequest(models: input.arguments, json: input.has("--json")), context)
    }
}
