import Glibc
import Simulation

/// Runs what was asked for on this thread, which nothing else in the process waits for, and prints how it went.
func runSimulation(_ request: SimulationRequest, _ context: CommandContext) throws -> ExitCode {
    switch request.extent {
    case .once: try runOnce(request, context)
    case .runs(let count): runSeeds(request, count, context)
    case .scale(let sizes): try runScale(request, sizes, context)
    }
}

private func runOnce(_ request: SimulationRequest, _ context: CommandContext) throws -> ExitCode {
    let startNs = processorTimeNs()
    let outcome = Fleet(request.scenario, processorNs: processorTimeNs).run { context.stop.isRequested }
    let seconds = Double(processorTimeNs() - startNs) / 1e9
    for line in outcome.trace { context.console.print(line) }
    if request.wantsJSON {
        context.console.print(outcome.json)
    } else {
        for line in outcome.summary { context.console.print(line) }
    }
    let scheduler = Double(outcome.schedulerProcessorNs) / 1e9
    let each = 1e6 / Double(max(outcome.transfers, 1))
    context.console.note(
        "processor time: \(fixed(seconds, 3)) s, \(fixed(seconds * each, 2)) us a piece and peer; of which the "
            + "scheduler \(fixed(scheduler, 3)) s, \(fixed(scheduler * 1e6 / Double(max(request.scenario.peers, 1)), 1)) "
            + "us a peer")
    if let path = request.svgPath { try write(outcome.svg, to: path) }
    return exitCode(of: outcome, context)
}

private func exitCode(of outcome: Outcome, _ context: CommandContext) -> ExitCode {
    if !outcome.violations.isEmpty { return .verificationFailed }
    return outcome.isCutShort ? context.stop.reason?.exitCode ?? .interrupted : .ok
}

/// One run for each seed; says which failed and how to have each again.
private func runSeeds(_ request: SimulationRequest, _ count: Int, _ context: CommandContext) -> ExitCode {
    var failed: [UInt64] = []
    var (done, events) = (0, UInt64(0))
    for seed in request.scenario.seed..<request.scenario.seed + UInt64(count) {
        let scenario = request.scenario(ofSeed: seed)
        let outcome = Fleet(scenario).run { context.stop.isRequested }
        if outcome.isCutShort { break }
        done += 1
        events += outcome.events
        guard let first = outcome.violations.first else { continue }
        failed.append(seed)
        if !request.wantsJSON {
            context.console.print("\(first)\n  \(request.command(ofSeed: seed))")
        }
    }
    if request.wantsJSON {
        let seeds = failed.map { "\($0)" }.joined(separator: ",")
        context.console.print("{\"runs\":\(done),\"events\":\(events),\"failed_seeds\":[\(seeds)]}")
    } else {
        context.console.print("\(done) runs, \(events) events, \(failed.count) failed")
    }
    if !failed.isEmpty { return .verificationFailed }
    return done < count ? context.stop.reason?.exitCode ?? .interrupted : .ok
}

/// One run for each size, and what the scheduler cost in each.
private func runScale(_ request: SimulationRequest, _ sizes: [Int], _ context: CommandContext) throws -> ExitCode {
    var rows: [ScaleRow] = []
    var code = ExitCode.ok
    if !request.wantsJSON { context.console.print(ScaleRow.heading) }
    for size in sizes {
        var scenario = request.scenario
        scenario.peers = size
        let startNs = processorTimeNs()
        let outcome = Fleet(scenario, processorNs: processorTimeNs).run { context.stop.isRequested }
        code = exitCode(of: outcome, context)
        for violation in outcome.violations { context.console.note("\(size) peers: \(violation)") }
        let row = ScaleRow(outcome, seconds: Double(processorTimeNs() - startNs) / 1e9)
        rows.append(row)
        if !request.wantsJSON { context.console.print(row.text) }
        if code != .ok { break }
    }
    if request.wantsJSON {
        context.console.print("[\(rows.map(\.json).joined(separator: ","))]")
    }
    if let path = request.svgPath { try write(ScaleRow.svg(rows), to: path) }
    return code
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
