import System
import Transport
import TransportVerbs

/// A well-behaved reader: fetches all slots of one or more sources, over and over, and checks every byte.
///
/// A round is one download: each slot is fetched until it was verified once, and never again. Links that go down are
/// dialled anew. Typed: `fail` puts all queue pairs into ERR, `stop` ends it. Safety: of one thread.
final class ReaderProgram {
    private let options: Options
    private var slots: Int
    private let slotBytes: Int
    private let depth: Int
    private let rounds: Int
    private let memory: SeededMemory
    private let reference: SeededMemory
    private let loop: TransportLoop
    /// The memory in equal parts; reads never cross from one to the next.
    private var regions: [RegionID] = []
    private let partBytes: Int

    /// A source, and what goes on with it.
    private struct Source {
        let address: TransportAddress
        var link: LinkID?
        var isUp = false
        var redialNs: UInt64 = 0
        /// Slots asked for on this link and not ended: their export once it is known.
        var asked: [Int: UInt64?] = [:]
    }
    private var sources: [Source] = []
    private var wanted: [Int] = []
    private var verified = 0
    private var round = 0
    private var fetched = 0
    private var wrong = 0
    private var failed = 0
    private var ups = 0
    private var downs = 0

    init(_ options: Options) throws {
        self.options = options
        slots = try options.number("slots", 16)
        slotBytes = try options.number("slot-bytes", 1 << 20)
        depth = try options.number("depth", 4)
        rounds = try options.number("rounds", 0)
        memory = SeededMemory(lengthBytes: slots * slotBytes)
        reference = SeededMemory(seed: UInt64(try options.number("seed", 1)), lengthBytes: slots * slotBytes)
        let transport = try options.transport("reader", listen: nil)
        let parts = try options.number("parts", 1)
        partBytes = slots * slotBytes / parts
        loop = try TransportLoop(transport)
        for part in 0..<parts {
            do throws(TransportError) {
                let base = memory.base + part * partBytes
                regions.append(try transport.register(RegionMemory(base: base, lengthBytes: partBytes)))
            } catch {
                guard part > 0 else {
                    loop.shutdown()
                    throw error
                }
                // It goes on with what it has.
                tell("unregistered", ("registered", part), ("reason", error.description))
                slots = slots / parts * part
                break
            }
        }
        for text in try options.text("from").split(separator: ",") {
            guard let address = TransportAddress(text: String(text)) else {
                throw TransportError(.badAddress, "\(text) is no address")
            }
            sources.append(Source(address: address))
        }
        wanted = Array((0..<slots).reversed())
    }

    func run() throws {
        tell("ready")
        var nextProgressNs: UInt64 = 0
        while !loop.isOver {
            dial()
            ask()
            let (happenings, commands) = loop.turn(limitMs: 50)
            for happening in happenings { take(happening) }
            for command in commands {
                if command == "stop" { return stop() }
                if command == "fail" { loop.transport.failQueuePairs() }
            }
            let nowNs = MonotonicClock.nowNs()
            if nowNs >= nextProgressNs {
                nextProgressNs = nowNs + 100_000_000
                tellProgress("progress")
            }
            if verified == slots {
                round += 1
                tellProgress("round")
                if round == rounds { return stop() }
                verified = 0
                wanted = Array((0..<slots).reversed())
            }
        }
        stop()
    }

    private func stop() {
        loop.shutdown()
        tellProgress("stopped")
    }

    private func tellProgress(_ event: String) {
        tell(
            event, ("round", round), ("verified", verified), ("fetched", fetched), ("wrong", wrong),
            ("failed", failed), ("ups", ups), ("downs", downs),
            ("received", loop.transport.counters.receivedBytes),
            ("reopened", loop.transport.counters.deviceReopenings))
    }

    private func dial() {
        let nowNs = MonotonicClock.nowNs()
        for index in sources.indices where sources[index].link == nil && nowNs >= sources[index].redialNs {
            do throws(TransportError) {
                sources[index].link = try loop.transport.connect(
                    to: sources[index].address, deadlineNs: nowNs + 3_000_000_000)
            } catch {
                sources[index].redialNs = nowNs + 100_000_000
                tell("undialled", ("reason", error.description))
            }
        }
    }

    private func ask() {
        for index in sources.indices where sources[index].isUp {
            while sources[index].asked.count < depth, let slot = wanted.popLast() {
                sources[index].asked[slot] = .some(nil)
                loop.say("lease \(slot * slotBytes) \(slotBytes)", on: sources[index].link!)
            }
        }
    }

    private func take(_ happening: Happening) {
        switch happening {
        case .up(let link, let peer, _):
            guard let index = index(of: link) else { return }
            ups += 1
            sources[index].isUp = true
            tell("up", ("source", index), ("peer", "\(peer.host)"))
        case .down(let link, let reason):
            guard let index = index(of: link) else { return }
            if sources[index].isUp { downs += 1 }
            tell(
                sources[index].isUp ? "down" : "undialled", ("source", index), ("code", "\(reason.code)"),
                ("reason", reason.description), ("verified", verified), ("fetched", fetched))
            wanted += sources[index].asked.keys
            sources[index].asked = [:]
            sources[index].link = nil
            sources[index].isUp = false
            sources[index].redialNs = MonotonicClock.nowNs() + 100_000_000
        case .said(let link, let text): hear(text, link)
        case .read(let completion): ended(completion)
        case .retired: break
        }
    }

    private func index(of link: LinkID) -> Int? { sources.firstIndex { $0.link == link } }

    private func hear(_ text: String, _ link: LinkID) {
        let words = text.split(separator: " ")
        guard let index = index(of: link), words.count > 2, let offset = Int(words[1]) else { return }
        let slot = offset / slotBytes
        guard words[0] == "leased", words.count == 5, let export = UInt64(words[3]),
            let key = bytes(hex: words[4])?.withUnsafeBytes({ RemoteKey($0) }), sources[index].asked[slot] != nil
        else {
            // Refused: another time.
            if sources[index].asked.removeValue(forKey: slot) != nil { wanted.insert(slot, at: 0) }
            return
        }
        sources[index].asked[slot] = .some(export)
        memory.blank(offset: slot * slotBytes, lengthBytes: slotBytes)
        let read = ReadRequest(
            link: link, key: key, remoteOffset: 0, region: regions[slot * slotBytes / partBytes],
            localOffset: UInt64(slot * slotBytes % partBytes),
            lengthBytes: UInt32(slotBytes), tag: UInt64(slot))
        let taken = withUnsafePointer(to: read) { loop.transport.post(UnsafeBufferPointer(start: $0, count: 1)) }
        guard taken == 1 else {
            sources[index].asked[slot] = nil
            wanted.insert(slot, at: 0)
            return loop.say("done \(export)", on: link)
        }
    }

    private func ended(_ completion: ReadCompletion) {
        let slot = Int(completion.tag)
        guard let index = index(of: completion.link), let export = sources[index].asked.removeValue(forKey: slot)
        else { return }
        guard completion.failure == nil else {
            failed += 1
            return wanted.append(slot)
        }
        fetched += 1
        if memory.equals(reference, offset: slot * slotBytes, lengthBytes: slotBytes) {
            verified += 1
        } else {
            wrong += 1
            wanted.append(slot)
            tell("wrong", ("slot", slot))
        }
        if let export { loop.say("done \(export)", on: completion.link) }
    }
}
