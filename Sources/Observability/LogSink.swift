import Glibc
import Synchronization
import System

/// One message, before it is put into words.
struct LogLine {
    var unixMs: UInt64
    var level: LogLevel
    var component: String
    var message: String
    var fields: [(name: String, value: LogValue)]

    private func shown(_ field: (name: String, value: LogValue)) -> LogValue {
        if Redaction.isSecret(fieldName: field.name) { return .text(Redaction.mask) }
        if case .text(let text) = field.value { return .text(Redaction.scrub(text)) }
        return field.value
    }

    /// `2026-11-20T18:42:19.123Z info peer: message key=value`, without a newline.
    var text: String {
        var out =
            WallClock.text(unixMs: unixMs) + " \(level.rawValue) \(component): "
            + LogLine.plain(Redaction.scrub(message))
        for field in fields {
            out += " \(field.name)="
            switch shown(field) {
            case .integer(let number): out += String(number)
            case .number(let number): out += "\(number)"
            case .flag(let flag): out += flag ? "true" : "false"
            case .text(let text):
                let isPlain =
                    !text.isEmpty
                    && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F && !"\"=".utf8.contains($0) }
                if isPlain { out += text } else { JSONValue.writeString(text, into: &out) }
            }
        }
        return out
    }

    /// The same as one JSON object.
    var json: String {
        var members: [JSONValue.Member] = [
            .init("time", .string(WallClock.text(unixMs: unixMs))), .init("level", .string(level.rawValue)),
            .init("component", .string(component)), .init("message", .string(Redaction.scrub(message))),
        ]
        for field in fields {
            switch shown(field) {
            case .integer(let number): members.append(.init(field.name, .integer(number)))
            case .number(let number): members.append(.init(field.name, .number(number)))
            case .flag(let flag): members.append(.init(field.name, .bool(flag)))
            case .text(let text): members.append(.init(field.name, .string(text)))
            }
        }
        return JSONValue.object(members).text()
    }

    /// A message stays on its line, whatever it quotes.
    private static func plain(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else { return text }
        return String(
            String.UnicodeScalarView(
                text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? " " : $0 }))
    }
}

/// Where log lines go: one for the process.
public final class LogSink: Sendable {
    /// How a line looks.
    public enum Format: String, Sendable { case text, json }

    private let format: Format
    private let out: @Sendable (String) -> Void

    /// Sends finished lines (without newline) to a closure, from any thread.
    public init(format: Format, _ out: @escaping @Sendable (String) -> Void) {
        self.format = format
        self.out = out
    }

    /// Standard error.
    public static func standardError(format: Format) -> LogSink {
        let writer = DescriptorWriter(descriptor: 2)
        return LogSink(format: format) { writer.write($0) }
    }

    func write(_ line: LogLine) { out(format == .json ? line.json : line.text) }
}

/// Writes whole lines to a descriptor, and drops them rather than wait for a reader that has stalled.
final class DescriptorWriter: Sendable {
    /// A pipe that polls writable takes this much at once (PIPE_BUF): no write of ours can block.
    static let lineBytesMax = 4096
    /// The longest wait for a stalled reader; it is waited for once, until it reads again.
    static let stallWaitMs: Int32 = 50

    private let descriptor: CInt
    private let state = Mutex(State())

    private struct State {
        var droppedLines = 0
        var isStalled = false
    }

    init(descriptor: CInt) { self.descriptor = descriptor }

    func write(_ line: String) {
        state.withLock { state in
            guard isWritable(waitMs: state.isStalled ? 0 : DescriptorWriter.stallWaitMs) else {
                state.isStalled = true
                state.droppedLines += 1
                return
            }
            state.isStalled = false
            if state.droppedLines > 0 {
                put("(\(state.droppedLines) log lines dropped: the reader of stderr had stalled)")
                state.droppedLines = 0
                guard isWritable(waitMs: 0) else {
                    state.droppedLines = 1
                    return
                }
            }
            put(line)
        }
    }

    private func isWritable(waitMs: Int32) -> Bool {
        var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return Glibc.poll(&poll, 1, waitMs) == 1 && poll.revents & Int16(POLLOUT) != 0
    }

    private func put(_ line: String) {
        var bytes = Array(line.utf8.prefix(DescriptorWriter.lineBytesMax - 1))
        bytes.append(0x0A)
        // An error here has nowhere to be told: stderr is where errors go.
        _ = Glibc.write(descriptor, bytes, bytes.count)
    }
}

extension WallClock {
    /// `2026-11-20T18:42:19.123Z`
    static func text(unixMs: UInt64) -> String {
        let days = Int(unixMs / 86_400_000)
        let date = civilDate(daysSince1970: days)
        let milliseconds = Int(unixMs % 86_400_000)
        func padded(_ number: Int, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let (hours, minutes) = (milliseconds / 3_600_000, milliseconds / 60_000 % 60)
        let clock = "\(padded(hours, 2)):\(padded(minutes, 2)):\(padded(milliseconds / 1000 % 60, 2))"
        return "\(padded(date.year, 4))-\(padded(date.month, 2))-\(padded(date.day, 2))T\(clock)"
            + ".\(padded(milliseconds % 1000, 3))Z"
    }

    /// The Gregorian date, by eras of 400 years that begin in March (leap days come last).
    private static func civilDate(daysSince1970: Int) -> (year: Int, month: Int, day: Int) {
        let days = daysSince1970 + 719_468
        let era = days / 146_097
        let dayOfEra = days % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let marchMonth = (5 * dayOfYear + 2) / 153
        let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
        let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
    }
}
