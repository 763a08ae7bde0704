import ControlAPI
import RPC
import Registry
import Scheduling
import Testing

@testable import ManagerService

@Suite struct ManagerSettingsTests {
    private func start(_ database: String) async throws -> ManagerServer {
        try await ManagerServer.start(
            ManagerConfiguration(listen: .tcp(host: "127.0.0.1", port: 0), database: database, cluster: "main"),
            log: quiet)
    }

    @Test func settingsAreCheckedKeptAndTakenBack() async throws {
        let directory = TemporaryDirectory()
        let first = try await start(directory.database)
        var client = ManagerClient(try RPCChannel(to: first.address, credentials: .insecure))
        let all = try await client.listSettings(Wire.ListSettingsRequest(cluster: "main")).settings
        #expect(all.map(\.name) == SchedulingKnob.all.map(\.name))
        #expect(all.allSatisfy { !$0.isSet && $0.value == $0.builtIn && !$0.meaning.isEmpty && !$0.allowed.isEmpty })
        func change(_ name: String, _ value: String) async throws -> Wire.SettingState? {
            let request = Wire.ChangeSettingsRequest(
                cluster: "main", changes: [Wire.NamedSetting(name: name, value: value)])
            return try await client.changeSettings(request).settings.first { $0.name == name }
        }
        #expect(try await change("stall_ms", "700")?.value == "700")
        for (name, value) in [("stall_ms", "1"), ("no_such", "1"), ("origin_policy", "perhaps")] {
            let error = await #expect(throws: RPCError.self) { try await change(name, value) }
            #expect(error?.status == .invalidArgument)
        }
        // All or none.
        let both = Wire.ChangeSettingsRequest(
            cluster: "main",
            changes: [Wire.NamedSetting(name: "blame_ms", value: "2000"), Wire.NamedSetting(name: "x", value: "1")])
        await #expect(throws: RPCError.self) { try await client.changeSettings(both) }
        client.channel.close()
        await first.stop()

        let second = try await start(directory.database)
        client = ManagerClient(try RPCChannel(to: second.address, credentials: .insecure))
        let kept = try await client.listSettings(Wire.ListSettingsRequest(cluster: "main")).settings
        #expect(kept.filter(\.isSet).map(\.name) == ["stall_ms"])
        #expect(try await change("stall_ms", "")?.isSet == false)
        let unknown = await #expect(throws: RPCError.self) {
            try await client.listSettings(Wire.ListSettingsRequest(cluster: "nowhere"))
        }
        #expect(unknown?.status == .failedPrecondition)
        client.channel.close()
        await second.stop()
    }

    @Test func databaseOfTheVersionBeforeIsUpgraded() throws {
        let directory = TemporaryDirectory()
        do {
            let database = try RegistryDatabase(path: directory.database)
            try database.save([.saveCluster(Cluster(name: "main", createdUnixMs: 1))])
            database.close()
            let connection = try SQLiteConnection(path: directory.database, busyMs: 1_000)
            try connection.execute("DROP TABLE setting; PRAGMA user_version = 1;")
            connection.close()
        }
        let database = try RegistryDatabase(path: directory.database)
        defer { database.close() }
        #expect(try database.load().clusters.map(\.name) == ["main"])
        let settings = ClusterSettings(named: ["stall_ms": "700"])
        try database.save([.saveCluster(Cluster(name: "main", settings: settings, createdUnixMs: 1))])
        #expect(try database.load().clusters.first?.settings == settings)
    }
}
