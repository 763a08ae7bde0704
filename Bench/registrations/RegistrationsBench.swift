import ControlAPI
import Observability
import RPC
import Scheduling
import SchedulerService
import Synchronization
import System

/// Thousands of hosts attach to one scheduler within a second, over real gRPC on loopback; each does what a host's link
/// does when it is told to come back. Prints how long admissions took, who was told what, and the scheduler's memory.
///
/// The scheduler runs in this process unless `--at` names one: memory is then that of both.
///
///     swift run -c release bench-registrations --hosts 5000 --connections 8
///     swift run -c release bench-registrations --hosts 5000 --connections 5000
@main struct RegistrationsBench {
    static func main() async throws {
        // Each connection of a host in this process takes two descriptors here.
        _ = try ResourceLimit.openFiles.raise()
        let options = try Options(Array(CommandLine.arguments.dropFirst()))
        var configuration = SchedulerConfiguration(
            name: "bench", cluster: "bench", listen: .tcp(host: "127.0.0.1", port: 0))
        configuration.settings.admissionsPerSecond = options.rate
        configuration.settings.admissionBurst = options.burst
        let quiet = Logger(component: "bench", sink: LogSink(format: .text) { _ in }, level: .error)
        let server = options.address == nil ? try SchedulerServer.start(configuration, log: quiet) : nil
        let address = options.address ?? server!.address
        let residentBefore = ProcessUsage.residentBytesPeak() ?? 0

        let channels = try (0..<options.connections).map { _ in
            try RPCChannel(to: address, credentials: .insecure, options: ControlLimits.channel)
        }
        let results = Results()
        let began = MonotonicClock.nowNs()
        await withTaskGroup { group in
            for number in 0..<options.hosts {
                let channel = channels[number % channels.count]
                // Spread evenly over the burst's time.
                let atNs = began + UInt64(number) * options.overMs * 1_000_000 / UInt64(options.hosts)
                group.addTask {
                    await PlayedHost(number: number, channel: channel, results: results).run(
                        atNs: atNs, untilNs: began + 120_000_000_000)
                }
            }
            group.addTask {
                let limitNs = began + 120_000_000_000
                while results.admittedCount < options.hosts, MonotonicClock.nowNs() < limitNs {
                    try? await Task.sleep(for: .milliseconds(20))
                }
                if let snapshot = server?.snapshot {
                    results.attached(snapshot.peersAttached, dropped: snapshot.dropped)
                }
                results.endHosts()
            }
        }
        results.report(options, beganNs: began, residentBefore: residentBefore)
        for channel in channels { channel.close() }
        await server?.stop()
        guard results.admittedCount == options.hosts else { throw BenchFailure(description: "hosts were lost") }
    }
}

/// Why the bench cannot tell anything.
struct BenchFailure: Error, CustomStringConvertible {
    let description: String
}

/// What the command line says.
struct Options {
    var hosts = 5_000
    var connections = 8
    var overMs: UInt64 = 1_000
    var rate = SchedulingSettings().admissionsPerSecond
    var burst = SchedulingSettings().admissionBurst
    var address: RPCAddress?

    init(_ words: [String]) throws {
        var rest = words[...]
        while let word = rest.popFirst() {
            guard let value = rest.popFirst() else { throw BenchFailure(description: "\(word) wants a value") }
            let number = Int(value).map { max(1, $0) }
            switch (word, number) {
            case ("--hosts", let number?): hosts = number
            case ("--connections", let number?): connections = number
            case ("--over-ms", let number?): overMs = UInt64(number)
            case ("--rate", let number?): rate = number
            case ("--burst", let number?): burst = number
            case ("--at", _): address = RPCAddress(value)
            default:
                throw BenchFailure(
                    description:
                        "\(word) \(value) is not understood: --hosts N --connections N --over-ms N --rate N --burst N --at HOST:PORT"
                )
            }
        }
    }
}
