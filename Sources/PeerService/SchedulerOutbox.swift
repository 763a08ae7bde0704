import Artifacts
import ControlAPI
import Engine
import Synchronization

/// Messages on their way to the scheduler: bounded, in order, kept pieces of one task gathered into one message.
///
/// Any thread puts in; one task takes. When it overflows nothing is lost: the link is told to attach anew, which says
/// everything again.
final class SchedulerOutbox: Sendable {
    private struct State {
        var messages: [Wire.HostMessage] = []
        var isOverflowing = false
        /// Set while a scheduler is attached, or being attached.
        var isOpen = false
        var waiter: CheckedContinuation<Void, Never>?
    }
    /// A message is a few hundred bytes: some tens of MB at worst.
    private static let messagesMax = 65_536
    /// 4096 pieces make a message of about 150 KB.
    private static let piecesPerMessageMax = 4096
    private let state = Mutex(State())

    /// Begins to gather for a new attachment; what was left of the last one is dropped.
    func open() { state.withLock { $0 = State(isOpen: true, waiter: $0.waiter) } }

    /// Stops gathering until the next attachment.
    func shut() {
        let waiter = state.withLock { state in
            defer { state = State() }
            return state.waiter
        }
        waiter?.resume()
    }

    func put(_ message: Wire.HostMessage) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard state.isOpen, !state.isOverflowing else { return nil }
            if !SchedulerOutbox.merge(message, into: &state.messages) { state.messages.append(message) }
            state.isOverflowing = state.messages.count > SchedulerOutbox.messagesMax
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Everything gathered, after waiting until there is something; nil once shut or overflowed.
    func take() async -> [Wire.HostMessage]? {
        while true {
            let (messages, isOver) = state.withLock { state in
                defer { state.messages = [] }
                return (state.messages, !state.isOpen || state.isOverflowing)
            }
            if isOver { return nil }
            if !messages.isEmpty { return messages }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let now = state.withLock { state in
                        if !state.messages.isEmpty || !state.isOpen || Task.isCancelled { return true }
                        state.waiter = continuation
                        return false
                    }
                    if now { continuation.resume() }
                }
            } onCancel: {
                wake()
            }
            if Task.isCancelled { return nil }
        }
    }

    private func wake() {
        let waiter = state.withLock { state in
            defer { state.waiter = nil }
            return state.waiter
        }
        waiter?.resume()
    }

    /// Adds kept pieces to the last message when that is of the same task and kind.
    private static func merge(_ message: Wire.HostMessage, into messages: inout [Wire.HostMessage]) -> Bool {
        guard case .kept(let new) = message.kind, case .kept(var last) = messages.last?.kind, last.task == new.task,
            last.digests.isEmpty == new.digests.isEmpty,
            last.pieces.count + new.pieces.count <= piecesPerMessageMax
        else { return false }
        last.pieces += new.pieces
        last.digests += new.digests
        messages[messages.count - 1] = .kept(last)
        return true
    }
}

extension SchedulerUplink {
    /// The wire form.
    var wire: Wire.HostMessage {
        switch self {
        case .join(let model, let manifest):
            .join(Wire.Join(model: model.description, manifest: manifest.wire))
        case .leave(let model, let failure):
            .leave(
                Wire.Leave(
                    model: model.description, finished: failure == nil,
                    failure: failure.map { Wire.Failure(code: "failed", sentence: $0, retryable: true) }))
        case .kept(let task, let piece, let digest):
            .kept(Wire.PieceDigests(task: task.description, pieces: [piece.value], digests: digest?.bytes ?? []))
        case .leaseReturn(let lease, let failure):
            .leaseReturn(
                Wire.LeaseReturn(lease: lease.value, failure: failure?.wire, needsWhole: failure?.needsWhole ?? false))
        case .blame(let host, let task, let piece):
            .blame(Wire.Blame(host: host.name, task: task.description, piece: piece.value))
        case .forgot(let task):
            .forgot(Wire.Forgot(task: task.description))
        }
    }
}
