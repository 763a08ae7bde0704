import Synchronization

/// Messages on their way to one stream: bounded, in order, put by any thread and taken by one task.
///
/// Putting never waits. A reader that is so slow that the box is full is told apart by `put` returning false; its
/// stream should then be ended rather than the box grow.
public final class StreamOutbox<Message: Sendable>: Sendable {
    private struct State {
        var messages: [Message] = []
        var isClosed = false
        var waiter: CheckedContinuation<Void, Never>?
    }
    private let limit: Int
    private let state = Mutex(State())

    /// An empty box for at most so many messages.
    public init(limit: Int) { self.limit = limit }

    /// Puts messages in, all or none; false when the box is closed or has no room.
    public func put(_ messages: some Collection<Message>) -> Bool {
        let (isTaken, waiter) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard !state.isClosed, state.messages.count + messages.count <= limit else { return (false, nil) }
            state.messages += messages
            defer { state.waiter = nil }
            return (true, state.waiter)
        }
        waiter?.resume()
        return isTaken
    }

    /// No more is put in; what is in can still be taken.
    public func close() {
        state.withLock { $0.isClosed = true }
        wake()
    }

    /// Everything in the box, after waiting until there is something; nil once it is closed and empty, or the task is
    /// cancelled.
    public func take() async -> [Message]? {
        while !Task.isCancelled {
            let (messages, isClosed) = state.withLock { state in
                defer { state.messages = [] }
                return (state.messages, state.isClosed)
            }
            if !messages.isEmpty { return messages }
            if isClosed { return nil }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if !state.messages.isEmpty || state.isClosed || Task.isCancelled { return true }
                        state.waiter = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            } onCancel: {
                wake()
            }
        }
        return nil
    }

    private func wake() {
        let waiter = state.withLock { state in
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }
}
