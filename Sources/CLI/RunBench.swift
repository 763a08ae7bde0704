import Bandwidth
import Glibc
import Synchronization
import System
import Transport

/// The body of `martlet bench serve`.
func runBenchServer(_ input: Command.Input, _ context: CommandContext) async throws -> ExitCode {
    guard input.arguments.count == 1 else {
        throw CommandFailure(.usage, "serve takes no argument; say where it listens by --listen")
    }
    var options = BenchServer.Options()
    if let place = input.values["--listen"] {
        options.listen = SocketAddress(hostAndPort: place) == nil ? try BenchRequest.address(place) : place
    }
    if let bytes = try BenchRequest.amounts(input, "--memory-max")?.first { options.memoryBytesMax = bytes }
    if let ns = try BenchRequest.time(input, "--idle") { options.idleNs = ns }
    options.isForOneSession = input.has("--one-session")
    options.device = input.values["--device"] ?? ""
    let server = try BenchServer(options)
    context.stop.onRequest { _ in server.stop() }
    let console = context.console
    let isQuiet = options.isForOneSession
    console.print("martlet bench listens at \(server.address)")
    if options.listen.hasPrefix("127.") && !options.isForOneSession {
        console.note("only this machine can reach it; for others: martlet bench serve --listen ADDRESS")
    }
    try await onThread("bench-serve-main") { server.run { if !isQuiet { console.note($0) } } }
    return .ok
}

/// The body of `martlet bench HOST` and `martlet bench --local`.
func runBench(_ input: Command.Input, _ context: CommandContext) async throws -> ExitCode {
    let request = try BenchRequest(input)
    let console = context.console
    let stop = context.stop
    let report = try await onThread("bench-main") {
        var plan = request.plan
        let server = request.isLocal ? try startLocalServer(plan) : nil
        defer { server?.end() }
        if let server {
            plan.hosts = [server.address]
        } else {
            for place in plan.hosts.indices { plan.hosts[place] = try BenchRequest.address(plan.hosts[place]) }
        }
        let line = LiveLine(console)
        defer { line.clear() }
        return try BenchClient(plan, shouldStop: { stop.isRequested }, live: { line.show($0) }).run()
    }
    if request.wantsJSON {
        console.printJSON(report.json)
    } else if request.wantsCSV {
        for line in report.csv { console.print(line) }
    } else {
        for line in BenchTable.lines(report) { console.print(line) }
    }
    if let path = request.plotPath { try writeText(BenchPlot.svg(report), to: path) }
    return stop.reason?.exitCode ?? (report.wasInterrupted ? .failure : .ok)
}

private func startLocalServer(_ plan: BenchPlan) throws(BenchError) -> LocalServer {
    try LocalServer(
        "/proc/self/exe",
        [
            "bench", "serve", "--listen", "127.0.0.1:0", "--one-session", "--idle", "60s", "--memory-max",
            "\(plan.memoryBytes)",
        ])
}

/// Runs what blocks on a thread of its own.
private func onThread<Result: Sendable>(
    _ name: String, _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
    let thread = Mutex<PinnedThread<Void>?>(nil)
    let outcome = await withCheckedContinuation { continuation in
        do throws(Errno) {
            let started = try PinnedThread(name: name) {
                continuation.resume(returning: Swift.Result { try body() })
            }
            thread.withLock { $0 = started }
        } catch {
            continuation.resume(returning: .failure(error))
        }
    }
    // It has done its work: joining takes no time worth a thread.
    thread.withLock { $0 }?.join()
    return try outcome.get()
}

private func writeText(_ text: String, to path: String) throws(CommandFailure) {
    guard let file = fopen(path, "w") else {
        throw CommandFailure(.usage, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
    let written = fputs(text, file)
    guard fclose(file) == 0, written >= 0 else {
        throw CommandFailure(.failure, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}

/// One line on the terminal that is written over; nothing where nobody watches.
private final class LiveLine: Sendable {
    private let console: Console

    init(_ console: Console) { self.console = console }

    func show(_ text: String) {
        guard console.isInteractive else { return }
        console.draw("\r\u{1B}[K" + text)
    }

    func clear() { show("") }
}
