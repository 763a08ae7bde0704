import System
import Transport
import TransportVerbs
import Verbs

/// What a hostile host tries with a source's control streams: whatever it says, the source stays within its bounds and
/// others go on.
struct HandshakeAttack {
    let attack: Attack

    var cases: [(String, () throws -> Verdict)] {
        [
            ("garbage", garbage),
            ("absurd offers", absurdOffers),
            ("nobody at the address", unresolvable),
            ("half-open: silent", { try halfOpen(.silent) }),
            ("half-open: greeted", { try halfOpen(.greeted) }),
            ("half-open: offered", { try halfOpen(.offered) }),
            ("very many links", manyLinks),
            ("a hostile parent's handshakes", parents),
            ("replays", replays),
            ("no answers", noAnswers),
            ("flood of pings", { try flood([.ping]) }),
            ("flood of revocations", { try flood((0..<64).map { .revoke(export: $0 &* 0x1234_5678_9ABC) }) }),
            ("false stops", falseStops),
            ("flood of messages", messages),
        ]
    }

    private static let newcomerLimitMs: UInt64 = 15_000

    /// Another host's regular link, made now: how long it takes.
    private func newcomer(_ verdict: inout Verdict, _ when: String) {
        let fromNs = MonotonicClock.nowNs()
        do {
            let link = try HostileLink(attack.device, to: attack.otherPlace, fetch: 2)
            let lease = try link.lease(offset: 0, lengthBytes: 4096)
            let status = try attack.device.shoot(
                link.end(for: lease), at: lease.address, lengthBytes: 4096, key: lease.key)
            verdict.expect(status == .success, "\(when) another host's READ ended otherwise")
        } catch {
            verdict.objections.append("\(when) another host gets no link: \(error)")
        }
        let tookMs = (MonotonicClock.nowNs() - fromNs) / 1_000_000
        verdict.notes.append("\(when) another host has its link after \(tookMs) ms")
        verdict.expect(tookMs < Self.newcomerLimitMs, "\(when) another host waited \(tookMs) ms for its link")
    }

