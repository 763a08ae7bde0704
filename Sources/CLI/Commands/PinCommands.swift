/// What `martlet pin` and `martlet unpin` were asked for.
public struct PinRequest: Sendable {
    /// References or model ids.
    public var models: [String]
    /// Pin, or unpin.
    public var pinned: Bool
}

extension Command {
    static let pin = Command(
        name: "pin", summary: "keep a model when space is needed",
        examples: [
            Example("martlet pin hf://org/name", "It is not evicted any more, however long nobody uses it.")
        ],
        about: [
            "Models that are not pinned go when the disk budget is reached, those used least recently first."
        ],
        arguments: .some("MODEL"), configuration: .pin
    ) { input, context in
        try await runPin(PinRequest(models: input.arguments, pinned: true), context)
    }

    static let unpin = Command(
        name: "unpin", summary: "let a model go when space is needed",
        examples: [Example("martlet unpin hf://org/name", "It may be evicted again.")],
        arguments: .some("MODEL"), configuration: .unpin
    ) { input, context in
        try await runPin(PinRequest(models: input.arguments, pinned: false), context)
    }
}
