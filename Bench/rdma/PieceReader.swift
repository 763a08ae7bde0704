import Artifacts
import Digests
import Rails
import Swarm
import Synchronization
import System
import Transport
import Workers

/// The reading side: keeps so many pieces on their way, and measures. Lives in its rail's sink; what is verified goes on
/// from a worker.
final class PieceReader: Sendable {
    private struct State {
        var link: LinkID?
        var keys: [RemoteKey?]
        var commands: [RailCommand] = []
        /// What verifies each place, made once.
        var jobs: [WorkerPool.Job] = []
        /// Pieces read, verified or not.
        var read = 0
        /// Pieces read and, where asked for, verified.
        var done = 0
        /// Pieces begun.
        var begun = 0
        var start: Mark?
        /// Once the last measured piece was read; its allocations count.
        var lastRead: Mark?
        var result: Measurement?
    }

    private let side: Side
    private let options: Options
    /// Of every place, when pieces are verified.
    private let digests: [Digest]
    private let workers: WorkerPool?
    private let state: Mutex<State>

    init(_ options: Options, _ side: Side, workers: WorkerPool?) {
        self.options = options
        self.side = side
        self.workers = workers
        state = Mutex(State(keys: Array(repeating: nil, count: options.depth)))
        state.withLock { $0.commands.reserveCapacity(4 * options.depth) }
        guard workers != nil else {
            digests = []
            return
        }
        let wanted = UnsafeMutableRawBufferPointer.allocate(
            byteCount: options.depth * options.messageBytes, alignment: 64)
        defer { wanted.deallocate() }
        Content.fill(wanted, seed: Content.seed)
        digests = (0..<options.depth).map {
            let bytes = wanted[($0 * options.messageBytes)..<(($0 + 1) * options.messageBytes)]
            return Digests.piece(UnsafeRawBufferPointer(rebasing: bytes))
        }
    }

    /// The rail's sink.
    func take(_ events: ArraySlice<RailEvent>) {
        state.withLock { state in
            for event in events { take(event, &state) }
            submit(&state)
        }
    }

    private func submit(_ state: inout State) {
        guard !state.commands.isEmpty else { return }
        side.submit(state.commands)
        state.commands.removeAll(keepingCapacity: true)
    }

    private func take(_ event: RailEvent, _ state: inout State) {
        switch event {
        case .linkUp(let link, _, _):
            state.link = link
            if workers != nil { state.jobs = (0..<options.depth).map { place in { [self] in verify(place) } } }
            for place in 0..<options.depth { begin(place, &state) }
        case .message(_, .grant(_, let piece, let key, _, _)):
            guard Int(piece.value) < options.depth else { return }
            state.keys[Int(piece.value)] = key
            read(Int(piece.value), key, &state)
        case .message(_, .pong):
            if let result = state.result { side.end(.success(result)) }
        case .readCompleted(let tag, _, nil):
            wasRead(Int(tag), &state)
        case .readCompleted(let tag, _, let failure?):
            side.end(.failure(OptionError("piece \(tag) failed: \(failure)")))
        case .connectFailed(_, let error), .linkDown(_, let error):
            side.end(.failure(OptionError("no link: \(error)")))
        default: break
        }
    }

    private var allPieces: Int { options.warmUpPieces + options.pieces }

    private func begin(_ place: Int, _ state: inout State) {
        guard let link = state.link, state.begun < allPieces else { return }
        state.begun += 1
        if let key = state.keys[place] { return read(place, key, &state) }
        state.commands.append(.send(.want(session: 1, piece: PieceIndex(UInt32(place))), on: link))
    }

    private func read(_ place: Int, _ key: RemoteKey, _ state: inout State) {
        guard let link = state.link else { return }
        state.commands.append(
            .read(
                PieceRead(
                    link: link, key: key, region: RegionID(index: 0), localOffset: UInt64(options.offset(of: place)),
                    lengthBytes: UInt64(options.messageBytes), tag: UInt64(place))))
    }

    private func wasRead(_ place: Int, _ state: inout State) {
        guard let link = state.link else { return }
        if options.lease == .piece {
            state.keys[place] = nil
            state.commands.append(.send(.release(session: 1, piece: PieceIndex(UInt32(place))), on: link))
        }
        state.read += 1
        if state.read == options.warmUpPieces {
            state.start = Mark.now()
            state.commands.append(.send(.ping(nonce: 0), on: link))
        }
        if state.read == allPieces { state.lastRead = Mark.now() }
        guard let workers else { return isDone(place, &state) }
        if !workers.submit(state.jobs[place]) { side.end(.failure(OptionError("the workers take no more"))) }
    }

    /// Compares a piece's digest with what it has to be, on a worker's thread.
    private func verify(_ place: Int) {
        let bytes = UnsafeRawBufferPointer(
            start: side.memory.base + place * options.messageBytes, count: options.messageBytes)
        guard Digests.piece(bytes) == digests[place] else {
            return side.end(.failure(OptionError("piece \(place) has wrong bytes")))
        }
        state.withLock { state in
            isDone(place, &state)
            submit(&state)
        }
    }

    private func isDone(_ place: Int, _ state: inout State) {
        state.done += 1
        guard state.done == allPieces else { return begin(place, &state) }
        guard let link = state.link, let start = state.start, let lastRead = state.lastRead else { return }
        let now = Mark.now()
        // Time and processor until the last piece was done; allocations of the rail's thread until it was read.
        let end = Mark(atNs: now.atNs, processorNs: now.processorNs, allocations: lastRead.allocations)
        state.result = Measurement(from: start, to: end, pieces: options.pieces)
        state.commands.append(.send(.ping(nonce: UInt64(options.pieces)), on: link))
    }
}
