import System
import Transport
import TransportVerbs
import Verbs

/// What a case came to.
struct Verdict {
    /// How requests ended, and how often.
    var ends: [String: Int] = [:]
    /// What went against what has to be; empty when all held.
    var objections: [String] = []
    var notes: [String] = []

    mutating func count(_ status: CompletionStatus?) { ends[status.map { "\($0)" } ?? "nothing", default: 0] += 1 }

    /// Notes how a request ended that has to be refused by the far side.
    mutating func refused(_ what: String, _ status: CompletionStatus?) {
        count(status)
        guard status != .remoteAccess, status != .remoteInvalidRequest, status != .remoteOperation else { return }
        objections.append("\(what) ended with \(status.map { "\($0)" } ?? "nothing")")
    }

    mutating func expect(_ holds: Bool, _ what: @autoclosure () -> String) { if !holds { objections.append(what()) } }

    var endsText: String { ends.sorted { $0.key < $1.key }.map { "\($0.value) × \($0.key)" }.joined(separator: ", ") }
}

/// What a hostile reader tries against a source's memory, case by case.
struct Attack {
    let options: Options
    let device: HostileDevice
    /// The source's control streams, and the same by another way: as another host would come.
    let place: String
    let otherPlace: String
    let slotBytes: Int
    let slots: Int
    let reference: SeededMemory
    /// The leases are windows, whose range this device need not enforce.
    let isWindow: Bool
    let sweepKeys: Int

    init(_ options: Options) throws {
        self.options = options
        device = try HostileDevice(try options.text("device"))
        place = try options.text("source")
        otherPlace = try options.text("other-way", place)
        slots = try options.number("slots", 16)
        slotBytes = try options.number("slot-bytes", 1 << 20)
        reference = SeededMemory(
            seed: UInt64(try options.number("seed", 1)), lengthBytes: slots * slotBytes)
        isWindow = try options.text("leases", "region") == "window"
        sweepKeys = try options.number("sweep", 2048)
    }

    func run() throws {
        let memory: [(String, () throws -> Verdict)] = [
            ("a lease is read", leaseIsRead),
            ("an ended lease", endedLease),
            ("outside the range", outsideRange),
            ("a stolen key", stolenKey),
            ("WRITEs", writes),
            ("a reader's own queue pairs", fetchQueuePairs),
            ("forged keys", forgedKeys),
        ]
        let handshakes = HandshakeAttack(attack: self).cases
        let wanted = try options.text("cases", "all")
        tell("ready")
        let chosen = wanted == "all" ? [] : wanted.split(separator: ",")
        for (name, body) in memory + handshakes
        where chosen.isEmpty || chosen.contains(where: { name.contains($0) }) {
            tell("begin", ("case", name))
            let fromNs = MonotonicClock.nowNs()
            var verdict: Verdict
            do { verdict = try body() } catch {
                verdict = Verdict()
                verdict.objections.append("could not be tried: \(error)")
            }
            tell(
                "case", ("case", name), ("ok", verdict.objections.isEmpty), ("ends", verdict.endsText),
                ("objections", verdict.objections.joined(separator: "; ")),
                ("notes", verdict.notes.joined(separator: "; ")),
                ("took", (MonotonicClock.nowNs() - fromNs) / 1_000_000))
        }
    }

    func link(fetch: Int = 2, serve: Int = 0) throws -> HostileLink {
        try HostileLink(device, to: place, fetch: fetch, serve: serve)
    }

    /// Whether the bytes of the last READ are those of the source at an offset.
    func isRight(_ offset: Int, _ lengthBytes: Int) -> Bool {
        (0..<lengthBytes).allSatisfy {
            device.sink.base.load(fromByteOffset: $0, as: UInt8.self)
                == reference.base.load(fromByteOffset: offset + $0, as: UInt8.self)
        }
    }

    private func checkSource(_ verdict: inout Verdict) throws {
        let different = try link().check()
        verdict.expect(different == 0, "\(different) bytes of the source have changed")
    }

    // MARK: Cases

    private func leaseIsRead() throws -> Verdict {
        var verdict = Verdict()
        let link = try link()
        let lease = try link.lease(offset: 3 * slotBytes, lengthBytes: slotBytes)
        for (offset, length) in [(0, 4096), (slotBytes / 2 + 13, 1000), (slotBytes - 4096, 4096)] {
            let status = try device.shoot(
                link.end(for: lease), at: lease.address + UInt64(offset), lengthBytes: length, key: lease.key)
            verdict.count(status)
            verdict.expect(status == .success, "a READ within the lease ended otherwise")
            verdict.expect(isRight(3 * slotBytes + offset, length), "a READ within the lease brought wrong bytes")
        }
        return verdict
    }

