import ControlAPI
import Glibc
import ManagerService
import RPC
import SchedulerService
import Synchronization
import Testing

@Suite struct ManagerServerTests {
    func start(_ database: String, port: UInt16 = 0, heartbeatMs: UInt32 = 3_000) async throws
        -> ManagerServer
    {
        var configuration = ManagerConfiguration(
            listen: .tcp(host: "127.0.0.1", port: port), database: database, cluster: "main")
        configuration.settings.heartbeatMs = heartbeatMs
        return try await ManagerServer.start(configuration, log: quiet)
    }

    /// A member's stream, and the configurations it was given.
    final class PlayedMember: Sendable {
        let configurations = Mutex<[Wire.DynamicConfiguration]>([])
        let notes = Mutex<[ManagerMembership.Note]>([])
        let task = Mutex<Task<RPCError?, Never>?>(nil)

        init(_ name: String, _ role: Wire.MemberRole, cluster: String = "main", at address: RPCAddress) {
            let member = Wire.Member(
                role: role, name: name, incarnation: 5, cluster: cluster, addresses: ["127.0.0.1:9"])
            let membership = ManagerMembership(
                ManagerMembership.Settings(addresses: [address], credentials: .insecure, member: member),
                onConfiguration: { new in self.configurations.withLock { $0.append(new) } },
                onNote: { new in self.notes.withLock { $0.append(new) } })
            let running = Task { () -> RPCError? in
                do throws(RPCError) { try await membership.run() } catch { return error }
                return nil
            }
            task.withLock { $0 = running }
        }

        var last: Wire.DynamicConfiguration? { configurations.withLock { $0.last } }
        func leave() async {
            let running = task.withLock { $0 }
            running?.cancel()
            _ = await running?.value
        }
    }

    @Test func membersAreToldAndARestartKeepsThem() async throws {
        let directory = TemporaryDirectory()
        let first = try await start(directory.database)
        guard case .tcp(_, let port) = first.address else { return }
        let seed = PlayedMember("seed", .seed, at: first.address)
        let peer = PlayedMember("p", .peer, at: first.address)
        try await eventually("the peer hears of the seed") { peer.last?.seeds.map(\.name) == ["seed"] }
        let channel = try RPCChannel(to: first.address, credentials: .insecure)
        let put = Wire.PutClusterRequest(name: "lab", settings: Wire.ClusterSettings(leasePieces: 8))
        let cluster = try await ManagerClient(channel).putCluster(put)
        #expect(cluster.settings?.leasePieces == 8)
        await first.stop()

        let second = try await start(directory.database, port: port)
        let client = ManagerClient(try RPCChannel(to: second.address, credentials: .insecure))
        let clusters = try await client.listClusters(Wire.ListClustersRequest()).clusters
        #expect(clusters.map(\.name) == ["lab", "main"])
        #expect(clusters[0] == cluster)
        let members = try await client.listMembers(Wire.ListMembersRequest(cluster: "main", liveOnly: true))
            .members
        #expect(members.map(\.name) == ["seed", "p"])
        try await eventually("the seed comes back by itself") {
            seed.notes.withLock { notes in
                notes.filter { if case .attached = $0 { true } else { false } }.count == 2
            }
        }
        await seed.leave()
        await peer.leave()
        client.channel.close()
        channel.close()
        await second.stop()
    }

    @Test func silentMembersLeasesEnd() async throws {
        let directory = TemporaryDirectory()
        let server = try await start(directory.database, heartbeatMs: 100)
        let seed = PlayedMember("seed", .seed, at: server.address)
        let peer = PlayedMember("p", .peer, at: server.address)
        try await eventually("the seed is live") { peer.last?.seeds.map(\.live) == [true] }
        await seed.leave()
        try await eventually("it is not") { peer.last?.seeds.map(\.live) == [false] }
        await peer.leave()
        await server.stop()
    }

    @Test func refusalsAreFinalAndSayWhatToDo() async throws {
        let directory = TemporaryDirectory()
        let server = try await start(directory.database)
        let wrong = PlayedMember("p", .peer, cluster: "mian", at: server.address)
        let error = await wrong.task.withLock { $0 }?.value
        #expect(error?.status == .failedPrecondition)
        #expect(error?.message == "there is no cluster ‘mian’; the manager knows main: set one of them")
        let channel = try RPCChannel(to: server.address, credentials: .insecure)
        let bad = Wire.PutClusterRequest(name: "a b")
        let refused = await #expect(throws: RPCError.self) {
            try await ManagerClient(channel).putCluster(bad)
        }
        #expect(refused?.status == .invalidArgument)
        channel.close()
        await server.stop()
    }

    @Test func databaseInUseIsSaidInOneLine() async throws {
        let directory = TemporaryDirectory()
        let server = try await start(directory.database)
        let error = await #expect(throws: DatabaseError.self) { try await start(directory.database) }
        #expect(error?.code == .locked)
        #expect(error?.description.contains("in use by another process") == true)
        await server.stop()
    }

    @Test func databasesThatCannotBeUsedAreSaidInOneLine() async throws {
        let directory = TemporaryDirectory()
        let missing = await #expect(throws: DatabaseError.self) {
            // Missing directories are made; below a device none can be, not even by root.
            try await start("/dev/null/none/manager.sqlite")
        }
        #expect(missing?.code == .cannotOpen)
        // No database at all.
        let file = fopen(directory.database, "w")
        fputs(String(repeating: "this is no database ", count: 500), file)
        fclose(file)
        let corrupt = await #expect(throws: DatabaseError.self) { try await start(directory.database) }
        #expect(corrupt?.code == .corrupt)
        unlink(directory.database)
        // One of a later version: the number stands at byte 60 of the file's head, big-endian.
        await (try await start(directory.database)).stop()
        let newer = fopen(directory.database, "r+")
        fseek(newer, 60, SEEK_SET)
        fputc(1, newer)
        fclose(newer)
        let error = await #expect(throws: DatabaseError.self) { try await start(directory.database) }
        #expect(error?.code == .newerSchema)
        #expect(error?.description.contains("start the newer version that wrote it") == true)
    }

    @Test func portInUseIsSaidInOneLine() async throws {
        let directory = TemporaryDirectory()
        let other = TemporaryDirectory()
        let server = try await start(directory.database)
        guard case .tcp(_, let port) = server.address else { return }
        let error = await #expect(throws: RPCError.self) { try await start(other.database, port: port) }
        #expect(error?.message.contains("the port is in use") == true)
        await server.stop()
    }

    @Test func schedulerIsAMemberAndOutlivesItsManager() async throws {
        let directory = TemporaryDirectory()
        let manager = try await start(directory.database)
        var configuration = SchedulerConfiguration(
            name: "s", cluster: "main", listen: .tcp(host: "127.0.0.1", port: 0))
        configuration.managers = [manager.address]
        configuration.settings.learningMs = 60_000
        let scheduler = try SchedulerServer.start(configuration, log: quiet)
        try await eventually("nobody is to be waited for") { !scheduler.snapshot.learning }
        let peer = PlayedMember("p", .peer, at: manager.address)
        try await eventually("the peer hears of the scheduler") {
            peer.last?.schedulers.map(\.addresses) == [["\(scheduler.address)"]]
        }
        await peer.leave()
        await manager.stop()
        let host = try await PlayedHost("h", .peer, at: scheduler.address)
        try await eventually("it serves without the manager") { scheduler.snapshot.peersAttached == 1 }
        host.leave()
        await scheduler.stop()
    }
}
