import System
import Transport
import TransportVerbs
import Verbs

/// A lease as a far side gave it.
struct HostileLease {
    let export: UInt64
    let address: UInt64
    let lengthBytes: UInt64
    let key: UInt32
    /// The only queue pair it holds for; nil for any.
    let lane: Int?

    /// Reads `leased OFFSET LENGTH EXPORT KEY`.
    init?(_ text: String) {
        let words = text.split(separator: " ")
        guard words.count == 5, words[0] == "leased", let export = UInt64(words[3]),
            let raw = bytes(hex: words[4]), raw.count == VerbsKey.bytes,
            let key = raw.withUnsafeBytes({ RemoteKey($0) }).flatMap({ VerbsKey($0) })
        else { return nil }
        self.export = export
        address = key.address
        lengthBytes = key.lengthBytes
        self.key = key.remoteKey
        lane = key.lane == VerbsKey.anyLane ? nil : Int(key.lane)
    }
}

/// A link made by hand.
final class HostileLink {
    let device: HostileDevice
    let wire: HostileWire
    /// What we READ over, and what the far side READs over.
    private(set) var fetch: [HostileEnd] = []
    private(set) var serve: [HostileEnd] = []
    private(set) var theirs: LinkOffer!

    static func identity(_ name: String = "hostile") -> LinkIdentity {
        LinkIdentity(host: .init(name)!, incarnation: 1, cluster: Options.cluster)
    }

    /// The first bytes of a connection.
    static func greeting(nonce: RandomNumber = .make(), name: String = "hostile") -> HandshakeFrame {
        HandshakeFrame(.greeting, number: nonce, identity: identity(name), readsPerLinkMax: 64)
    }

    /// A regular handshake as the dialling side, to the end.
    init(_ device: HostileDevice, to place: String, fetch count: Int = 2, serve serves: Int = 0) throws {
        self.device = device
        wire = try HostileWire(to: place)
        for _ in 0..<count { fetch.append(try device.end()) }
        for _ in 0..<serves { serve.append(try device.end()) }
        wire.send(Self.greeting().bytes)
        guard let welcome = wire.handshake(), welcome.kind == .welcome else {
            throw TransportError(.refused, "\(place) does not welcome us")
        }
        wire.send(.offer(device.offer(fetch: fetch, serve: serve)))
        guard case .frame(.answer(let theirs)) = wire.next() else {
            throw TransportError(.refused, "\(place) does not answer our offer")
        }
        self.theirs = theirs
        for (end, far) in zip(fetch, theirs.serveEnds) { try device.raise(end, to: far, of: theirs) }
        for (end, far) in zip(serve, theirs.fetchEnds) { try device.raise(end, to: far, of: theirs) }
        wire.send(.ready)
    }

    /// A regular handshake as the accepting side.
    init(_ device: HostileDevice, accepting wire: HostileWire) throws {
        self.device = device
        self.wire = wire
        guard let greeting = wire.handshake(), greeting.kind == .greeting else {
            throw TransportError(.protocolBroken, "no greeting")
        }
        let welcome = HandshakeFrame(
            .welcome, number: .make(), identity: Self.identity(), readsPerLinkMax: 64)
        wire.send(welcome.bytes)
        guard case .frame(.offer(let theirs)) = wire.next() else { throw TransportError(.protocolBroken, "no offer") }
        self.theirs = theirs
        for _ in theirs.serveEnds { fetch.append(try device.end()) }
        for _ in theirs.fetchEnds { serve.append(try device.end()) }
        for (end, far) in zip(fetch, theirs.serveEnds) { try device.raise(end, to: far, of: theirs) }
        for (end, far) in zip(serve, theirs.fetchEnds) { try device.raise(end, to: far, of: theirs) }
        wire.send(.answer(device.offer(fetch: fetch, serve: serve)))
        guard case .frame(.ready) = wire.next() else { throw TransportError(.protocolBroken, "no ready") }
    }

    /// Asks for a lease.
    func lease(offset: Int, lengthBytes: Int) throws -> HostileLease {
        wire.say("lease \(offset) \(lengthBytes)")
        while true {
            switch wire.next() {
            case .said(let text):
                if let lease = HostileLease(text) { return lease }
                if text.hasPrefix("refused") { throw TransportError(.refused, text) }
            case .frame: continue
            case .closed: throw TransportError(.peerClosed, "the source closed the link")
            case .silence: throw TransportError(.timedOut, "the source gives no lease")
            }
        }
    }

    /// How many of the source's bytes are not what they have to be.
    func check() throws -> Int {
        wire.say("check")
        while true {
            switch wire.next() {
            case .said(let text):
                if text.hasPrefix("checked "), let count = Int(text.dropFirst(8)) { return count }
            case .frame: continue
            case .closed: throw TransportError(.peerClosed, "the source closed the link")
            case .silence: throw TransportError(.timedOut, "the source does not answer")
            }
        }
    }

    /// The end to use for a lease.
    func end(for lease: HostileLease) -> HostileEnd { fetch[lease.lane ?? 0] }
}