    private func garbage() throws -> Verdict {
        var verdict = Verdict()
        var random = SplitMix(state: 0xBAD)
        for turn in 0..<150 {
            let wire = try HostileWire(to: attack.place)
            var bytes = (0..<Int(random.next() % 1500 + 1)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            if turn % 3 == 1 {
                // A good head with a bad body.
                bytes = Array(HostileLink.greeting().bytes.prefix(30)) + bytes
            } else if turn % 3 == 2 {
                // A good greeting, then garbage instead of an offer.
                wire.send(HostileLink.greeting().bytes)
                guard wire.handshake() != nil else {
                    verdict.objections.append("no welcome")
                    continue
                }
                bytes = HostileWire.framed([2] + bytes)
            }
            wire.send(bytes)
            if turn % 10 == 0 {
                verdict.expect(wire.closes(limitMs: 20_000), "garbage \(turn) left the connection open")
            }
        }
        newcomer(&verdict, "afterwards")
        return verdict
    }

    private func absurdOffers() throws -> Verdict {
        var verdict = Verdict()
        let end = LaneEnd(number: 17, packetSequenceNumber: 1)
        let changes: [(String, (inout LinkOffer) -> Void)] = [
            ("MTU 0", { $0.mtuBytes = 0 }), ("MTU 1", { $0.mtuBytes = 1 }), ("MTU 65535", { $0.mtuBytes = 65535 }),
            ("no READs served", { $0.readsServedMax = 0 }),
            (
                "255 READs",
                {
                    $0.readsServedMax = 255; $0.readsInitiatedMax = 255
                }
            ),
            ("queue pair 0", { $0.fetchEnds = [LaneEnd(number: 0, packetSequenceNumber: 0)] }),
            ("queue pair 1", { $0.fetchEnds = [LaneEnd(number: 1, packetSequenceNumber: 0)] }),
            (
                "the multicast queue pair",
                { $0.fetchEnds = [LaneEnd(number: 0xFF_FFFF, packetSequenceNumber: 0xFF_FFFF)] }
            ),
            ("no queue pairs", { $0.fetchEnds = [] }),
            ("9 queue pairs", { $0.fetchEnds = Array(repeating: end, count: 9) }),
            (
                "8 and 8 of the same",
                {
                    $0.fetchEnds = Array(repeating: end, count: 8); $0.serveEnds = $0.fetchEnds
                }
            ),
            ("InfiniBand", { $0.linkLayer = 1 }), ("link layer 200", { $0.linkLayer = 200 }),
            ("RoCE v1", { $0.gidType = 1 }), ("GID type 99", { $0.gidType = 99 }),
            ("the zero GID", { $0.gid = (0, 0) }), ("the loop-back GID", { $0.gid = (0, 1) }),
            ("a multicast GID", { $0.gid = (0xFF02_0000_0000_0000, 1) }),
            ("255.255.255.255", { $0.gid = (0, 0xFFFF_FFFF_FFFF) }), ("224.0.0.1", { $0.gid = (0, 0xFFFF_E000_0001) }),
            ("127.0.0.1", { $0.gid = (0, 0xFFFF_7F00_0001) }),
            (
                "a word at 0",
                {
                    $0.wordAddress = 0; $0.wordKey = 0; $0.serveEnds = [end]
                }
            ),
            (
                "a word at the end of memory",
                {
                    $0.wordAddress = .max; $0.wordKey = .max; $0.serveEnds = [end]
                }
            ),
        ]
        for (what, change) in changes {
            let wire = try HostileWire(to: attack.place)
            wire.send(HostileLink.greeting().bytes)
            guard wire.handshake()?.kind == .welcome else {
                verdict.objections.append("no welcome before an offer of \(what)")
                continue
            }
            let ends = [try attack.device.end(), try attack.device.end()]
            var offer = attack.device.offer(fetch: ends, serve: [])
            change(&offer)
            wire.send(.offer(offer))
            switch wire.next(limitMs: 20_000) {
            case .frame(.answer): verdict.ends["answered", default: 0] += 1
            case .frame(.declined): verdict.ends["declined", default: 0] += 1
            case .closed: verdict.ends["closed", default: 0] += 1
            case .silence: verdict.objections.append("an offer of \(what) gets no answer")
            default: verdict.objections.append("an offer of \(what) is answered with something else")
            }
        }
        newcomer(&verdict, "afterwards")
        return verdict
    }

    /// Offers with an address where nobody is: the kernel takes about a second to find out, for each.
    private func unresolvable() throws -> Verdict {
        var verdict = Verdict()
        var wires: [HostileWire] = []
        let fromNs = MonotonicClock.nowNs()
        for number in 0..<48 {
            let wire = try HostileWire(to: attack.place)
            wire.send(HostileLink.greeting().bytes)
            guard wire.handshake()?.kind == .welcome else { break }
            let end = LaneEnd(number: 17, packetSequenceNumber: 1)
            var offer = attack.device.offer(fetch: [], serve: [])
            offer.fetchEnds = Array(repeating: end, count: 8)
            // 10.9.0.100 and on: on the wire, and nobody's.
            offer.gid = (0, 0xFFFF_0A09_0064 + UInt64(number))
            wire.send(.offer(offer))
            wires.append(wire)
        }
        verdict.notes.append("\(wires.count) offers wait")
        newcomer(&verdict, "meanwhile")
        newcomer(&verdict, "and again")
        if let first = wires.first, case .frame(.declined) = first.next(limitMs: 20_000) {
            verdict.notes.append("the first is declined after \((MonotonicClock.nowNs() - fromNs) / 1_000_000) ms")
        }
        for wire in wires { verdict.expect(wire.closes(limitMs: 30_000), "an offer from nobody's address stays open") }
        return verdict
    }

    enum Stage { case silent, greeted, offered }

    private func halfOpen(_ stage: Stage) throws -> Verdict {
        var verdict = Verdict()
        var wires: [HostileWire] = []
        var unconnected = 0
        let ends = [try attack.device.end()]
        for number in 0..<1000 {
            // Ours are in the way of nobody but ourselves: at most 300 open here.
            if wires.count >= 300 { wires.removeFirst() }
            guard let wire = try? HostileWire(to: attack.place) else {
                unconnected += 1
                if unconnected > 3 { break }
                continue
            }
            wires.append(wire)
            if stage != .silent { wire.send(HostileLink.greeting().bytes) }
            if stage == .offered {
                // Without waiting to be welcomed, as a reader never would: either order has to be survived.
                if number % 2 == 0 { guard wire.handshake() != nil else { continue } }
                wire.send(.offer(attack.device.offer(fetch: ends, serve: [])))
            }
            if number == 100 || number == 999 { newcomer(&verdict, "after \(number + 1) of them") }
        }
        verdict.notes.append("\(unconnected) were not let in")
        wires = Array(wires.suffix(100))
        for wire in wires { verdict.expect(wire.closes(limitMs: 30_000), "a half-open handshake stays open") }
        return verdict
    }

    /// Whole links, more than one host may have.
    private func manyLinks() throws -> Verdict {
        var verdict = Verdict()
        var links: [HostileLink] = []
        let all = try attack.options.number("links", 1024)
        while links.count < all, let link = try? HostileLink(attack.device, to: attack.place, fetch: 1) {
            links.append(link)
        }
        verdict.notes.append("\(links.count) of \(all) links were given")
        verdict.expect(links.count > 8, "not even 9 links are given")
        verdict.expect(links.count < all / 2, "one host may have most links")
        newcomer(&verdict, "meanwhile")
        return verdict
    }

    /// The source connects to us as a reader would, and is answered badly at every step.
    private func parents() throws -> Verdict {
        var verdict = Verdict()
        let guide = try HostileLink(attack.device, to: attack.place)
        let host = "\(attack.device.gid.gid)"
        guard let place = SocketAddress(hostAndPort: "\(host):0") else {
            throw TransportError(.badAddress, host)
        }
        let listener = try Sockets.listen(on: place, kind: .stream, backlog: 16)
        let port = try Sockets.port(of: listener.raw)
        let welcome = HandshakeFrame(
            .welcome, number: .make(), identity: HostileLink.identity(), readsPerLinkMax: 64)
        let steps: [(String, (HostileWire) throws -> Void)] = [
            ("says nothing", { _ in }),
            ("says garbage", { $0.send(Array(repeating: 0xA5, count: 900)) }),
            ("refuses", { $0.send(HandshakeFrame(.refusal, detail: 200).bytes) }),
            ("greets back", { $0.send(HostileLink.greeting().bytes) }),
            ("welcomes, then says nothing", { $0.send(welcome.bytes) }),
            ("welcomes twice", { $0.send(welcome.bytes + welcome.bytes) }),
            ("answers with an offer", { wire in try self.answer(wire, welcome) { _, offer in .offer(offer) } }),
            ("is ready at once", { wire in try self.answer(wire, welcome) { _, _ in .ready } }),
            ("revokes at once", { wire in try self.answer(wire, welcome) { _, _ in .revoke(export: 1) } }),
            ("declines without a reason", { wire in try self.answer(wire, welcome) { _, _ in .declined(255) } }),
            (
                "answers with too few queue pairs",
                { wire in
                    try self.answer(wire, welcome) { _, offer in
                        var offer = offer
                        offer.serveEnds = []
                        return .answer(offer)
                    }
                }
            ),
            (
                "answers from nobody's address",
                { wire in
                    try self.answer(wire, welcome) { theirs, offer in
                        var offer = offer
                        offer.serveEnds = theirs.fetchEnds
                        offer.fetchEnds = theirs.serveEnds
                        offer.gid = (0, 0xFFFF_0A09_00C8)
                        return .answer(offer)
                    }
                }
            ),
            (
                "answers with queue pairs that do not exist",
                { wire in
                    try self.answer(wire, welcome) { theirs, offer in
                        var offer = offer
                        offer.serveEnds = theirs.fetchEnds
                        offer.fetchEnds = theirs.serveEnds
                        return .answer(offer)
                    }
                }
            ),
        ]
        for (what, step) in steps {
            guide.wire.say("dial rdma:\(host):\(port)")
            let untilNs = MonotonicClock.nowNs() + 10_000_000_000
            var accepted: HostileWire?
            while accepted == nil, MonotonicClock.nowNs() < untilNs {
                if let socket = try Sockets.accept(listener.raw) { accepted = HostileWire(socket) }
                // Pings are answered meanwhile.
                _ = guide.wire.next(limitMs: 5)
            }
            guard let accepted else { throw TransportError(.timedOut, "the source did not connect to us") }
            guard accepted.handshake()?.kind == .greeting else {
                throw TransportError(.protocolBroken, "no greeting")
            }
            try step(accepted)
            let closingNs = MonotonicClock.nowNs() + 20_000_000_000
            var isClosed = false
            while !isClosed, MonotonicClock.nowNs() < closingNs {
                isClosed = accepted.closes(limitMs: 300)
                _ = guide.wire.next(limitMs: 5)
            }
            verdict.expect(isClosed, "a parent that \(what) keeps its reader")
        }
        newcomer(&verdict, "afterwards")
        return verdict
    }

    /// Welcomes, takes the offer, and says something.
    private func answer(
        _ wire: HostileWire, _ welcome: HandshakeFrame, _ frame: (LinkOffer, LinkOffer) -> VerbsFrame
    ) throws {
        wire.send(welcome.bytes)
        guard case .frame(.offer(let theirs)) = wire.next() else { throw TransportError(.protocolBroken, "no offer") }
        wire.send(frame(theirs, attack.device.offer(fetch: [], serve: [])))
    }

    private func replays() throws -> Verdict {
        var verdict = Verdict()
        // The same greeting while its link is up.
        let nonce = RandomNumber.make()
        let first = try HostileWire(to: attack.place)
        first.send(HostileLink.greeting(nonce: nonce).bytes)
        verdict.expect(first.handshake()?.kind == .welcome, "no welcome")
        let second = try HostileWire(to: attack.place)
        second.send(HostileLink.greeting(nonce: nonce).bytes)
        verdict.expect(second.handshake()?.kind != .welcome, "a repeated greeting is welcomed")
        // The same offer twice on one link.
        let end = try attack.device.end()
        let offer = attack.device.offer(fetch: [end], serve: [])
        first.send(.offer(offer))
        first.send(.offer(offer))
        verdict.expect(first.closes(limitMs: 20_000), "a repeated offer leaves the link open")
        // A whole handshake once more, with the ends of a link that is up: that one goes on.
        let up = try HostileLink(attack.device, to: attack.place)
        let lease = try up.lease(offset: 0, lengthBytes: 4096)
        let copy = try HostileWire(to: attack.place)
        copy.send(HostileLink.greeting().bytes)
        verdict.expect(copy.handshake()?.kind == .welcome, "no welcome")
        copy.send(.offer(attack.device.offer(fetch: up.fetch, serve: [])))
        _ = copy.next()
        copy.send(.ready)
        let status = try attack.device.shoot(up.end(for: lease), at: lease.address, lengthBytes: 64, key: lease.key)
        verdict.count(status)
        verdict.expect(status == .success, "a copied handshake broke the link it was copied from")
        newcomer(&verdict, "afterwards")
        return verdict
    }

    /// Links that are up and then say and read nothing any more.
    private func noAnswers() throws -> Verdict {
        var verdict = Verdict()
        let links = try (0..<8).map { _ in try HostileLink(attack.device, to: attack.place) }
        for link in links { link.wire.isPolite = false }
        MonotonicClock.sleep(ns: 1_000_000_000)
        newcomer(&verdict, "meanwhile")
        for link in links { verdict.expect(link.wire.closes(limitMs: 30_000), "a link that answers nothing stays up") }
        return verdict
    }

    /// 32 MiB of frames whose answers are not read.
    private func flood(_ frames: [VerbsFrame]) throws -> Verdict {
        var verdict = Verdict()
        let link = try HostileLink(attack.device, to: attack.place)
        var burst: [UInt8] = []
        while burst.count < 1 << 20 { for frame in frames { burst += HostileWire.framed(frame.bytes) } }
        var sent = 0
        for _ in 0..<32 {
            guard link.wire.send(burst, limitMs: 8000) else { break }
            sent += 1
        }
        verdict.notes.append("\(sent) MiB were taken")
        newcomer(&verdict, "afterwards")
        return verdict
    }

    /// Says of exports that it has stopped: of those it never had, twice, and with counts that no counter holds.
    private func falseStops() throws -> Verdict {
        var verdict = Verdict()
        let link = try HostileLink(attack.device, to: attack.place)
        for export in 0..<2000 { link.wire.send(.stopped(export: UInt64(export), readBytes: .max)) }
        for _ in 0..<4 {
            let lease = try link.lease(offset: 0, lengthBytes: 4096)
            link.wire.send(.stopped(export: lease.export, readBytes: .max))
            link.wire.say("done \(lease.export)")
            while case .frame(let frame) = link.wire.next(limitMs: 3000) {
                guard frame == .revoke(export: lease.export) else { continue }
                link.wire.send(.stopped(export: lease.export, readBytes: .max))
                link.wire.send(.stopped(export: lease.export, readBytes: .max))
                break
            }
        }
        newcomer(&verdict, "afterwards")
        return verdict
    }

    /// Messages for the source's user, whose answers are not read.
    private func messages() throws -> Verdict {
        var verdict = Verdict()
        let link = try HostileLink(attack.device, to: attack.place)
        let message = HostileWire.framed(
            [VerbsFrame.messageKind] + Array("check ".utf8) + Array(repeating: 32, count: 60_000))
        let small = HostileWire.framed([VerbsFrame.messageKind] + Array("lease 0 9999999999".utf8))
        var burst: [UInt8] = []
        for _ in 0..<16 { burst += message }
        while burst.count < 2 << 20 { burst += small }
        var sent = 0
        for _ in 0..<8 {
            guard link.wire.send(burst, limitMs: 8000) else { break }
            sent += 2
        }
        verdict.notes.append("\(sent) MiB were taken")
        newcomer(&verdict, "afterwards")
        return verdict
    }
}

/// A generator with a seed.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
