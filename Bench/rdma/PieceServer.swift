import Artifacts
import Rails
import Synchronization
import Swarm
import System
import Transport

/// The serving side: exports what is wanted, revokes what is released. Lives in its rail's sink.
final class PieceServer: Sendable {
    private struct State {
        var link: LinkID?
        var exports: [Export?]
        var commands: [RailCommand] = []
        var start: Mark?
        var result: Measurement?
    }

    private let side: Side
    private let options: Options
    private let state: Mutex<State>

    init(_ options: Options, _ side: Side) {
        self.options = options
        self.side = side
        state = Mutex(State(exports: Array(repeating: nil, count: options.depth)))
        state.withLock { $0.commands.reserveCapacity(4 * options.depth) }
    }

    /// The rail's sink.
    func take(_ events: ArraySlice<RailEvent>) {
        state.withLock { state in
            for event in events { take(event, &state) }
            guard !state.commands.isEmpty else { return }
            side.submit(state.commands)
            state.commands.removeAll(keepingCapacity: true)
        }
    }

    private func take(_ event: RailEvent, _ state: inout State) {
        switch event {
        case .linkUp(let link, _, _):
            state.link = link
        case .message(let link, .want(_, let piece)):
            let place = Int(piece.value)
            guard place < options.depth else {
                let why = "piece \(place) is wanted of \(options.depth): give both sides the same --depth"
                return side.end(.failure(OptionError(why)))
            }
            let offset = UInt64(options.offset(of: place))
            state.commands.append(
                .export(
                    token: UInt64(place),
                    .memory(region: RegionID(index: 0), offset: offset, lengthBytes: UInt64(options.messageBytes)),
                    to: link))
        case .exported(let token, .success(let export)):
            guard let link = state.link else { return }
            state.exports[Int(token)] = export
            state.commands.append(
                .send(
                    .grant(
                        session: 1, piece: PieceIndex(UInt32(token)), key: export.key,
                        lengthBytes: UInt32(options.messageBytes), leaseMs: 60_000), on: link))
        case .exported(_, .failure(let error)):
            side.end(.failure(OptionError("a piece could not be exported: \(error)")))
        case .message(_, .release(_, let piece)):
            guard Int(piece.value) < options.depth, let export = state.exports[Int(piece.value)] else { return }
            state.exports[Int(piece.value)] = nil
            state.commands.append(.revoke(export.id))
        case .message(_, .ping(0)):
            // The reader's measured pieces begin.
            state.start = Mark.now()
        case .message(_, .ping(let pieces)):
            // They have ended; it waits for the answer.
            guard let start = state.start, let link = state.link else { return }
            let end = Mark.now()
            state.commands.append(.send(.pong(nonce: pieces), on: link))
            state.result = Measurement(from: start, to: end, pieces: Int(pieces))
        case .linkDown(_, let error):
            let early = OptionError("the link ended early: \(error)")
            side.end(state.result.map { .success($0) } ?? .failure(early))
        default: break
        }
    }
}
