import Glibc
import Simulation

/// What `martlet simulate` was asked for.
struct SimulationRequest: Sendable {
    var scenario = Scenario()
    var svgPath: String?
    var wantsJSON: Bool

    init(_ input: Command.Input) throws(CommandFailure) {
        wantsJSON = input.has("--json")
        svgPath = input.values["--svg"]
        if let count = try Self.number(input, "--nodes", 1...20_000) { scenario.peers = count }
        if let count = try Self.number(input, "--seeds", 0...64) { scenario.seedPeers = count }
        if let count = try Self.number(input, "--files", 1...1000) { scenario.files = count }
        if let count = try Self.number(input, "--rack", 0...20_000) { scenario.rackHosts = count }
        if let seed = try Self.number(input, "--seed", 0...Int.max) { scenario.seed = UInt64(seed) }
        scenario.traced = try Self.number(input, "--trace", 0...20_000)
        if let text = input.values["--size"] { scenario.sizeBytes = try Self.amount(text, "--size", unit: "B") }
        if let text = input.values["--nic"] {
            scenario.nicBytesPerSecond = try Self.amount(text, "--nic", unit: "bps") / 8
            scenario.originBytesPerSecond = scenario.nicBytesPerSecond
        }
        if let text = input.values["--origin"] {
            scenario.originBytesPerSecond = try Self.amount(text, "--origin", unit: "bps") / 8
        }
        if let text = input.values["--uplink"] {
            guard text.hasSuffix(":1"), let factor = Int(text.dropLast(2)), (1...1000).contains(factor) else {
                throw CommandFailure(.usage, "--uplink \(text): write it as 4:1")
            }
            scenario.oversubscription = factor
        }
        if let text = input.values["--workload"] {
            guard let workload = Scenario.Workload(rawValue: text) else {
                let names = Scenario.Workload.allCases.map(\.rawValue).joined(separator: ", ")
                throw CommandFailure(.usage, "--workload \(text): it is one of \(names)")
            }
            scenario.workload = workload
        }
        if let text = input.values["--faults"] {
            guard let faults = FaultPlan(text) else {
                throw CommandFailure(.usage, "--faults \(text): write faults as crash=2,slow=1; see --help for them")
            }
            scenario.faults = faults
        }
        guard scenario.sizeBytes >= UInt64(scenario.files), scenario.sizeBytes <= 100_000_000_000_000,
            scenario.nicBytesPerSecond >= 1000, scenario.originBytesPerSecond >= 1000
        else {
            throw CommandFailure(.usage, "rates are at least 8kbps, and a model has a byte a file, at most 100TB")
        }
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

/// Runs it on this thread, which nothing else in the process waits for, and prints how it went.
func runSimulation(_ request: SimulationRequest, _ context: CommandContext) throws -> ExitCode {
    let startNs = processorTimeNs()
    let outcome = Fleet(request.scenario, processorNs: processorTimeNs).run()
    let seconds = Double(processorTimeNs() - startNs) / 1e9
    for line in outcome.trace { context.console.print(line) }
    if request.wantsJSON {
        context.console.print(outcome.json)
    } else {
        for line in outcome.summary { context.console.print(line) }
    }
    let scheduler = Double(outcome.schedulerProcessorNs) / 1e9
    context.console.note("processor time: \(seconds) s, of which the scheduler \(scheduler) s")
    if let path = request.svgPath { try write(outcome.svg, to: path) }
    return outcome.violations.isEmpty ? .ok : .verificationFailed
}

private func write(_ text: String, to path: String) throws(CommandFailure) {
    guard let file = fopen(path, "w") else {
        throw CommandFailure(.usage, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
    let written = fputs(text, file)
    guard fclose(file) == 0, written >= 0 else {
        throw CommandFailure(.failure, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}

private func processorTimeNs() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
