import Protobuf

/// A client's call with a stream in at least one direction.
///
/// It ends when the server ends it, its time limit passes, the connection is lost, it is cancelled, or its last
/// reference is dropped. A task that is cancelled while it waits for the call cancels the call. Thread-safe: several
/// tasks may send (one after another) and receive. Both directions are bounded by gRPC's flow control: a message that
/// the other side has not room for suspends `send`, and nothing is received that was not asked for.
public final class RPCCall<Request: ProtoMessage, Response: ProtoMessage>: Sendable {
    private let handle: CallHandle
    private let channel: RPCChannel
    private let sender: MessageSender
    private let receiver: MessageReceiver
    private let outcome = Completion<RPCOutcome>()
    private let initial = Completion<RPCMetadata?>()

    init(_ handle: CallHandle, _ channel: RPCChannel, waitForReady: Bool, request: [UInt8]?) {
        self.handle = handle
        self.channel = channel
        sender = MessageSender(handle, messageBytesMax: channel.options.messageBytesMax)
        receiver = MessageReceiver(handle)
        let (outcome, initial) = (self.outcome, self.initial)
        var begin: CallHandle.Operations =
            waitForReady ? [.sendInitialMetadata, .waitForReady] : .sendInitialMetadata
        var refusal: RPCError?
        if let request {
            sender.markClosed()
            begin.formUnion([.sendMessage, .sendClose])
            do throws(RPCError) { try sender.check(request) } catch { refusal = error }
        }
        if let refusal {
            outcome.complete(
                RPCOutcome(status: refusal.status, message: refusal.message, trailers: RPCMetadata()))
            initial.complete(nil)
            cancel()
            return
        }
        let isStarted =
            handle.start(begin, message: request ?? []) { _ in }
            && handle.start(.receiveInitialMetadata) { success in
                initial.complete(success ? handle.receivedMetadata(trailing: false) : nil)
            } && handle.start(.receiveStatus) { _ in outcome.complete(handle.outcome) }
        if !isStarted {
            let message = "gRPC refused to start the call"
            outcome.complete(RPCOutcome(status: .internalError, message: message, trailers: RPCMetadata()))
            initial.complete(nil)
            cancel()
        }
    }

    deinit { cancel() }

    /// Sends a message; returns when the connection has taken it, which waits for the server where it is slower.
    ///
    /// Throws the call's error when it has ended, `failedPrecondition` after `finishSending`, `resourceExhausted` for a
    /// message over the channel's limit (the call goes on).
    public func send(_ message: Request) async throws(RPCError) {
        let isSent = try await cancelling { () throws(RPCError) in
            try await self.sender.send(message.protobufBytes())
        }
        if !isSent { throw await reasonOfEnd() }
    }

    /// Says that no more messages come. The server may still send.
    public func finishSending() async throws(RPCError) {
        // When the call has ended, receive() and status() tell how.
        _ = try await cancelling { () throws(RPCError) in try await self.sender.close() }
    }

    /// The next message; nil: the server has ended the call with ok. Throws the call's error.
    public func receive() async throws(RPCError) -> Response? {
        let bytes = try await cancelling { () throws(RPCError) in try await self.receiver.receive() }
        if let bytes {
            do throws(RPCError) { return try decoded(bytes, failure: .internalError) } catch {
                handle.cancel(.cancelled, error.message)
                throw error
            }
        }
        let outcome = try await waitingForOutcome()
        guard outcome.status == .ok else { throw RPCError(outcome) }
        return nil
    }

    /// Of a call with a stream of requests and one response: says that no more come, and waits for the response.
    public func response() async throws(RPCError) -> Response {
        try await finishSending()
        guard let response = try await receive() else {
            throw RPCError(.internalError, "the call ended without an answer")
        }
        return response
    }

    /// What the server sent before its first message. Throws the call's error.
    public func initialMetadata() async throws(RPCError) -> RPCMetadata {
        guard let metadata = await initial.wait() else {
            cancel()
            throw .taskCancelled
        }
        if let metadata { return metadata }
        let outcome = try await waitingForOutcome()
        guard outcome.status == .ok else { throw RPCError(outcome) }
        return RPCMetadata()
    }

    /// How the call ended. Comes only after all messages have been received, or the call was cancelled.
    public func status() async -> RPCOutcome {
        if let outcome = await outcome.wait() { return outcome }
        cancel()
        let error = RPCError.taskCancelled
        return RPCOutcome(status: error.status, message: error.message, trailers: RPCMetadata())
    }

    /// Ends the call now; the server's handler is cancelled. Idempotent; nothing happens after the call's end.
    public func cancel() { handle.cancel(.cancelled, "the caller cancelled the call") }

    private func cancelling<Result>(
        _ body: () async throws(RPCError) -> Result
    ) async throws(RPCError) -> Result {
        do throws(RPCError) { return try await body() } catch {
            if error == .taskCancelled { cancel() }
            throw error
        }
    }

    private func waitingForOutcome() async throws(RPCError) -> RPCOutcome {
        guard let outcome = await outcome.wait() else {
            cancel()
            throw .taskCancelled
        }
        return outcome
    }

    /// Why a message was not taken. The status itself may stand behind messages that nobody has received.
    private func reasonOfEnd() async -> RPCError {
        if let outcome = await outcome.wait(atMost: .milliseconds(500)), outcome.status != .ok {
            return RPCError(outcome)
        }
        return RPCError(
            .aborted, "the server has ended the call; receive what it sent, then the status tells why")
    }
}

extension RPCCall: AsyncSequence {
    /// The server's messages.
    public typealias Element = Response
    /// The call's error.
    public typealias Failure = RPCError

    /// Receives the messages; several iterators share them.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let call: RPCCall

        /// The next message, as `receive()`.
        public mutating func next() async throws(RPCError) -> Response? { try await call.receive() }

        /// The next message, as `receive()`.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> Response? {
            try await call.receive()
        }
    }

    /// An iterator over the messages that come from now on.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(call: self) }
}
