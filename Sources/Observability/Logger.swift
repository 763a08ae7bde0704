import System

/// How grave a message is.
public enum LogLevel: String, Sendable, CaseIterable, Comparable {
    case debug, info, warning, error

    private var rank: Int { LogLevel.allCases.firstIndex(of: self) ?? 0 }
    /// Whether it is less grave.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rank < right.rank }
}

/// One field's value.
public enum LogValue: Sendable, Equatable, ExpressibleByStringLiteral, ExpressibleByStringInterpolation,
    ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral
{
    case text(String)
    case integer(Int64)
    case number(Double)
    case flag(Bool)

    /// Text.
    public init(stringLiteral text: String) { self = .text(text) }
    /// A whole number.
    public init(integerLiteral number: Int64) { self = .integer(number) }
    /// Any number.
    public init(floatLiteral number: Double) { self = .number(number) }
    /// True or false.
    public init(booleanLiteral flag: Bool) { self = .flag(flag) }

    /// A whole number; those beyond 2⁶³−1 are shown as that.
    public static func count(_ number: some BinaryInteger) -> LogValue { .integer(Int64(clamping: number)) }
}

/// Says what happens, on stderr: a sentence and fields. A value; copies with more fields are cheap to make.
///
/// Safe from every thread. A line is written at once, whole; a reader that has stalled costs a line, never a wait of
/// more than 50 ms. Secrets are masked (`Redaction`).
public struct Logger: Sendable {
    /// The part of the system that speaks: `peer`, `scheduler`.
    public let component: String
    /// The least grave message that is written.
    public let level: LogLevel
    private let sink: LogSink
    private var context: [(name: String, value: LogValue)]

    /// A logger for one part of the system.
    public init(component: String, sink: LogSink, level: LogLevel = .info) {
        self.component = component
        self.sink = sink
        self.level = level
        context = []
    }

    /// The same for another part.
    public func named(_ component: String) -> Logger {
        var logger = Logger(component: component, sink: sink, level: level)
        logger.context = context
        return logger
    }

    /// The same with more fields on every line.
    public func with(_ fields: KeyValuePairs<String, LogValue>) -> Logger {
        var logger = self
        logger.context += fields.map { ($0.key, $0.value) }
        return logger
    }

    /// The same, saying nothing below a level.
    public func atLeast(_ level: LogLevel) -> Logger {
        var logger = Logger(component: component, sink: sink, level: max(level, self.level))
        logger.context = context
        return logger
    }

    /// Writes a line when the level asks for it; the message is not made otherwise.
    public func log(
        _ level: LogLevel, _ message: @autoclosure () -> String,
        _ fields: KeyValuePairs<String, LogValue> = [:]
    ) {
        guard level >= self.level else { return }
        sink.write(
            LogLine(
                unixMs: WallClock.nowMilliseconds(), level: level, component: component, message: message(),
                fields: context + fields.map { ($0.key, $0.value) }))
    }

    /// What only a developer wants to know.
    public func debug(_ message: @autoclosure () -> String, _ fields: KeyValuePairs<String, LogValue> = [:]) {
        log(.debug, message(), fields)
    }

    /// What an operator may want to know.
    public func info(_ message: @autoclosure () -> String, _ fields: KeyValuePairs<String, LogValue> = [:]) {
        log(.info, message(), fields)
    }

    /// What an operator should look at when there is time.
    public func warning(_ message: @autoclosure () -> String, _ fields: KeyValuePairs<String, LogValue> = [:]) {
        log(.warning, message(), fields)
    }

    /// What went wrong for somebody.
    public func error(_ message: @autoclosure () -> String, _ fields: KeyValuePairs<String, LogValue> = [:]) {
        log(.error, message(), fields)
    }
}
