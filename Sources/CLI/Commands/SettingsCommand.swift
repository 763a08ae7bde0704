/// What `martlet settings` was asked for.
public struct SettingsRequest: Sendable {
    /// `NAME=VALUE`, or `NAME=` to take back what was set.
    public var changes: [(name: String, value: String)]
    /// Result as JSON.
    public var json: Bool
}

extension Command {
    static let settings = Command(
        name: "settings", summary: "show or change what can be changed while a cluster runs",
        examples: [
            Example("martlet settings --manager 10.0.0.5:7600", "All settings, their values and what they mean."),
            Example(
                "martlet settings origin_bytes_per_second=500000000 --manager 10.0.0.5:7600",
                "The cluster reads at most 500 MB/s at origins from now on."),
            Example("martlet settings origin_bytes_per_second= --manager 10.0.0.5:7600", "As it was built in again."),
        ],
        about: [
            "Asks the cluster's manager, which keeps what is set and tells all schedulers at once.",
            "What is set here wins over the schedulers' own configuration.",
        ],
        arguments: .any("NAME=VALUE"), options: [.json], configuration: .settings
    ) { input, context in
        var changes: [(name: String, value: String)] = []
        for word in input.arguments {
            guard let sign = word.firstIndex(of: "=") else {
                throw CommandFailure(.usage, "‘\(word)’ is no change: write NAME=VALUE, or NAME= to take one back")
            }
            changes.append((String(word[..<sign]), String(word[word.index(after: sign)...])))
        }
        return try await runSettings(SettingsRequest(changes: changes, json: input.has("--json")), context)
    }
}
