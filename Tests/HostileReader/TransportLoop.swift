import Glibc
import System
import Transport
import TransportVerbs

/// Something a transport reported.
enum Happening {
    case up(LinkID, LinkIdentity, inbound: Bool)
    case down(LinkID, TransportError)
    case said(LinkID, String)
    case read(ReadCompletion)
    case retired(ExportID)
}

/// Keeps what a transport reports for after the poll.
struct HappeningList: TransportEvents {
    var all: [Happening] = []

    mutating func linkUp(_ link: LinkID, peer: LinkIdentity, inbound: Bool) {
        all.append(.up(link, peer, inbound: inbound))
    }
    mutating func linkDown(_ link: LinkID, reason: TransportError) { all.append(.down(link, reason)) }
    mutating func message(_ bytes: UnsafeRawBufferPointer, on link: LinkID) {
        all.append(.said(link, String(decoding: bytes, as: UTF8.self)))
    }
    mutating func readCompleted(_ completion: ReadCompletion) { all.append(.read(completion)) }
    mutating func exportRetired(_ export: ExportID) { all.append(.retired(export)) }
}

/// A transport with a thread of its own, this one, and a person who types commands.
final class TransportLoop {
    let transport: VerbsTransport
    private let poller: EpollQueue
    private var typed: [UInt8] = []
    private(set) var isOver = false

    private static let commandsToken: UInt64 = 1
    private static let transportToken: UInt64 = 2

    init(_ transport: VerbsTransport) throws {
        self.transport = transport
        poller = try EpollQueue()
        try poller.add(transport.wakeDescriptor!, .reading, token: Self.transportToken)
        // A file or /dev/null cannot be watched: then there are no commands.
        try? poller.add(STDIN_FILENO, .reading, token: Self.commandsToken)
    }

    /// Waits for something to happen, at most so long, and polls.
    func turn(limitMs: Int) -> (happenings: [Happening], commands: [String]) {
        var list = HappeningList()
        let nowNs = MonotonicClock.nowNs()
        if transport.poll(nowNs: nowNs, limit: 256, into: &list) > 0 { return (list.all, []) }
        var waitMs = limitMs
        if let wakeNs = transport.wakeAtNs {
            waitMs = min(waitMs, wakeNs <= nowNs ? 0 : Int((wakeNs - nowNs) / 1_000_000) + 1)
        }
        var ready: [EpollQueue.Ready] = []
        do throws(Errno) { try poller.wait(limitMs: waitMs, into: &ready) } catch { fatalError("epoll: \(error)") }
        var commands: [String] = []
        if ready.contains(where: { $0.token == Self.commandsToken }) { commands = readCommands() }
        transport.poll(nowNs: MonotonicClock.nowNs(), limit: 256, into: &list)
        return (list.all, commands)
    }

    private func readCommands() -> [String] {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(STDIN_FILENO, &buffer, buffer.count)
        guard count > 0 else {
            poller.remove(STDIN_FILENO)
            isOver = true
            return []
        }
        typed += buffer[..<count]
        var commands: [String] = []
        while let end = typed.firstIndex(of: UInt8(ascii: "\n")) {
            commands.append(String(decoding: typed[..<end], as: UTF8.self))
            typed.removeFirst(end + 1)
        }
        return commands
    }

    /// Sends a message; what cannot be taken is dropped, as one drops what a far side does not read.
    func say(_ text: String, on link: LinkID) {
        var text = text
        text.withUTF8 { _ = transport.send(UnsafeRawBufferPointer($0), on: link) }
    }

    func shutdown() {
        var list = HappeningList()
        transport.shutdown(into: &list)
    }
}

/// Prints one line of JSON, at once.
func tell(_ event: String, _ fields: (String, any Sendable)...) {
    var line = "{\"event\":\"\(event)\",\"ms\":\(MonotonicClock.nowNs() / 1_000_000)"
    for (name, value) in fields {
        switch value {
        case let number as any BinaryInteger: line += ",\"\(name)\":\(number)"
        case let flag as Bool: line += ",\"\(name)\":\(flag)"
        default:
            let text = "\(value)".replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
            line += ",\"\(name)\":\"\(text)\""
        }
    }
    line += "}\n"
    line.withUTF8 { bytes in
        var sent = 0
        while sent < bytes.count {
            let count = write(STDOUT_FILENO, bytes.baseAddress! + sent, bytes.count - sent)
            if count <= 0 { exit(3) }
            sent += count
        }
    }
}
