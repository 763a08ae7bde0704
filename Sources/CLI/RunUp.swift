import Configuration
import Identity
import ManagerService
import PeerService
import RPC
import SchedulerService

/// The body of `martlet up`: manager, scheduler and a peer that may read origins, in one process, until `context.stop`
/// asks it to end.
///
/// Scheduler and peer join as any other would, each with a token that the manager makes for it and that leaves nobody's hands.
func runUp(_ context: CommandContext) async throws -> ExitCode {
    let configuration = context.configuration
    let listening =
        [configuration[Schema.Manager.listen], configuration[Schema.Scheduler.listen]] + configuration.pieceListeners
    let given = try context.givenCredentials(listening: listening)
    let manager = try await ManagerServer.start(configuration, credentials: given, log: context.log)
    do {
        let why = "martlet up"
        let known = try configuration.setting("manager.addresses", to: "\(manager.address)", because: why)
        try await runMembers(context, known, manager, isGiven: given != nil, listening)
    } catch {
        await manager.stop()
        throw error
    }
    await manager.stop()
    return .ok
}

private func runMembers(
    _ context: CommandContext, _ configuration: Configuration, _ manager: ManagerServer, isGiven: Bool,
    _ listening: [NetworkAddress]
) async throws {
    func join(_ role: Role, _ host: String) async throws -> MemberCredentials {
        let token = isGiven ? nil : try await manager.makeToken(role: role, host: host, lifeS: 600)
        return try await context.join(
            as: role, host: host, listening: listening, token: token, configuration: configuration)
    }
    let ownOfScheduler = try await join(.scheduler, configuration[Schema.Scheduler.name])
    defer { ownOfScheduler.end() }
    let scheduler = try SchedulerServer.start(
        configuration, credentials: ownOfScheduler.credentials, revocations: ownOfScheduler.revocations,
        log: context.log)
    do {
        let ownOfPeer = try await join(.seed, configuration[Schema.Peer.name])
        defer { ownOfPeer.end() }
        let peer = try PeerServer.start(
            configuration, PeerServer.Options(isSeed: true, schedulers: [scheduler.address]),
            credentials: ownOfPeer.credentials, revocations: ownOfPeer.revocations, log: context.log)
        context.console.note(
            "martlet is up; in another terminal: martlet get hf://sentence-transformers/all-MiniLM-L6-v2 --to DIR")
        _ = await context.stop.wait()
        await peer.stop()
    } catch {
        await scheduler.stop()
        throw error
    }
    await scheduler.stop()
}
