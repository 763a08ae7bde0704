import Configuration
import Glibc
import Observability
import System

/// The program: takes a command line apart, loads the configuration, runs the command and turns its end into an exit
/// code.
public enum MartletCommandLine {
    static let commands: [Command] = [
        .get, .list, .pin, .unpin, .remove, .up, .peer, .seed, .scheduler, .manager, .token, .settings, .simulate,
        .bench, .info, .config, .version,
    ]

    /// Runs the words after the program's name, and gives the process's exit code.
    ///
    /// Errors are one line on stderr, `martlet: …`.
    public static func run(
        _ words: [String], console: Console = .ofThisProcess(), surroundings: Surroundings = .ofThisProcess()
    ) async -> Int32 {
        let code = await outcome(words, console, surroundings)
        return code.rawValue
    }

    private static func outcome(_ words: [String], _ console: Console, _ surroundings: Surroundings) async
        -> ExitCode
    {
        do {
            switch try CommandLineParser(commands: commands).parse(words) {
            case .overview(let isError):
                let text = HelpText.overview(commands)
                // Asked for, it is a result; otherwise it says what was missing.
                if isError { console.note(text) } else { console.print(text) }
                return isError ? .usage : .ok
            case .help(let command):
                console.print(HelpText.text(command))
                return .ok
            case .version:
                console.print("martlet \(BuildInfo.version)")
                return .ok
            case .run(let command, let input, let file, let flags):
                let configuration = try Configuration.load(
                    ConfigurationSources(file: file, flags: flags, surroundings: surroundings))
                return try await run(command, input, configuration, console)
            }
        } catch {
            return told(error, console)
        }
    }

    private static func run(
        _ command: Command, _ input: Command.Input, _ configuration: Configuration, _ console: Console
    ) async throws -> ExitCode {
        let stop = StopSignal()
        let watch = command.stopsGracefully ? try stop.watch(console) : nil
        defer { watch?.close() }
        let context = CommandContext(
            configuration: configuration, console: console, log: logger(command, configuration), stop: stop)
        do {
            return try await command.run(input, context)
        } catch is CancellationError {
            return stop.reason?.exitCode ?? .failure
        }
    }

    private static func logger(_ command: Command, _ configuration: Configuration) -> Logger {
        if let token = configuration[Schema.Origin.hfToken] { Redaction.remember(token) }
        let format: LogSink.Format = configuration[Schema.Log.format] == .json ? .json : .text
        let level = LogLevel(rawValue: configuration[Schema.Log.level].rawValue) ?? .info
        return Logger(component: command.name, sink: .standardError(format: format), level: level)
    }

    /// Says the error in one line, without secrets, and gives its exit code.
    private static func told(_ error: any Error, _ console: Console) -> ExitCode {
        let line = Redaction.scrub("\(error)").split(whereSeparator: \.isNewline).joined(separator: " ")
        console.note("martlet: \(line)")
        return ExitCode(error)
    }
}
