import Synchronization
import System

/// The one way into a rail: batches of commands from any thread, at most one wake-up a batch and none while it is
/// awake.
final class RailMailbox: Sendable {
    private struct State {
        var commands: [RailCommand] = []
        var isAsleep = false
        var isClosing = false
    }

    /// Readable when a sleeping rail has something to do.
    let wake: EventDescriptor
    private let state = Mutex(State())
    private let commandsMax: Int

    /// Commands there is room for from the start; the two sides swap their arrays.
    static let commandsReserved = 512

    init(commandsMax: Int) throws(Errno) {
        wake = try EventDescriptor()
        self.commandsMax = commandsMax
        state.withLock { $0.commands.reserveCapacity(Self.commandsReserved) }
    }

    /// False when the batch does not fit, or the rail is ending; nothing of it was taken then.
    func submit(_ commands: [RailCommand]) -> Bool {
        let (taken, mustWake) = state.withLock { state -> (Bool, Bool) in
            guard !state.isClosing, state.commands.count + commands.count <= commandsMax else {
                return (false, false)
            }
            state.commands += commands
            defer { state.isAsleep = false }
            return (true, state.isAsleep)
        }
        if mustWake { wake.signal() }
        return taken
    }

    /// No more commands after these; false when that was said before.
    func close() -> Bool {
        let (isFirst, mustWake) = state.withLock { state -> (Bool, Bool) in
            defer { (state.isClosing, state.isAsleep) = (true, false) }
            return (!state.isClosing, state.isAsleep)
        }
        if mustWake { wake.signal() }
        return isFirst
    }

    /// Takes what waits into an empty array, and whether the rail shall end after it.
    func take(into commands: inout [RailCommand]) -> Bool {
        state.withLock { state in
            swap(&commands, &state.commands)
            return state.isClosing
        }
    }

    /// Whether the rail may sleep; from then on a submit wakes it.
    func goToSleep() -> Bool {
        state.withLock { state in
            state.isAsleep = state.commands.isEmpty && !state.isClosing
            return state.isAsleep
        }
    }

    func wakeUp() { state.withLock { $0.isAsleep = false } }
}
