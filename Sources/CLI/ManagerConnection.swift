import Configuration
import ControlAPI
import Glibc
import Identity
import ManagerService
import RPC

/// A way to a manager for an operator: by its Unix socket on its own machine, else over the network with a certificate.
enum ManagerConnection {
    /// Makes one call, or a few, and closes.
    static func use<Value: Sendable>(
        _ context: CommandContext, _ body: @Sendable (RPCChannel) async throws -> Value
    ) async throws -> Value {
        let channel = try await open(context)
        defer { channel.close() }
        do {
            return try await body(channel)
        } catch let error as RPCError {
            throw CommandFailure(ExitCode(error.status), error.message)
        }
    }

    private static func open(_ context: CommandContext) async throws -> RPCChannel {
        let configuration = context.configuration
        let path = configuration.managerSocket
        let manager = configuration[Schema.Manager.addresses].first
        if access(path, F_OK) == 0 {
            guard access(path, R_OK | W_OK) == 0 else {
                throw CommandFailure(.denied, "may not use \(path): the manager belongs to another user")
            }
            return try RPCChannel(to: .unix(path: path), credentials: .insecure)
        }
        guard let manager else {
            throw CommandFailure(
                .unavailable,
                "no manager is found at \(path); run this on the manager's machine, give --socket, or --manager HOST:PORT"
            )
        }
        let own = try await context.join(as: .operator, host: operatorName, listening: [])
        own.end()
        return try RPCChannel(
            to: .tcp(host: manager.host, port: manager.port),
            credentials: own.credentials.toward(.manager, cluster: configuration[Schema.Cluster.name]))
    }

    private static var operatorName: String { "operator-\(getuid())" }
}
