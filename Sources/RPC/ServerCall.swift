import Protobuf
import Synchronization

/// A call as a server sees it: runs its handler in a task, and ends the call with the handler's result.
///
/// Accepted → running → finished. The task is cancelled when gRPC says that the call is over for the client.
final class ServerCall: Sendable {
    let handle: CallHandle
    let context: RPCServerContext
    let receiver: MessageReceiver
    let sender: MessageSender
    private let task = Mutex<Task<Void, Never>?>(nil)

    /// How long a handler's last message may be stuck in flow control before the call is cut off.
    private static let finishLimit = Duration.seconds(2)

    init(_ handle: CallHandle, messageBytesMax: Int) {
        let context = RPCServerContext(handle)
        self.handle = handle
        self.context = context
        receiver = MessageReceiver(handle)
        sender = MessageSender(
            handle, messageBytesMax: messageBytesMax, initialMetadata: { context.initialMetadata })
    }

    /// Runs the handler; `ended` is called once, when nothing of it runs any more.
    func run(_ method: RPCServiceMethod, ended: @escaping @Sendable () -> Void) {
        watchEnd()
        let task = Task {
            var last: [UInt8]?
            var failure: RPCError?
            do {
                last = try await method.run(self)
                if let last { try sender.check(last) }
            } catch {
                failure = Self.failure(error)
            }
            await finish(last, failure)
            ended()
        }
        self.task.withLock { $0 = task }
        if context.isCancelled { task.cancel() }
    }

    /// Ends the call without a handler.
    func refuse(_ error: RPCError) {
        watchEnd()
        _ = handle.start(
            [.sendInitialMetadata, .sendStatus], status: error.status, statusText: error.message,
            completion: { _ in })
    }

    /// Ends the call while its handler runs, which is cancelled.
    func cut(_ error: RPCError) { handle.cancel(error.status, error.message) }

    /// The one request of a method that has one.
    func request<Request: ProtoMessage>() async throws(RPCError) -> Request {
        guard let bytes = try await receiver.receive() else {
            throw RPCError(.invalidArgument, "\(context.method) was called without a request")
        }
        return try decoded(bytes, failure: .invalidArgument)
    }

    private func watchEnd() {
        _ = handle.start(.receiveClose) { _ in
            guard self.handle.wasCancelled else { return }
            self.context.markCancelled()
            self.task.withLock { $0 }?.cancel()
        }
    }

    private static func failure(_ error: any Error) -> RPCError {
        switch error {
        case let error as RPCError: error
        case is CancellationError: RPCError(.cancelled, "the handler was cancelled")
        default: RPCError(.unknown, "\(error)")
        }
    }

    private func finish(_ last: [UInt8]?, _ failure: RPCError?) async {
        // In a task of its own: this one may be cancelled, and the status is to be sent all the same.
        await Task {
            let status = failure?.status ?? .ok
            guard let first = await sender.finish(within: Self.finishLimit) else {
                handle.cancel(
                    failure?.status ?? .deadlineExceeded, "the client does not take what it is sent")
                return
            }
            handle.add(context.trailers, trailing: true)
            if let failure { handle.add(failure.trailers, trailing: true) }
            var operations = first.union(.sendStatus)
            if failure == nil, last != nil { operations.insert(.sendMessage) }
            _ = handle.start(
                operations, message: last ?? [], status: status, statusText: failure?.message ?? "",
                completion: { _ in })
        }.value
    }
}
