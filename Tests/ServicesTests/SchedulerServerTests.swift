import ControlAPI
import RPC
import SchedulerService
import Testing

@Suite struct SchedulerServerTests {
    func start(_ change: (inout SchedulerConfiguration) -> Void = { _ in }) throws -> SchedulerServer {
        var configuration = SchedulerConfiguration(
            name: "s", cluster: "main", listen: .tcp(host: "127.0.0.1", port: 0))
        configuration.settings.learningMs = 0
        change(&configuration)
        return try SchedulerServer.start(configuration, log: quiet)
    }

    @Test func aModelsWayFromReferenceToDigests() async throws {
        let server = try start()
        let model = wireModel()
        let seed = try await PlayedHost("seed", .seed, at: server.address)
        _ = try await seed.next { if case .welcome(let it) = $0 { it } else { nil } }
        let peer = try await PlayedHost("peer", .peer, at: server.address)
        try await eventually("both are attached") {
            server.snapshot.peersAttached + server.snapshot.seedsAttached == 2
        }

        try await peer.call.send(.resolve(Wire.Resolve(request: 7, reference: "hf://org/name@main")))
        let order = try await seed.next { if case .resolveOrder(let it) = $0 { it } else { nil } }
        #expect(order.reference == "hf://org/name@main")
        let resolved = Wire.Resolved(
            request: order.request, reference: order.reference, model: model.id, manifest: model.manifest)
        try await seed.call.send(.resolved(resolved))
        let reply = try await peer.next { if case .resolveReply(let it) = $0 { it } else { nil } }
        #expect(reply == Wire.ResolveReply(request: 7, model: model.id, manifest: model.manifest))

        try await peer.call.send(.join(Wire.Join(model: model.id, manifest: model.manifest)))
        let fetch = try await seed.next { if case .fetchOrder(let it) = $0 { it } else { nil } }
        #expect(fetch.manifest == model.manifest)
        try await seed.call.send(.join(Wire.Join(model: model.id, manifest: model.manifest)))
        let lease = try await seed.next { if case .lease(let it) = $0 { it } else { nil } }
        #expect(lease.task == model.task && lease.firstPiece == 0 && lease.pieceCount > 0)
        let parents = try await peer.next { message -> [Wire.Parent]? in
            if case .neighbourhood(let it) = message, !it.parents.isEmpty { it.parents } else { nil }
        }
        #expect(parents.map(\.host) == ["seed"] && parents[0].isSeed)

        let digests = (0..<64).map { UInt8($0) }
        try await seed.call.send(
            .kept(Wire.PieceDigests(task: model.task, pieces: [0, 1], digests: digests)))
        let known = try await peer.next { if case .digests(let it) = $0 { it } else { nil } }
        #expect(known == Wire.PieceDigests(task: model.task, pieces: [0, 1], digests: digests))
        #expect(server.snapshot.leases > 0)
        seed.leave()
        try await eventually("the seed is in grace") { server.snapshot.hostsInGrace == 1 }
        peer.leave()
        await server.stop()
    }

    @Test func whatMakesNoSenseEndsTheStreamWithASentence() async throws {
        let server = try start()
        let wrong = try await PlayedHost("a", .peer, cluster: "other", at: server.address)
        let outcome = await wrong.outcome()
        #expect(outcome.status == .failedPrecondition)
        #expect(outcome.message.hasPrefix("this scheduler serves cluster main, not ‘other’"))

        // A manifest that is not the model's: another's model cannot be renamed.
        let model = wireModel()
        let liar = try await PlayedHost("b", .peer, at: server.address)
        try await liar.call.send(.join(Wire.Join(model: model.task, manifest: model.manifest)))
        #expect(await liar.outcome().status == .invalidArgument)
        #expect(server.snapshot.models == 0)
        await server.stop()
    }

    @Test func restartIsServedByNewStreams() async throws {
        let first = try start()
        guard case .tcp(_, let port) = first.address else { return }
        let host = try await PlayedHost("a", .peer, at: first.address)
        try await eventually("it is attached") { first.snapshot.peersAttached == 1 }
        await first.stop()
        #expect(await host.outcome().status != .ok)
        let second = try start { $0.listen = .tcp(host: "127.0.0.1", port: port) }
        let again = try await PlayedHost("a", .peer, at: second.address)
        try await eventually("it is attached again") { second.snapshot.peersAttached == 1 }
        again.leave()
        host.leave()
        await second.stop()
    }

    @Test func hostThatDoesNotReadIsEnded() async throws {
        let server = try start { $0.outboxMax = 1 }
        let model = wireModel()
        let host = try await PlayedHost("a", .peer, at: server.address)
        // Welcome is one message; what a join brings is more than one.
        try await host.call.send(.join(Wire.Join(model: model.id, manifest: model.manifest)))
        let outcome = await host.outcome()
        #expect(outcome.status == .aborted)
        #expect(outcome.message == "the host does not read what the scheduler says; attach anew")
        await server.stop()
    }

    @Test func portInUseIsSaidInOneLine() async throws {
        let first = try start()
        let error = #expect(throws: RPCError.self) { try start { $0.listen = first.address } }
        #expect(error?.message.contains("the port is in use") == true)
        await first.stop()
    }

    @Test func metricsAreServed() async throws {
        let server = try start { $0.metricsListen = .init(host: "127.0.0.1", port: 0) }
        #expect((server.metricsPort ?? 0) > 0)
        await server.stop()
    }
}
