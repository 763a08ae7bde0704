import ControlAPI
import RPC
import Scheduling
import SchedulerService
import Testing

/// Many hosts at once, over real streams: nobody is lost, some wait for their turn.
@Suite struct BurstTests {
    private func start(_ change: (inout SchedulerConfiguration) -> Void) throws -> SchedulerServer {
        var configuration = SchedulerConfiguration(
            name: "scheduler-1", cluster: "main", listen: .tcp(host: "127.0.0.1", port: 0))
        configuration.settings.learningMs = 0
        change(&configuration)
        return try SchedulerServer.start(configuration, log: quiet)
    }

    /// A host that comes back when told to; how often it was told, and its stream once it is let in.
    private static func attach(
        _ name: String, role: Wire.HostRole = .peer, over channel: RPCChannel, attemptsMax: Int = 200
    ) async throws -> (waits: Int, call: RPCCall<Wire.HostMessage, Wire.SchedulerMessage>) {
        for attempt in 0..<attemptsMax {
            let call = SchedulerClient(channel).attach(options: .timeout(.seconds(120)))
            try await call.send(
                .hello(
                    Wire.Hello(host: name, incarnation: 1, cluster: "main", role: role, addresses: ["tcp:127.0.0.1:1"])))
            let answer = try await call.receive()
            switch answer?.kind {
            case .welcome:
                try await call.send(.inventory(Wire.Inventory(last: true)))
                return (attempt, call)
            case .tryLater(let later):
                #expect(later.retryAfterMs > 0)
                #expect(later.reason.contains("too many hosts"))
                // The stream ends with it, in order.
                #expect(try await call.receive() == nil)
                try await Task.sleep(for: .milliseconds(later.retryAfterMs))
            default: throw RPCError(.internalError, "neither a welcome nor a time to come back")
            }
        }
        throw RPCError(.resourceExhausted, "\(name) was sent away \(attemptsMax) times")
    }

    @Test func fiveHundredHostsAreAllLetInAndSomeWait() async throws {
        let server = try start {
            $0.settings.admissionsPerSecond = 200
            $0.settings.admissionBurst = 100
        }
        let channels = try (0..<4).map { _ in try RPCChannel(to: server.address, credentials: .insecure) }
        typealias Call = RPCCall<Wire.HostMessage, Wire.SchedulerMessage>
        let attached = try await withThrowingTaskGroup(of: (Int, Call).self) { group in
            for number in 0..<500 {
                let channel = channels[number % 4]
                group.addTask { try await BurstTests.attach("host-\(number)", over: channel) }
            }
            var attached: [(waits: Int, call: Call)] = []
            for try await one in group { attached.append(one) }
            return attached
        }
        let waits = attached.map(\.waits)
        #expect(waits.count == 500)
        #expect(waits.contains { $0 > 0 }, "nobody was told to wait")
        #expect(waits.contains(0))
        try await eventually("all are attached") { server.snapshot.peersAttached == 500 }
        for one in attached { one.call.cancel() }
        for channel in channels { channel.close() }
        await server.stop()
    }

    @Test func seedsAreLetInWhateverTheLoad() async throws {
        let server = try start {
            $0.settings.admissionsPerSecond = 1
            $0.settings.admissionBurst = 1
        }
        let channel = try RPCChannel(to: server.address, credentials: .insecure)
        var calls = [try await BurstTests.attach("first", over: channel).call]
        for number in 0..<5 {
            let (waits, call) = try await BurstTests.attach("seed-\(number)", role: .seed, over: channel, attemptsMax: 1)
            #expect(waits == 0)
            calls.append(call)
        }
        for call in calls { call.cancel() }
        channel.close()
        await server.stop()
    }
}
