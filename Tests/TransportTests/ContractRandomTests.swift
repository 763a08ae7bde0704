import Artifacts
import Testing
import Transport

/// The contract of `PieceTransport` under ten thousand random operations from a seed.
@Suite(.serialized) struct ContractRandomTests {
    private struct Exported {
        let host: Int
        let link: LinkID
        let export: Export
        let offset: Int
        let length: Int
        var isRevoked = false
    }

    private struct Posted {
        let host: Int
        let link: LinkID
        let source: Int
        let remote: Int
        let local: Int
        let length: Int
        /// Nil when no key of this link covers it: it must not succeed.
        let expected: [UInt8]?
    }

    private static let slotBytes = 4096
    private static let slots = 1024

    /// Three hosts link, talk, export, read, revoke and close at random. The lower half of each memory is only read by
    /// others, the upper half is cut into slots that reads land in.
    @Test(arguments: ContractSubject.all, [11, 12] as [UInt64])
    func randomOperationsKeepTheContract(_ subject: ContractSubject, _ seed: UInt64) throws {
        try withBench(subject) { bench in
            var generator = SeededGenerator(seed: seed)
            let hosts = try (0..<3).map { try bench.host("h\($0)", bounds: ContractBounds(linksMax: 64)) }
            for (number, host) in hosts.enumerated() { host.fill(seed: UInt64(number)) }
            let half = ContractHost.memoryBytes / 2
            var pairs: [(hosts: (Int, Int), links: (LinkID, LinkID))] = []
            var exported: [Exported] = []
            var posted: [UInt64: Posted] = [:]
            var free = (0..<3).map { _ in Array(0..<Self.slots) }
            var nextTag: UInt64 = 0
            var sent: [LinkKey: [[UInt8]]] = [:]
            var succeeded = 0
            var looked = [0, 0, 0]

            /// Checks what the hosts reported since the last look.
            func look() {
                for (number, host) in hosts.enumerated() {
                    for event in host.seen.events[looked[number]...] {
                        guard case .read(let link, let tag, let failure) = event else { continue }
                        guard let read = posted.removeValue(forKey: tag) else {
                            Issue.record("read \(tag) completed twice or was never posted")
                            continue
                        }
                        let isSound = read.host == number && read.link == link
                        #expect(isSound)
                        free[number].append((read.local - half) / Self.slotBytes)
                        guard failure == nil else { continue }
                        succeeded += 1
                        let isRight =
                            read.expected.map { $0 == host.contents(read.local..<(read.local + read.length)) }
                            ?? false
                        #expect(isRight, "read \(tag) succeeded with other bytes")
                    }
                    looked[number] = host.seen.events.count
                }
            }

            for _ in 0..<10_000 {
                switch Int.random(in: 0..<100, using: &generator) {
                case 0 where pairs.count < 6:
                    let one = Int.random(in: 0..<3, using: &generator)
                    let other = (one + Int.random(in: 1...2, using: &generator)) % 3
                    let link = try bench.link(hosts[one], hosts[other])
                    pairs.append(((one, other), (link.child, link.parent)))
                case 1 where pairs.count > 2:
                    let pair = pairs.remove(at: Int.random(in: 0..<pairs.count, using: &generator))
                    let byChild = Bool.random(using: &generator)
                    hosts[byChild ? pair.hosts.0 : pair.hosts.1].transport.close(
                        byChild ? pair.links.0 : pair.links.1)
                    exported.removeAll {
                        [pair.links.0, pair.links.1].contains($0.link)
                            && [pair.hosts.0, pair.hosts.1].contains($0.host)
                    }
                case 2..<12:
                    guard let pair = pairs.randomElement(using: &generator) else { continue }
                    let down = Bool.random(using: &generator)
                    let host = down ? pair.hosts.1 : pair.hosts.0
                    let link = down ? pair.links.1 : pair.links.0
                    let length = Int.random(in: 1...60_000, using: &generator)
                    let offset = Int.random(in: 0...(half - length), using: &generator)
                    do {
                        let export = try hosts[host].exportMemory(offset, length, to: link)
                        exported.append(
                            Exported(host: host, link: link, export: export, offset: offset, length: length))
                    } catch let error as TransportError {
                        #expect(error.code == .limit || error.code == .linkClosed)
                    }
                case 12..<18:
                    guard let place = exported.indices.randomElement(using: &generator) else { continue }
                    let gone = exported.remove(at: place)
                    hosts[gone.host].transport.revoke(gone.export.id)
                case 18..<60:
                    guard let some = exported.randomElement(using: &generator),
                        let pair = pairs.randomElement(using: &generator)
                    else { continue }
                    let up = Bool.random(using: &generator)
                    let reader = up ? pair.hosts.0 : pair.hosts.1
                    let link = up ? pair.links.0 : pair.links.1
                    let theirs = up ? pair.links.1 : pair.links.0
                    let source = up ? pair.hosts.1 : pair.hosts.0
                    guard let slot = free[reader].popLast() else { continue }
                    let isMine = some.host == source && some.link == theirs
                    let length = Int.random(in: 1...Self.slotBytes, using: &generator)
                    let remote = Int.random(in: 0..<(some.length + 100), using: &generator)
                    let isInside = remote + length <= some.length
                    let expected =
                        isMine && isInside
                        ? hosts[source].contents((some.offset + remote)..<(some.offset + remote + length))
                        : nil
                    let local = half + slot * Self.slotBytes
                    let taken = hosts[reader].post(
                        link, some.export.key, remote: UInt64(remote), local: local, length: length,
                        tag: nextTag)
                    if taken == 1 {
                        posted[nextTag] = Posted(
                            host: reader, link: link, source: source, remote: remote, local: local,
                            length: length,
                            expected: expected)
                        nextTag += 1
                    } else {
                        free[reader].append(slot)
                    }
                case 60..<70:
                    guard let pair = pairs.randomElement(using: &generator) else { continue }
                    let up = Bool.random(using: &generator)
                    let message = (0..<Int.random(in: 0...300, using: &generator)).map {
                        UInt8(truncatingIfNeeded: $0)
                    }
                    if hosts[up ? pair.hosts.0 : pair.hosts.1].send(
                        message, on: up ? pair.links.0 : pair.links.1)
                    {
                        sent[
                            LinkKey(
                                host: up ? pair.hosts.1 : pair.hosts.0, link: up ? pair.links.1 : pair.links.0
                            ), default: []
                        ]
                        .append(message)
                    }
                default:
                    bench.turn(
                        [hosts[Int.random(in: 0..<3, using: &generator)]],
                        limit: Int.random(in: 1...64, using: &generator))
                    bench.network.idle()
                }
                look()
            }
            // What was posted ends, on its own or with its link.
            let allPosted = bench.pump {
                look()
                return posted.isEmpty
            }
            #expect(allPosted)
            // Links that are still up have delivered every message, in order.
            let alive = pairs.filter { hosts[$0.hosts.0].seen.down($0.links.0) == nil }
            let areDelivered = bench.pump {
                alive.allSatisfy { pair in
                    [(pair.hosts.0, pair.links.0), (pair.hosts.1, pair.links.1)].allSatisfy {
                        hosts[$0.0].seen.messages($0.1) == sent[LinkKey(host: $0.0, link: $0.1)] ?? []
                    }
                }
            }
            #expect(areDelivered)
            #expect(alive.count > 1)
            #expect(succeeded > 200, "the test has hardly read anything")
            for host in hosts { host.shutdown() }
            for host in hosts { checkOrder(host.seen.events) }
        }
    }

    private struct LinkKey: Hashable {
        let host: Int
        let link: LinkID
    }

    /// Up once, down once, nothing of a link outside that but late completions of reads posted after its end.
    private func checkOrder(_ events: [Recorder.Event]) {
        var state: [LinkID: Bool] = [:]
        var retired: Set<ExportID> = []
        for event in events {
            switch event {
            case .up(let link, _, _):
                #expect(state[link] == nil)
                state[link] = true
            case .down(let link, _):
                #expect(state[link] == true)
                state[link] = false
            case .message(let link, _):
                #expect(state[link] == true)
            case .read(let link, _, let failure):
                #expect(state[link] == true || failure == .linkClosed)
            case .retired(let export):
                #expect(retired.insert(export).inserted)
            }
        }
        #expect(state.values.allSatisfy { !$0 })
    }
}
