import Configuration
import ManagerService
import PeerService
import RPC
import SchedulerService

/// The body of `martlet up`: manager, scheduler and a peer that may read origins, in one process, until `context.stop`
/// asks it to end.
func runUp(_ context: CommandContext) async throws -> ExitCode {
    let configuration = context.configuration
    let listening =
        [configuration[Schema.Manager.listen], configuration[Schema.Scheduler.listen]] + configuration.pieceListeners
    let credentials = try context.credentials(listening: listening)
    let manager = try await ManagerServer.start(configuration, credentials: credentials, log: context.log)
    do {
        let why = "martlet up"
        let known = try configuration.setting("manager.addresses", to: "\(manager.address)", because: why)
        let scheduler = try SchedulerServer.start(known, credentials: credentials, log: context.log)
        do {
            let peer = try PeerServer.start(
                known, PeerServer.Options(isSeed: true, schedulers: [scheduler.address]), credentials: credentials,
                log: context.log)
            context.console.note(
                "martlet is up; in another terminal: martlet get hf://sentence-transformers/all-MiniLM-L6-v2 --to DIR")
            _ = await context.stop.wait()
            await peer.stop()
        } catch {
            await scheduler.stop()
            throw error
        }
        await scheduler.stop()
    } catch {
        await manager.stop()
        throw error
    }
    await manager.stop()
    return .ok
}
