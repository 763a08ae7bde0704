import Protobuf

/// The messages that a client sends to a handler.
///
/// A task that is cancelled while it waits stops waiting (`cancelled`); the call goes on, and no message is lost.
public struct RPCIncoming<Message: ProtoMessage>: Sendable, AsyncSequence {
    /// The client's messages.
    public typealias Element = Message
    /// A malformed message, or the waiting task's cancellation.
    public typealias Failure = RPCError

    let receiver: MessageReceiver

    /// The next message; nil: the client has finished sending, or is gone (then the handler's task is cancelled too).
    ///
    /// Throws `invalidArgument` for a message that cannot be read.
    public func receive() async throws(RPCError) -> Message? {
        guard let bytes = try await receiver.receive() else { return nil }
        return try decoded(bytes, failure: .invalidArgument)
    }

    /// Receives the messages; several iterators share them.
    public struct AsyncIterator: AsyncIteratorProtocol {
        let incoming: RPCIncoming

        /// The next message, as `receive()`.
        public mutating func next() async throws(RPCError) -> Message? { try await incoming.receive() }

        /// The next message, as `receive()`.
        public mutating func next(isolation actor: isolated (any Actor)?) async throws(RPCError) -> Message? {
            try await incoming.receive()
        }
    }

    /// An iterator over the messages that come from now on.
    public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(incoming: self) }
}

/// The messages that a handler sends to its client.
///
/// A task that is cancelled while it waits stops waiting (`cancelled`); the message may still arrive, and the call goes
/// on.
public struct RPCOutgoing<Message: ProtoMessage>: Sendable {
    let sender: MessageSender

    /// Sends a message; returns when the connection has taken it, which waits for the client where it is slower.
    ///
    /// Several tasks may send, one after another. Throws `cancelled` when the client is gone, `failedPrecondition` when
    /// the handler has returned, `resourceExhausted` for a message over the server's limit (the call goes on).
    public func send(_ message: Message) async throws(RPCError) {
        guard try await sender.send(message.protobufBytes()) else {
            throw RPCError(.cancelled, "the client has gone")
        }
    }
}
