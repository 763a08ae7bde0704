import Synchronization

/// A value that comes once, awaited by any number of tasks.
///
/// Pending → done. A task that is cancelled while it waits stops waiting; the value stays for others, and for a later
/// wait.
final class Completion<Value: Sendable>: Sendable {
    private typealias Waiter = (id: UInt64, continuation: CheckedContinuation<Value?, Never>)

    private struct State {
        var value: Value?
        var waiters: [Waiter] = []
        var nextID: UInt64 = 0
    }

    private let state = Mutex(State())

    /// Brings the value. What comes second is ignored.
    func complete(_ value: Value) {
        let waiters: [Waiter] = state.withLock { state in
            guard state.value == nil else { return [] }
            state.value = value
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.continuation.resume(returning: value) }
    }

    /// The value if it has come.
    var value: Value? { state.withLock { $0.value } }

    /// Waits for the value; nil: the waiting task was cancelled first.
    func wait() async -> Value? {
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Value?? = state.withLock { state in
                    if let value = state.value { return .some(value) }
                    // Cancelled before this: the handler below has run and found nobody, or will find nobody.
                    if Task.isCancelled { return .some(nil) }
                    state.waiters.append((id, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = state.withLock { state in
                state.waiters.firstIndex { $0.id == id }.map { state.waiters.remove(at: $0) }
            }
            waiter?.continuation.resume(returning: nil)
        }
    }

    /// Waits for the value this long; nil: it has not come, or the waiting task was cancelled.
    func wait(atMost limit: Duration) async -> Value? {
        await withTaskGroup(of: Value?.self) { group in
            group.addTask { await self.wait() }
            group.addTask {
                try? await Task.sleep(for: limit)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }
}

/// One task at a time, first come, first served.
///
/// Those who wait are suspended tasks, so there are never more of them than callers.
final class Turn: Sendable {
    private struct State {
        var isTaken = false
        var waiting: [Completion<Void>] = []
    }

    private let state = Mutex(State())

    /// Waits for the turn; false: the waiting task was cancelled, and has no turn.
    func enter() async -> Bool {
        let place: Completion<Void>? = state.withLock { state in
            guard state.isTaken else {
                state.isTaken = true
                return nil
            }
            let place = Completion<Void>()
            state.waiting.append(place)
            return place
        }
        guard let place else { return true }
        if await place.wait() != nil { return true }
        let wasStillWaiting = state.withLock { state in
            guard let index = state.waiting.firstIndex(where: { $0 === place }) else { return false }
            state.waiting.remove(at: index)
            return true
        }
        // The turn may have come in the same moment: it goes on to the next.
        if !wasStillWaiting { leave() }
        return false
    }

    /// Gives the turn to the next.
    func leave() {
        let next: Completion<Void>? = state.withLock { state in
            guard !state.waiting.isEmpty else {
                state.isTaken = false
                return nil
            }
            return state.waiting.removeFirst()
        }
        next?.complete(())
    }
}
