import Artifacts
import Rails
import Swarm
import Transport

@testable import Engine

/// A parent with everything, or one that misbehaves.
final class FakeParent {
    let name: String
    /// Every read has a wrong first byte.
    var isCorrupt = false
    /// Reads neither complete nor fail.
    var holdsReads = false
    /// A link to it cannot be brought up.
    var isDead = false
    /// It never answers wants.
    var isSilent = false
    /// Its links stay up though they were closed.
    var ignoresClose = false
    var heldReads: [PieceRead] = []
    var grants: [RemoteKey: (task: TaskID, piece: PieceIndex)] = [:]
    var releases = 0
    var readsServed = 0
    /// Reads are held once so many were served.
    var readsHeldAfter: Int?
    /// Transports over which reads neither complete nor fail.
    var stuckKinds: Set<TransportKind> = []
    /// Transports it does not announce, and those it announces though nothing answers there.
    var hiddenKinds: Set<TransportKind> = []
    var deadKinds: Set<TransportKind> = []
    /// Transports it was dialled over, in order.
    var dials: [TransportKind] = []
    private var sessions: [LinkID: [UInt32: TaskID]] = [:]
    private var nextKey: UInt64 = 1

    init(_ name: String) { self.name = name }

    func holds(_ read: PieceRead, over kind: TransportKind) -> Bool {
        holdsReads || stuckKinds.contains(kind) || readsServed >= readsHeldAfter ?? .max
    }

    /// Completes reads that were held, the oldest first, but for some.
    func serveHeld(_ stage: Stage, keeping count: Int) {
        let reads = heldReads.dropLast(count)
        heldReads.removeFirst(reads.count)
        for read in reads { stage.serve(read, self) }
        stage.settle()
    }

    func announces(_ kind: TransportKind) -> Bool { !hiddenKinds.contains(kind) }

    func answer(
        _ message: PeerMessage<RemoteKey>, _ content: [TaskID: [UInt8]], on link: LinkID
    ) -> [PeerMessage<RemoteKey>] {
        switch message {
        case .open(let session, let task, let pieceCount):
            guard content[task] != nil else { return [.unknown(session: session)] }
            sessions[link, default: [:]][session] = task
            let bits = PieceSet.full(capacity: Int(pieceCount)).bytes
            return [.map(session: session, base: 0, bits: bits, last: true)]
        case .want(let session, let piece):
            guard !isSilent, let task = sessions[link]?[session] else { return [] }
            let key = Stage.key(nextKey)
            nextKey += 1
            grants[key] = (task, piece)
            let length = PieceLayout(fileBytes: UInt64(content[task]!.count)).range(of: piece).length
            return [
                .grant(session: session, piece: piece, key: key, lengthBytes: UInt32(length), leaseMs: 30_000)
            ]
        case .release:
            releases += 1
            return []
        case .ping(let nonce): return [.pong(nonce: nonce)]
        default: return []
        }
    }
}
