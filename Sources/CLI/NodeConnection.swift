import Configuration
import ControlAPI
import Glibc
import Observability
import PeerService
import RPC
import SchedulerService
import System

/// A way to a peer's node service: the node's own peer through its socket, or one that runs inside this command.
struct NodeConnection: Sendable {
    let node: NodeClient
    private let channel: RPCChannel
    private let own: OwnPeer?

    /// The node's peer; refused with one line when none answers.
    static func toNode(_ context: CommandContext) async throws -> NodeConnection {
        let path = context.configuration[Schema.Peer.socket]
        guard let found = try await connect(path) else {
            throw CommandFailure(
                .unavailable,
                "no peer answers at \(path); start one with `martlet up` or `martlet peer`, or give --socket")
        }
        return NodeConnection(node: NodeClient(found), channel: found, own: nil)
    }

    /// The node's peer; without one, a peer of this command's own (and a scheduler, where none is configured).
    static func toNodeOrOwn(_ context: CommandContext, isStandalone: Bool) async throws -> NodeConnection {
        if !isStandalone, let found = try await connect(context.configuration[Schema.Peer.socket]) {
            return NodeConnection(node: NodeClient(found), channel: found, own: nil)
        }
        let own = try await OwnPeer.start(context)
        do {
            guard let found = try await connect(own.socket) else {
                throw CommandFailure(.failure, "the command's own peer does not answer")
            }
            return NodeConnection(node: NodeClient(found), channel: found, own: own)
        } catch {
            await own.stop()
            throw error
        }
    }

    /// Ends the connection, and the command's own peer with it.
    func close() async {
        channel.close()
        await own?.stop()
    }

    /// A channel to a listening socket; nil when nobody listens there.
    private static func connect(_ path: String) async throws -> RPCChannel? {
        guard access(path, F_OK) == 0 else { return nil }
        guard access(path, R_OK | W_OK) == 0 else {
            throw CommandFailure(.denied, "may not use \(path): the node's peer belongs to another user")
        }
        let channel = try RPCChannel(to: .unix(path: path), credentials: .insecure)
        do {
            try await channel.waitUntilReady(timeout: .seconds(2))
            return channel
        } catch {
            channel.close()
            return nil
        }
    }
}

/// A peer that lives as long as one command.
private struct OwnPeer: Sendable {
    let socket: String
    private let directory: String
    private let peer: PeerServer
    private let scheduler: SchedulerServer?
    private let credentials: MemberCredentials?

    static func start(_ context: CommandContext) async throws -> OwnPeer {
        let directory = try temporaryDirectory()
        let socket = directory + "/peer"
        do {
            let why = "a peer of the command's own"
            var configuration = context.configuration
            configuration = try configuration.setting("peer.socket", to: socket, because: why)
            configuration = try configuration.setting("peer.listen", to: "127.0.0.1:0", because: why)
            configuration = try configuration.setting("peer.rdma_listen", to: "", because: why)
            configuration = try configuration.setting("peer.metrics_listen", to: "", because: why)
            let isAlone =
                configuration[Schema.Peer.schedulers].isEmpty && configuration[Schema.Manager.addresses].isEmpty
            let quiet = context.log.atLeast(.warning)
            let alone =
                isAlone
                ? try PrivateCluster(
                    cluster: configuration[Schema.Cluster.name], host: configuration[Schema.Peer.name],
                    nowUnixS: WallClock.nowSeconds()) : nil
            let own =
                isAlone
                ? nil
                : try await context.join(
                    as: .peer, host: configuration[Schema.Peer.name], listening: [], configuration: configuration)
            let scheduler = try alone.map {
                try SchedulerServer.embedded(configuration, credentials: $0.scheduler, log: quiet)
            }
            let peer = try PeerServer.start(
                configuration,
                PeerServer.Options(
                    isSeed: isAlone, schedulers: scheduler.map { [$0.address] } ?? [], readsAnyFile: isAlone),
                credentials: alone?.seed ?? own?.credentials ?? .insecure,
                revocations: own?.revocations ?? Revocations(),
                log: quiet)
            return OwnPeer(socket: socket, directory: directory, peer: peer, scheduler: scheduler, credentials: own)
        } catch {
            rmdir(directory)
            throw error
        }
    }

    func stop() async {
        await peer.stop()
        await scheduler?.stop()
        credentials?.end()
        unlink(socket)
        unlink(socket + ".pieces")
        rmdir(directory)
    }

    private static func temporaryDirectory() throws -> String {
        var template = Array("/tmp/martlet-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            throw CommandFailure(.failure, "cannot make a directory in /tmp for the command's own peer")
        }
        return String(cString: made)
    }
}
