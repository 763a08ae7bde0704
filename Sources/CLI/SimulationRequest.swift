import Simulation

/// What `martlet simulate` was asked for.
struct SimulationRequest: Sendable {
    /// How often it runs.
    enum Extent: Sendable, Hashable {
        case once
        /// Seed after seed.
        case runs(Int)
        /// For each of these numbers of peers.
        case scale([Int])
    }

    var scenario = Scenario()
    var extent = Extent.once
    var svgPath: String?
    let wantsJSON: Bool
    /// Fleet and faults are the seed's choice, with at most so many peers.
    var randomPeersMax: Int?
    /// The options that a single run of the same needs, apart from the seed.
    private let options: String

    init(_ input: Command.Input) throws(CommandFailure) {
        wantsJSON = input.has("--json")
        svgPath = input.values["--svg"]
        let kept = ["--nodes", "--seeds", "--size", "--files", "--models", "--nic", "--origin", "--rack", "--uplink"]
        options = (kept + ["--latency", "--limit", "--workload", "--faults"])
            .compactMap { name in input.values[name].map { "\(name) \($0)" } }.joined(separator: " ")
        let nodes = try Self.number(input, "--nodes", 1...20_000)
        if let nodes { scenario.peers = nodes }
        if let count = try Self.number(input, "--seeds", 0...64) { scenario.seedPeers = count }
        if let count = try Self.number(input, "--files", 1...1000) { scenario.files = count }
        if let count = try Self.number(input, "--models", 1...64) { scenario.models = count }
        if let count = try Self.number(input, "--rack", 0...20_000) { scenario.rackHosts = count }
        if let seed = try Self.number(input, "--seed", 0...Int(Int32.max)) { scenario.seed = UInt64(seed) }
        scenario.traced = try Self.number(input, "--trace", 0...20_000)
        if let text = input.values["--size"] { scenario.sizeBytes = try Self.amount(text, "--size", unit: "B") }
        if let text = input.values["--nic"] {
            scenario.nicBytesPerSecond = try Self.amount(text, "--nic", unit: "bps") / 8
            scenario.originBytesPerSecond = scenario.nicBytesPerSecond
        }
        if let text = input.values["--origin"] {
            scenario.originBytesPerSecond = try Self.amount(text, "--origin", unit: "bps") / 8
        }
        if let count = try Self.number(input, "--latency", 1...10_000_000) {
            scenario.latencyNs = UInt64(count) * 1000
        }
        if let count = try Self.number(input, "--limit", 1...1_000_000_000) {
            scenario.limitNs = UInt64(count) * 1_000_000
        }
        try takeUplink(input)
        try takeWorkload(input)
        try takeFaults(input, nodes)
        try takeExtent(input)
        guard scenario.sizeBytes >= UInt64(scenario.files), scenario.sizeBytes <= 100_000_000_000_000,
            scenario.nicBytesPerSecond >= 1000, scenario.originBytesPerSecond >= 1000
        else {
            throw CommandFailure(.usage, "rates are at least 8kbps, and a model has a byte a file, at most 100TB")
        }
        scenario = scenario(ofSeed: scenario.seed)
    }

    private mutating func takeUplink(_ input: Command.Input) throws(CommandFailure) {
        guard let text = input.values["--uplink"] else { return }
        guard text.hasSuffix(":1"), let factor = Int(text.dropLast(2)), (1...1000).contains(factor) else {
            throw CommandFailure(.usage, "--uplink \(text): write it as 4:1")
        }
        scenario.oversubscription = factor
    }

    private mutating func takeWorkload(_ input: Command.Input) throws(CommandFailure) {
        guard let text = input.values["--workload"] else { return }
        guard let workload = Scenario.Workload(rawValue: text) else {
            let names = Scenario.Workload.allCases.map(\.rawValue).joined(separator: ", ")
            throw CommandFailure(.usage, "--workload \(text): it is one of \(names)")
        }
        scenario.workload = workload
    }

    private mutating func takeFaults(_ input: Command.Input, _ nodes: Int?) throws(CommandFailure) {
        guard let text = input.values["--faults"] else { return }
        if text == "random" {
            guard (nodes ?? 300) >= 3 else {
                throw CommandFailure(.usage, "--faults random needs 3 peers or more: --nodes is the most there may be")
            }
            randomPeersMax = nodes ?? 300
            return
        }
        guard let faults = FaultPlan(text) else {
            let names = FaultPlan.words.map(\.name).joined(separator: ", ")
            throw CommandFailure(
                .usage, "--faults \(text): write faults as crash=2,slow=1 (they are \(names)), or random")
        }
        scenario.faults = faults
    }

    private mutating func takeExtent(_ input: Command.Input) throws(CommandFailure) {
        let runs = try Self.number(input, "--runs", 1...1_000_000)
        let scale = input.values["--scale"]
        guard runs == nil || scale == nil else { throw CommandFailure(.usage, "--runs and --scale exclude each other") }
        guard runs == nil && scale == nil || scenario.traced == nil else {
            throw CommandFailure(.usage, "--trace tells the story of a single run")
        }
        if let runs {
            guard svgPath == nil else { throw CommandFailure(.usage, "--svg draws a single run, or --scale") }
            extent = .runs(runs)
        }
        guard let scale else { return }
        let sizes = scale.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
        guard sizes.allSatisfy({ (1...20_000).contains($0) }), sizes.count <= 32 else {
            throw CommandFailure(.usage, "--scale \(scale): write numbers of peers as 100,1000,10000")
        }
        guard randomPeersMax == nil else {
            throw CommandFailure(.usage, "--scale compares fleets that are alike: not with --faults random")
        }
        extent = .scale(sizes)
    }

    /// What is run with a seed.
    func scenario(ofSeed seed: UInt64) -> Scenario {
        var made = scenario
        if let randomPeersMax {
            made = .random(seed: seed, peersMax: randomPeersMax)
            made.traced = scenario.traced
        }
        made.seed = seed
        return made
    }

    /// How to have one run of a seed again.
    func command(ofSeed seed: UInt64) -> String {
        ["martlet simulate", options, "--seed \(seed)"].filter { !$0.isEmpty }.joined(separator: " ")
    }

    private static func number(
        _ input: Command.Input, _ name: String, _ range: ClosedRange<Int>
    ) throws(CommandFailure) -> Int? {
        guard let text = input.values[name] else { return nil }
        guard let number = Int(text), range.contains(number) else {
            throw CommandFailure(
                .usage, "\(name) \(text): a number from \(range.lowerBound) to \(range.upperBound) is due")
        }
        return number
    }

    /// `100GB`, `1.5TB`, `25Gbps`: decimal units.
    private static func amount(_ text: String, _ name: String, unit: String) throws(CommandFailure) -> UInt64 {
        let scales: [(String, Double)] = [("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1)]
        for (prefix, scale) in scales where text.hasSuffix(prefix + unit) {
            guard let number = Double(text.dropLast((prefix + unit).count)), number > 0, number * scale < 1e18 else {
                break
            }
            return UInt64(number * scale)
        }
        throw CommandFailure(.usage, "\(name) \(text): write it as 100G\(unit)")
    }
}
