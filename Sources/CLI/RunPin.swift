import ControlAPI
import RPC

/// The body of `martlet pin` and `martlet unpin`.
func runPin(_ request: PinRequest, _ context: CommandContext) async throws -> ExitCode {
    try await onNode(context) { node in
        for model in request.models {
            _ = try await node.setPinned(Wire.SetPinnedRequest(model: model, pinned: request.pinned))
        }
        return .ok
    }
}

/// Asks the node's peer something, and turns its refusals into exit codes.
func onNode(
    _ context: CommandContext, _ body: @Sendable (NodeClient) async throws -> ExitCode
) async throws -> ExitCode {
    let connection = try await NodeConnection.toNode(context)
    do {
        let code = try await body(connection.node)
        await connection.close()
        return code
    } catch let error as RPCError {
        await connection.close()
        throw CommandFailure(ExitCode(error.status), error.message)
    } catch {
        await connection.close()
        throw error
    }
}