    /// Ignores REVOKE and never says that it has stopped.
    private func endedLease() throws -> Verdict {
        var verdict = Verdict()
        let link = try link()
        let bystander = try self.link()
        let kept = try bystander.lease(offset: 0, lengthBytes: 4096)
        let lease = try link.lease(offset: 5 * slotBytes, lengthBytes: slotBytes)
        link.wire.say("done \(lease.export)")
        guard case .frame(.revoke(lease.export)) = link.wire.next() else {
            verdict.objections.append("the source did not ask for its lease")
            return verdict
        }
        let fromNs = MonotonicClock.nowNs()
        var last: CompletionStatus? = .success
        var reads = 0
        while last == .success, MonotonicClock.nowNs() - fromNs < 20_000_000_000 {
            last = try device.shoot(link.end(for: lease), at: lease.address, lengthBytes: 64, key: lease.key)
            reads += 1
            // Pings are answered: this is a process that lives.
            _ = link.wire.next(limitMs: 20)
        }
        verdict.refused("a READ after the lease's end", last)
        verdict.notes.append(
            "cut off after \((MonotonicClock.nowNs() - fromNs) / 1_000_000) ms and \(reads) READs that ignored REVOKE")
        if lease.lane == nil {
            let other = try device.shoot(link.fetch[1], at: lease.address, lengthBytes: 64, key: lease.key)
            verdict.refused("a READ after the lease's end by the link's other queue pair", other)
        }
        // By a fresh link too.
        let fresh = try self.link()
        verdict.refused(
            "a READ after the lease's end by a later link",
            try device.shoot(fresh.fetch[0], at: lease.address, lengthBytes: 64, key: lease.key))
        verdict.expect(
            try device.shoot(bystander.end(for: kept), at: kept.address, lengthBytes: 64, key: kept.key) == .success,
            "another link's lease no longer holds")
        return verdict
    }

    private func outsideRange() throws -> Verdict {
        var verdict = Verdict()
        let length = slotBytes / 4
        let start = 8 * slotBytes
        let tries: [(String, Int, Int)] = [
            ("before", -4096, 64), ("one byte before", -1, 1), ("across the beginning", -32, 64),
            ("across the end", length - 32, 64), ("one byte behind", length, 1), ("behind", length + 4096, 64),
            ("the slot before", -slotBytes, 4096), ("the next slot", slotBytes, 4096),
            ("everything from before to behind", -4096, length + 8192), ("the first slot", -start, 4096),
            ("outside all memory", -start - (1 << 20), 64),
        ]
        var within: [String] = []
        for (what, offset, count) in tries {
            let link = try link()
            let lease = try link.lease(offset: start, lengthBytes: length)
            let status = try device.shoot(
                link.end(for: lease), at: UInt64(Int64(lease.address) + Int64(offset)), lengthBytes: count,
                key: lease.key)
            if isWindow, status == .success, what != "outside all memory" {
                verdict.count(status)
                within.append(what)
            } else {
                verdict.refused("a READ \(what)", status)
            }
        }
        if isWindow {
            verdict.notes.append(
                within.isEmpty
                    ? "this device's windows enforce their range"
                    : "this device's windows do not enforce their range (\(within.count) of \(tries.count) READs passed)"
            )
        }
        return verdict
    }

    private func stolenKey() throws -> Verdict {
        var verdict = Verdict()
        let victim = try link()
        let lease = try victim.lease(offset: 6 * slotBytes, lengthBytes: slotBytes)
        let victimWord = victim.theirs!
        for lane in 0..<2 {
            let thief = try link()
            verdict.refused(
                "a READ with another link's key",
                try device.shoot(thief.fetch[lane], at: lease.address, lengthBytes: 64, key: lease.key))
        }
        if let lane = lease.lane {
            // A window holds for one queue pair, not for its link.
            let status = try device.shoot(
                victim.fetch[1 - lane], at: lease.address, lengthBytes: 64, key: lease.key)
            verdict.refused("a READ by the link's other queue pair", status)
        }
        if !isWindow {
            let thief = try link()
            verdict.refused(
                "a READ of another link's generation word",
                try device.shoot(
                    thief.fetch[0], at: victimWord.wordAddress, lengthBytes: 8, key: victimWord.wordKey))
        }
        let own = try device.shoot(victim.end(for: lease), at: lease.address, lengthBytes: 64, key: lease.key)
        verdict.count(own)
        verdict.expect(own == .success, "the robbed link's own READ failed")
        return verdict
    }

