import Artifacts
import Memory
import Rails
import Swarm
import Synchronization
import Transport

@testable import Engine

/// A rail that only records: what it is told is taken out and answered by the stage.
final class RecordingRail: RailPort {
    private struct State {
        var commands: [RailCommand] = []
        var batchSizes: [Int] = []
        var isFull = false
    }
    private let state = Mutex(State())

    let capabilities: TransportCapabilities
    let address: TransportAddress? = nil
    let regions = [RegionID(index: 0)]

    init(kind: TransportKind = .simulated, servesFrom: ServingSource = .files) {
        capabilities = TransportCapabilities(
            kind: kind, readBytesMax: 1 << 20, readsPerLinkMax: 64, exportsPerLinkMax: 64, messageBytesMax: 65_536,
            linksMax: 1024, exportsFiles: true, servesFrom: servesFrom, receiveCopies: 1)
    }

    func submit(_ commands: [RailCommand]) -> Bool {
        state.withLock { state in
            guard !state.isFull else { return false }
            state.commands += commands
            state.batchSizes.append(commands.count)
            return true
        }
    }

    /// Whether it refuses every batch.
    var isFull: Bool {
        get { state.withLock { $0.isFull } }
        set { state.withLock { $0.isFull = newValue } }
    }

    /// The sizes of the batches it took.
    var batchSizes: [Int] { state.withLock { $0.batchSizes } }

    /// What it was told since the last time.
    func take() -> [RailCommand] {
        state.withLock { state in
            defer { state.commands = [] }
            return state.commands
        }
    }
}

/// Workers that work only when the stage says so, in an order of the stage's choosing.
final class HeldWorkers: WorkerPort {
    private let jobs = Mutex<[@Sendable () -> Void]>([])

    func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
        jobs.withLock { $0.append(job) }
        return true
    }

    /// The jobs submitted since the last time.
    func take() -> [@Sendable () -> Void] {
        jobs.withLock { jobs in
            defer { jobs = [] }
            return jobs
        }
    }
}

/// Remembers what the scheduler is told.
final class RecordingScheduler: SchedulerPort {
    private let messages = Mutex<[SchedulerUplink]>([])

    func send(_ message: SchedulerUplink) { messages.withLock { $0.append(message) } }

    /// Everything said so far.
    var said: [SchedulerUplink] { messages.withLock { $0 } }
}

/// An origin that reads when the stage says so.
final class HeldOrigin: OriginPort {
    private struct State {
        var fetches: [OriginFetch] = []
        var stopped: Set<LeaseID> = []
        var slotsFreed = 0
    }
    private let state = Mutex(State())

    func fetch(_ fetch: OriginFetch) { state.withLock { $0.fetches.append(fetch) } }
    func stop(_ lease: LeaseID) { state.withLock { _ = $0.stopped.insert(lease) } }
    func slotsFreed() { state.withLock { $0.slotsFreed += 1 } }

    /// What was asked for since the last time.
    func take() -> [OriginFetch] {
        state.withLock { state in
            defer { state.fetches = [] }
            return state.fetches
        }
    }

    /// Whether a lease was to be stopped.
    func isStopped(_ lease: LeaseID) -> Bool { state.withLock { $0.stopped.contains(lease) } }
    /// How often it was told of free slots.
    var slotsFreedCount: Int { state.withLock { $0.slotsFreed } }
}

/// What was posted to the engine and not yet handled.
final class Posted: Sendable {
    private let events = Mutex<[EngineEvent]>([])

    func put(_ event: EngineEvent) { events.withLock { $0.append(event) } }

    func take() -> [EngineEvent] {
        events.withLock { events in
            defer { events = [] }
            return events
        }
    }
}

/// Ends of downloads as their callers hear of them.
final class Ends: Sendable {
    private let snapshots = Mutex<[DownloadSnapshot]>([])

    func put(_ snapshot: DownloadSnapshot) { snapshots.withLock { $0.append(snapshot) } }

    /// In the order they came.
    var all: [DownloadSnapshot] { snapshots.withLock { $0 } }
    /// The only one's outcome; nil when there is none.
    var outcome: DownloadOutcome? { all.last?.outcome }
}

/// What the interpreter logged.
final class Lines: Sendable {
    private let lines = Mutex<[String]>([])

    func put(_ line: String) { lines.withLock { $0.append(line) } }

    /// In the order they came.
    var all: [String] { lines.withLock { $0 } }
}
