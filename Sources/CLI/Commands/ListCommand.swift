/// What `martlet ls` was asked for.
public struct ListRequest: Sendable {
    /// Result as JSON.
    public var json: Bool
}

extension Command {
    static let list = Command(
        name: "ls", summary: "list the models on this node",
        examples: [
            Example("martlet ls", "Model, revision, size, how much is here, pinned, last use."),
            Example("martlet ls --json", "The same for programs."),
        ],
        about: ["Asks the node's peer over its Unix socket."],
        options: [.json], configuration: .ls
    ) { input, context in
        try await runList(ListRequest(json: input.has("--json")), context)
    }
}