    private func writes() throws -> Verdict {
        var verdict = Verdict()
        for what in ["the leased memory", "its neighbour", "the generation word", "the lease with the word's key"] {
            let link = try link()
            let lease = try link.lease(offset: 7 * slotBytes, lengthBytes: slotBytes)
            let word = link.theirs!
            let (address, key): (UInt64, UInt32) =
                switch what {
                case "the leased memory": (lease.address, lease.key)
                case "its neighbour": (lease.address + UInt64(slotBytes), lease.key)
                case "the generation word": (word.wordAddress, word.wordKey)
                default: (lease.address, word.wordKey)
                }
            let end = link.end(for: lease)
            device.sink.base.storeBytes(of: 0xEEEE_EEEE_EEEE_EEEE, as: UInt64.self)
            verdict.refused(
                "a WRITE to \(what)", try device.shoot(end, write: true, at: address, lengthBytes: 8, key: key))
        }
        try checkSource(&verdict)
        return verdict
    }

    /// A hostile parent: the source is made to connect to us, as a reader would, and we reach back through its own
    /// queue pairs.
    private func fetchQueuePairs() throws -> Verdict {
        var verdict = Verdict()
        let guide = try link()
        let known = try guide.lease(offset: 0, lengthBytes: 4096)
        let address = "\(device.gid.gid):0"
        guard let place = SocketAddress(hostAndPort: address) else {
            throw TransportError(.badAddress, address)
        }
        let listener = try Sockets.listen(on: place, kind: .stream, backlog: 4)
        let port = try Sockets.port(of: listener.raw)
        for round in 0..<12 {
            guide.wire.say("dial rdma:\(device.gid.gid):\(port)")
            let untilNs = MonotonicClock.nowNs() + 10_000_000_000
            var accepted: HostileWire?
            while accepted == nil, MonotonicClock.nowNs() < untilNs {
                if let socket = try Sockets.accept(listener.raw) { accepted = HostileWire(socket) }
                MonotonicClock.sleep(ns: 1_000_000)
            }
            guard let accepted else { throw TransportError(.timedOut, "the source did not connect to us") }
            let link = try HostileLink(device, accepting: accepted)
            // Its readiness to READ from us has been shown; now we turn round.
            for (lane, end) in link.serve.enumerated() {
                let isWrite = lane % 2 == 1
                let (target, key): (UInt64, UInt32) =
                    switch round {
                    case 0: (link.theirs.wordAddress, link.theirs.wordKey)
                    case 1: (known.address, known.key)
                    // Keys of memory that it READs into are near those it has given out.
                    default: (known.address, (link.theirs.wordKey >> 8 &- UInt32(round)) << 8 | UInt32(round * 21))
                    }
                let status = try device.shoot(end, write: isWrite, at: target, lengthBytes: 8, key: key)
                verdict.refused("a \(isWrite ? "WRITE" : "READ") to a reader's queue pair", status)
            }
        }
        try checkSource(&verdict)
        return verdict
    }

    /// Keys near those that are good: the same region's other variants, and its neighbours in the device's table.
    private func forgedKeys() throws -> Verdict {
        var verdict = Verdict()
        let victim = try link()
        let lease = try victim.lease(offset: 2 * slotBytes, lengthBytes: slotBytes)
        var tried = 0
        var hits = 0
        while tried < sweepKeys {
            // Pings are answered meanwhile.
            _ = victim.wire.next(limitMs: 5)
            let link = try link(fetch: VerbsConfiguration.lanesMax)
            for end in link.fetch {
                // Alternating: variants of the same entry; then neighbours, each with many variants.
                let turn = tried / 2
                let key =
                    tried % 2 == 0
                    ? lease.key & ~0xFF | UInt32(turn & 0xFF)
                    : (lease.key >> 8 &+ UInt32(turn % 64) &- 32) << 8 | UInt32((turn / 64 * 37) & 0xFF)
                tried += 1
                let status = try device.shoot(end, at: lease.address, lengthBytes: 64, key: key)
                verdict.refused("a READ with key \(String(key, radix: 16))", status)
                if status == .success { hits += 1 }
            }
        }
        verdict.notes.append("\(tried) keys, \(hits) of them open something")
        let own = try device.shoot(victim.end(for: lease), at: lease.address, lengthBytes: 64, key: lease.key)
        verdict.expect(own == .success, "the lease itself no longer holds")
        return verdict
    }
}
