import Synchronization

/// Receives a call's messages, one batch at a time: what is not asked for stays in gRPC's flow control.
final class MessageReceiver: Sendable {
    private enum State {
        case idle
        /// A batch is under way, or done and not taken because its task was cancelled.
        case receiving(Completion<[UInt8]?>)
        case ended
    }

    private let handle: CallHandle
    private let turn = Turn()
    private let state = Mutex(State.idle)

    init(_ handle: CallHandle) { self.handle = handle }

    /// The next message; nil: there are no more, because the stream or the call has ended.
    ///
    /// Throws `RPCError.taskCancelled`; then no message is lost.
    func receive() async throws(RPCError) -> [UInt8]? {
        guard await turn.enter() else { throw .taskCancelled }
        defer { turn.leave() }
        guard let receiving = underWay() else { return nil }
        guard let message = await receiving.wait() else { throw .taskCancelled }
        state.withLock { $0 = message == nil ? .ended : .idle }
        return message
    }

    private func underWay() -> Completion<[UInt8]?>? {
        switch state.withLock({ $0 }) {
        case .ended: return nil
        case .receiving(let receiving): return receiving
        case .idle: break
        }
        let receiving = Completion<[UInt8]?>()
        let handle = self.handle
        let isStarted = handle.start(.receiveMessage) { success in
            receiving.complete(success ? handle.takeMessage() : nil)
        }
        state.withLock { $0 = isStarted ? .receiving(receiving) : .ended }
        return isStarted ? receiving : nil
    }
}

/// Sends a call's messages, one batch at a time: sending waits for the other side's flow control.
final class MessageSender: Sendable {
    private struct State {
        /// The last batch: done, or abandoned by a cancelled task.
        var underWay: Completion<Bool>?
        var isClosed = false
        /// Gives the metadata that the first batch carries too; nil: it has gone.
        var initialMetadata: (@Sendable () -> RPCMetadata)?
    }

    private let handle: CallHandle
    private let messageBytesMax: Int
    private let turn = Turn()
    private let state: Mutex<State>

    /// A sender; `initialMetadata` where the first batch is to carry it.
    init(_ handle: CallHandle, messageBytesMax: Int, initialMetadata: (@Sendable () -> RPCMetadata)? = nil) {
        self.handle = handle
        self.messageBytesMax = messageBytesMax
        state = Mutex(State(initialMetadata: initialMetadata))
    }

    /// Sends a message; false: the call has ended.
    func send(_ message: [UInt8]) async throws(RPCError) -> Bool {
        try check(message)
        return try await start(.sendMessage, message)
    }

    /// Says that no more messages come; false: the call has ended.
    func close() async throws(RPCError) -> Bool { try await start(.sendClose, []) }

    /// Says that no more messages come, where they went otherwise.
    func markClosed() { state.withLock { $0.isClosed = true } }

    /// Waits until nothing is under way, this long; gives the operations that the last batch must carry too.
    ///
    /// Nil: a message is stuck in flow control.
    func finish(within limit: Duration) async -> CallHandle.Operations? {
        let underWay = state.withLock { state in
            state.isClosed = true
            return state.underWay
        }
        if let underWay, await underWay.wait(atMost: limit) == nil { return nil }
        return firstOperations()
    }

    /// Operations that a batch carries too because it is the first.
    private func firstOperations() -> CallHandle.Operations {
        let metadata = state.withLock { state in
            defer { state.initialMetadata = nil }
            return state.initialMetadata
        }
        guard let metadata else { return [] }
        handle.add(metadata(), trailing: false)
        return .sendInitialMetadata
    }

    /// Refuses a message that the other side would refuse.
    func check(_ message: [UInt8]) throws(RPCError) {
        guard message.count <= messageBytesMax else {
            throw RPCError(
                .resourceExhausted,
                "a message of \(message.count) bytes is over the limit of \(messageBytesMax)")
        }
    }

    private func start(_ operation: CallHandle.Operations, _ message: [UInt8]) async throws(RPCError) -> Bool {
        guard await turn.enter() else { throw .taskCancelled }
        defer { turn.leave() }
        if let earlier = state.withLock({ $0.underWay }) {
            guard await earlier.wait() != nil else { throw .taskCancelled }
        }
        let sent = Completion<Bool>()
        let isOpen = state.withLock { state in
            guard !state.isClosed else { return false }
            state.underWay = sent
            if operation == .sendClose { state.isClosed = true }
            return true
        }
        guard isOpen else {
            throw RPCError(.failedPrecondition, "nothing can be sent after the end of sending")
        }
        let first = firstOperations()
        if !handle.start(first.union(operation), message: message, completion: { sent.complete($0) }) {
            sent.complete(false)
        }
        guard let success = await sent.wait() else { throw .taskCancelled }
        return success
    }
}
