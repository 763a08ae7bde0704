/// How a model's files are placed in a directory.
public enum PlaceMode: String, Sendable, CaseIterable {
    /// Hard link where the file system allows it, else reflink, else copy.
    case auto
    case hardlink, reflink, copy
}

/// What `martlet get` was asked for.
public struct GetRequest: Sendable {
    /// The models.
    public var references: [String]
    /// Where to place the files, as given; nil: only the node's store.
    public var directory: String?
    /// Keep the model when space is needed.
    public var pins: Bool
    /// Ask the origin what the reference means now.
    public var refreshes: Bool
    /// How to place files.
    public var place: PlaceMode
    /// Do not talk to the node's peer: run one inside the command.
    public var isStandalone: Bool
    /// Result as JSON.
    public var json: Bool
    /// No progress.
    public var isQuiet: Bool
}

extension Command {
    static let get = Command(
        name: "get", summary: "bring a model to this node, verified",
        examples: [
            Example(
                "martlet get hf://sentence-transformers/all-MiniLM-L6-v2",
                "Into the node's store, to be served from there."),
            Example(
                "martlet get hf://org/name@main --to /models/name",
                "The files in a directory: hard links where possible."),
            Example("martlet get hf://org/name@v1.0/model.safetensors --to .", "One file of a revision."),
            Example(
                "martlet get https://host/path/model.gguf --json",
                "Any server; the result as JSON for programs."),
        ],
        about: [
            "Talks to the node's peer over its Unix socket; when there is none, runs a peer of its own for as long as it takes.",
            "Every piece is verified before it is used or passed on, and every file against its published digest before it "
                + "is placed. Ctrl-C keeps what was verified: the same command goes on from there.",
        ],
        arguments: .some("REF"),
        options: [
            Option("--to", "DIR", "Place the files in this directory, which is made if needed."),
            Option(
                "--place", PlaceMode.allCases.map(\.rawValue).joined(separator: "|"),
                "How to place them. [auto]"),
            Option("--pin", nil, "Never evict this model (see martlet unpin)."),
            Option("--refresh", nil, "Ask the origin what the reference means now, even when that is known."),
            Option("--standalone", nil, "Run a peer of its own even when the node has one."),
            Option("--quiet", nil, "No progress."),
            .json,
        ],
        configuration: .get, stopsGracefully: true
    ) { input, context in
        let word = input.values["--place"] ?? PlaceMode.auto.rawValue
        guard let place = PlaceMode(rawValue: word) else {
            let known = PlaceMode.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure(.usage, "--place \(word): it is one of \(known)")
        }
        let request = GetRequest(
            references: input.arguments, directory: input.values["--to"], pins: input.has("--pin"),
            refreshes: input.has("--refresh"), place: place, isStandalone: input.has("--standalone"),
            json: input.has("--json"), isQuiet: input.has("--quiet"))
        return try await runGet(request, context)
    }
}
