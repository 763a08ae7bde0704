import Observability

extension Command {
    static let version = Command(
        name: "version", summary: "show which build this is",
        examples: [
            Example("martlet version", "The same as martlet --version."),
            Example("martlet version --json", "For programs."),
        ],
        options: [.json]
    ) { input, context in
        if input.has("--json") {
            context.console.printJSON(["version": .string(BuildInfo.version)], pretty: false)
        } else {
            context.console.print("martlet \(BuildInfo.version)")
        }
        return .ok
    }
}
