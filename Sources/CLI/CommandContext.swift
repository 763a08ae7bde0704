import Configuration
import Observability

/// What a running command has at hand.
public struct CommandContext: Sendable {
    /// The checked configuration.
    public let configuration: Configuration
    /// Where people read and write.
    public let console: Console
    /// What it says to operators.
    public let log: Logger
    /// Ctrl-C and SIGTERM.
    public let stop: StopSignal

    /// Gathers what a command needs.
    public init(configuration: Configuration, console: Console, log: Logger, stop: StopSignal) {
        self.configuration = configuration
        self.console = console
        self.log = log
        self.stop = stop
    }
}
