import Bandwidth
import System
import Transport

/// What `martlet bench` was asked for.
struct BenchRequest: Sendable {
    static let port = 7790

    var plan = BenchPlan()
    var isLocal: Bool
    var wantsJSON: Bool
    var wantsCSV: Bool
    var plotPath: String?

    init(_ input: Command.Input) throws(CommandFailure) {
        isLocal = input.has("--local")
        wantsJSON = input.has("--json")
        wantsCSV = input.has("--csv")
        plotPath = input.values["--plot"]
        guard isLocal != !input.arguments.isEmpty else {
            throw CommandFailure(
                .usage,
                "say which host is to be measured, or --local: martlet bench 10.0.0.5 (there: martlet bench serve)")
        }
        guard !(wantsJSON && wantsCSV) else { throw CommandFailure(.usage, "--json and --csv exclude each other") }
        if let plotPath, !plotPath.hasSuffix(".svg") {
            throw CommandFailure(.usage, "--plot \(plotPath): SVG is what is drawn; name it .svg")
        }
        plan.hosts = input.arguments
        try Self.read(input, &plan)
    }

    private static func read(_ input: Command.Input, _ plan: inout BenchPlan) throws(CommandFailure) {
        if let names = input.values["--transport"] {
            for name in names.split(separator: ",") {
                guard let kind = TransportKind.allCases.first(where: { "\($0)" == name }), kind != .simulated else {
                    throw CommandFailure(.usage, "--transport \(name): it is one of tcp, local, rdma")
                }
                plan.transports.append(kind)
            }
        }
        if let sizes = try amounts(input, "--size") { plan.sizes = sizes }
        if let depths = try numbers(input, "--depth") { plan.depths = depths }
        if let links = try numbers(input, "--links") { plan.links = links }
        if let streams = try numbers(input, "--streams") { plan.streams = streams }
        if let memory = try amounts(input, "--memory")?.first { plan.memoryBytes = memory }
        if let bytes = try amounts(input, "--bytes")?.first { plan.bytes = UInt64(bytes) }
        if let buffer = try amounts(input, "--socket-buffer")?.first { plan.point.socketBufferBytes = buffer }
        if let count = try numbers(input, "--repetitions")?.first { plan.repetitions = count }
        if let node = try numbers(input, "--node", least: 0)?.first { plan.node = node }
        if let node = try numbers(input, "--far-node", least: 0)?.first { plan.farNode = node }
        if let ns = try time(input, "--duration") { plan.durationNs = ns }
        if let ns = try time(input, "--warm-up") { plan.warmUpNs = ns }
        if let word = input.values["--direction"] {
            guard let direction = BenchPoint.Direction(rawValue: word) else {
                throw CommandFailure(.usage, "--direction \(word): it is one of read, reverse, both")
            }
            plan.point.direction = direction
        }
        if let word = input.values["--source"] {
            guard let source = BenchPoint.Source(rawValue: word) else {
                throw CommandFailure(.usage, "--source \(word): it is one of auto, file, memory")
            }
            plan.point.source = source
        }
        switch input.values["--pages"] {
        case nil, "normal": break
        case "huge": plan.pages = .huge2MiB
        case let word?: throw CommandFailure(.usage, "--pages \(word): it is normal or huge")
        }
        plan.point.device = input.values["--device"] ?? ""
        plan.point.verifies = input.has("--verify")
        plan.point.validates = input.has("--validate")
        plan.measuresLimits = !input.has("--no-limits")
    }

    // MARK: Words to values

    private static func numbers(
        _ input: Command.Input, _ name: String, least: Int = 1
    ) throws(CommandFailure) -> [Int]? {
        guard let text = input.values[name] else { return nil }
        var numbers: [Int] = []
        for part in text.split(separator: ",") {
            guard let number = Int(part), (least...10_000).contains(number) else {
                throw CommandFailure(.usage, "\(name) \(part): a number from \(least) to 10000 is due")
            }
            numbers.append(number)
        }
        return numbers
    }

    static func amounts(_ input: Command.Input, _ name: String) throws(CommandFailure) -> [Int]? {
        guard let text = input.values[name] else { return nil }
        var amounts: [Int] = []
        for part in text.split(separator: ",") { amounts.append(try bytes(String(part), name)) }
        return amounts
    }

    /// `64KiB`, `4MiB`, `1GiB`, `64K`, `4M`, `1G`: powers of two, as request sizes are; or plain bytes.
    static func bytes(_ text: String, _ name: String) throws(CommandFailure) -> Int {
        for (letter, shift) in [("K", 10), ("M", 20), ("G", 30)] {
            for ending in [letter + "iB", letter] where text.hasSuffix(ending) {
                if let number = Int(text.dropLast(ending.count)), number > 0, number < 1 << 20 {
                    return number << shift
                }
            }
        }
        guard let number = Int(text), number > 0 else {
            throw CommandFailure(.usage, "\(name) \(text): write it as 64KiB, 4MiB or 1GiB")
        }
        return number
    }

    static func time(_ input: Command.Input, _ name: String) throws(CommandFailure) -> UInt64? {
        guard let text = input.values[name] else { return nil }
        for (ending, scale) in [("ms", 1e6), ("s", 1e9)] where text.hasSuffix(ending) {
            guard let number = Double(text.dropLast(ending.count)), number > 0, number * scale <= 3600e9 else { break }
            return UInt64(number * scale)
        }
        throw CommandFailure(.usage, "\(name) \(text): write it as 600ms or 10s, at most an hour")
    }

    /// A host with its port: names are looked up, the port is 7790 unless it is said.
    static func address(_ text: String) throws(CommandFailure) -> String {
        if SocketAddress(hostAndPort: text) != nil { return text }
        var host = text
        var port = Self.port
        if let colon = text.lastIndex(of: ":"),
            !text.dropLast(text.distance(from: colon, to: text.endIndex)).contains(":"),
            let number = Int(text[text.index(after: colon)...])
        {
            (host, port) = (String(text[..<colon]), number)
        }
        do throws(Errno) {
            let found = try Sockets.resolve(host)
            return found.contains(":") ? "[\(found)]:\(port)" : "\(found):\(port)"
        } catch {
            throw CommandFailure(.unavailable, "\(host) is not known: check the name, or give its address")
        }
    }
}
