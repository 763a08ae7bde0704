import Artifacts
import Foundation
import Testing
import Transport
import TransportVerbs
import Verbs
import VerbsDouble

extension VerbsScripts {
    /// Random operations and random faults of the devices, from a seed.
    @Suite struct RandomFaults {
        /// A read that was posted and has not ended: where it lands, and what must be there if it succeeds.
        private struct Posted {
            let host: Int
            let link: LinkID
            let slot: Int
            let expected: [UInt8]?
            /// Posted after the link's end, which may have been reported or not.
            let isLate: Bool
        }

        private struct Linked {
            let hosts: (Int, Int)
            let links: (LinkID, LinkID)
        }

        private static let slotBytes = 16 << 10
        private static let slots = 256
        private static let quietByte: UInt8 = 0xEE

        /// The lower half of each memory is read by others, the upper half is cut into slots that reads land in. A slot
        /// without a posted read is filled with one byte, and must be found so.
        private final class World {
            let script: Script
            let hosts: [ContractHost]
            var generator: SeededGenerator
            var links: [Linked] = []
            var exports: [(host: Int, link: LinkID, export: Export, offset: Int, length: Int)] = []
            var posted: [UInt64: Posted] = [:]
            var free: [[Int]]
            var looked: [Int]
            var lastTag: UInt64 = 0
            var succeeded = 0
            var ended = 0
            var isUp: [Bool]
            private let quiet = [UInt8](repeating: RandomFaults.quietByte, count: RandomFaults.slotBytes)

            init(_ script: Script, seed: UInt64) throws {
                self.script = script
                hosts = [script.child, script.parent, try script.bench.host("third")]
                generator = SeededGenerator(seed: seed)
                free = hosts.map { _ in Array(0..<RandomFaults.slots) }
                looked = hosts.map { _ in 0 }
                isUp = hosts.map { _ in true }
                for (number, host) in hosts.enumerated() {
                    host.fill(seed: seed &+ UInt64(number))
                    for slot in 0..<RandomFaults.slots { bytes(number, slot).initialize(to: RandomFaults.quietByte) }
                }
            }

            func device(_ host: Int) -> String { "double\(host)" }

            func bytes(_ host: Int, _ slot: Int) -> Slice<UnsafeMutableRawBufferPointer> {
                let begin = ContractHost.memoryBytes / 2 + slot * RandomFaults.slotBytes
                return hosts[host].bytes[begin..<(begin + RandomFaults.slotBytes)]
            }

            func random(_ count: Int) -> Int { Int.random(in: 0..<count, using: &generator) }

            /// Takes note of what the hosts reported since the last look.
            func look() {
                for (number, host) in hosts.enumerated() {
                    for event in host.seen.events[looked[number]...] {
                        switch event {
                        case .read(let link, let tag, let failure): ended(number, link, tag, failure)
                        case .down(let link, _): wentDown(number, link)
                        default: break
                        }
                    }
                    looked[number] = host.seen.events.count
                }
            }

            private func ended(_ host: Int, _ link: LinkID, _ tag: UInt64, _ failure: TransportError.Code?) {
                guard let read = posted.removeValue(forKey: tag) else {
                    Issue.record("read \(tag) completed twice or was never posted")
                    return
                }
                #expect(read.host == host && read.link == link)
                let slot = bytes(host, read.slot)
                if failure == nil {
                    succeeded += 1
                    let isRight = read.expected.map { slot.prefix($0.count).elementsEqual($0) } ?? false
                    #expect(isRight, "read \(tag) succeeded with other bytes")
                }
                // From here on nothing may land there.
                slot.initialize(to: RandomFaults.quietByte)
                free[host].append(read.slot)
                ended += 1
            }

            private func wentDown(_ host: Int, _ link: LinkID) {
                #expect(
                    !posted.values.contains { $0.host == host && $0.link == link && !$0.isLate },
                    "\(link) went down before its reads had completed")
                links.removeAll {
                    ($0.hosts.0 == host && $0.links.0 == link) || ($0.hosts.1 == host && $0.links.1 == link)
                }
                exports.removeAll { $0.host == host && $0.link == link }
            }

            /// One link more, if the devices let it come up.
            func link() {
                let one = random(3)
                let other = (one + 1 + random(2)) % 3
                guard links.count < 6 else { return }
                let before = hosts[other].seen.up(inbound: true).count
                guard let link = try? script.bench.connect(hosts[one], to: hosts[other], limitNs: 100_000_000) else {
                    return
                }
                let isDecided = script.bench.pump {
                    look()
                    for device in 0..<3 { script.double.release(self.device(device)) }
                    return hosts[one].seen.up(inbound: false).contains { $0.0 == link }
                        && hosts[other].seen.up(inbound: true).count > before
                        || hosts[one].seen.down(link) != nil
                }
                #expect(isDecided, "a link came neither up nor down")
                guard hosts[one].seen.down(link) == nil, hosts[other].seen.up(inbound: true).count > before else {
                    return
                }
                let theirs = hosts[other].seen.up(inbound: true)[hosts[other].seen.up(inbound: true).count - 1].0
                guard hosts[other].seen.down(theirs) == nil else { return }
                links.append(Linked(hosts: (one, other), links: (link, theirs)))
            }

            func end(_ some: Linked) -> (host: Int, link: LinkID, far: Int, farLink: LinkID) {
                random(2) == 0
                    ? (some.hosts.0, some.links.0, some.hosts.1, some.links.1)
                    : (some.hosts.1, some.links.1, some.hosts.0, some.links.0)
            }

            func export() {
                guard let some = links.randomElement(using: &generator) else { return }
                let end = end(some)
                let length = 1 + random(60_000)
                let offset = random(ContractHost.memoryBytes / 2 - length)
                guard let export = try? hosts[end.host].exportMemory(offset, length, to: end.link) else { return }
                exports.append((end.host, end.link, export, offset, length))
            }

            func revoke() {
                guard let place = exports.indices.randomElement(using: &generator) else { return }
                let export = exports.remove(at: place)
                hosts[export.host].transport.revoke(export.export.id)
            }

            func read() {
                guard let some = exports.randomElement(using: &generator),
                    let linked = links.first(where: {
                        $0.hosts.0 == some.host && $0.links.0 == some.link
                            || $0.hosts.1 == some.host && $0.links.1 == some.link
                    })
                else { return }
                let isFirst = linked.hosts.0 == some.host && linked.links.0 == some.link
                let host = isFirst ? linked.hosts.1 : linked.hosts.0
                let link = isFirst ? linked.links.1 : linked.links.0
                guard let slot = free[host].popLast() else { return }
                let length = 1 + random(min(some.length, RandomFaults.slotBytes))
                let remote = random(some.length - length + 1)
                lastTag += 1
                let isLate = script.verbs(hosts[host]).inspect(link) == nil
                let taken = hosts[host].post(
                    link, some.export.key, remote: UInt64(remote),
                    local: ContractHost.memoryBytes / 2 + slot * RandomFaults.slotBytes, length: length, tag: lastTag)
                guard taken == 1 else { return free[host].append(slot) }
                let begin = some.offset + remote
                posted[lastTag] = Posted(
                    host: host, link: link, slot: slot, expected: hosts[some.host].contents(begin..<(begin + length)),
                    isLate: isLate)
            }

            /// Something a device does.
            func fault() {
                let host = random(3)
                let device = device(host)
                let double = script.double
                let link = links.randomElement(using: &generator)
                let number = link.flatMap { some -> UInt32? in
                    let end = end(some)
                    let pairs = script.verbs(hosts[end.host]).inspect(end.link)
                    return pairs.flatMap { ($0.fetchQueuePairs + $0.serveQueuePairs).randomElement(using: &generator) }
                }
                let statuses: [CompletionStatus] = [.retriesExceeded, .remoteAccess, .localProtection, .general]
                switch random(15) {
                case 0, 1: double.hold(device)
                case 2:
                    double.release(
                        device, countMax: 1 + random(8), order: [.asMade, .reversed, .interleaved][random(3)])
                case 3: double.release(device)
                case 4: if let number { double.stick(queuePair: number) }
                case 5: if let number { double.unstick(queuePair: number) }
                case 6: if let number { double.breakQueuePair(number) }
                case 7: if let number { double.endNext(queuePair: number, with: statuses[random(4)]) }
                case 8: double.failPosting(on: device, taken: random(6), errorNumber: random(2) == 0 ? ENOMEM : EINVAL)
                case 9: double.fail(.register, on: device, nth: 1 + random(3), errorNumber: ENOMEM)
                case 10: double.fail(.modifyPair, on: device, nth: 1 + random(6), errorNumber: EINVAL)
                case 11: double.fail([.makePair, .makeWindow][random(2)], on: device, errorNumber: ENOMEM)
                case 12:
                    double.setPort(device, isUp: !isUp[host])
                    isUp[host].toggle()
                case 13:
                    double.setSilent(device, true)
                    turns(3)
                    double.setSilent(device, false)
                default:
                    double.remove(device)
                    turns(2)
                    double.release(device)
                    double.add(DoubleDevice(device, host: UInt8(host + 1)))
                    isUp[host] = true
                }
            }

            func turns(_ count: Int) {
                for _ in 0..<count {
                    script.bench.turn([hosts[random(3)]], limit: 1 + random(64))
                    look()
                }
            }

            /// Everything that scripts hold back goes on; every read ends, every device is there again.
            func settle() {
                for host in 0..<3 where !isUp[host] { script.double.setPort(device(host), isUp: true) }
                let isQuiet = script.bench.pump {
                    for host in 0..<3 { script.double.release(device(host)) }
                    for linked in links {
                        for end in [(linked.hosts.0, linked.links.0), (linked.hosts.1, linked.links.1)] {
                            guard let pairs = script.verbs(hosts[end.0]).inspect(end.1) else { continue }
                            for number in pairs.fetchQueuePairs + pairs.serveQueuePairs {
                                script.double.unstick(queuePair: number)
                            }
                        }
                    }
                    look()
                    return posted.isEmpty && hosts.allSatisfy { script.verbs($0).deviceObjection == nil }
                }
                #expect(isQuiet, "\(posted.count) reads have not ended")
            }

            /// Slots that no read is posted into are as they were left.
            func checkQuiet() {
                for host in hosts.indices {
                    let isQuiet = free[host].allSatisfy { slot in
                        memcmp(UnsafeRawBufferPointer(rebasing: bytes(host, slot)).baseAddress!, quiet, quiet.count)
                            == 0
                    }
                    #expect(isQuiet, "bytes landed where no read was posted")
                }
            }
        }

        @Test(arguments: Array(1...8) as [UInt64], [VerbsConfiguration.Lease.window, .region])
        func randomFaultsKeepTheContract(_ seed: UInt64, _ lease: VerbsConfiguration.Lease) throws {
            try Script.run(
                lease: lease, bounds: ContractBounds(linksMax: 64),
                adjust: {
                    $0.drainLimitNs = 15_000_000
                    $0.revokeLimitNs = 5_000_000
                    $0.livenessIntervalNs = 20_000_000
                    $0.stallLimitNs = 60_000_000
                    $0.handshakeLimitNs = 200_000_000
                    $0.workRequestBytes = 4096
                    $0.workRequestsPerLaneMax = 4096
                }
            ) { script in
                let world = try World(script, seed: seed)
                for step in 0..<300 {
                    switch world.random(20) {
                    case 0, 1: world.link()
                    case 2..<5: world.export()
                    case 5: world.revoke()
                    case 6..<13: world.read()
                    case 13 where step > 20: world.fault()
                    case 14 where world.links.count > 3:
                        if let some = world.links.randomElement(using: &world.generator) {
                            let end = world.end(some)
                            world.hosts[end.host].transport.close(end.link)
                        }
                    default: world.turns(3)
                    }
                    world.look()
                }
                world.settle()
                world.checkQuiet()
                // Nothing that was done keeps a next link from its work.
                world.script.double.release("double0")
                for host in world.hosts { host.shutdown() }
                world.look()
                #expect(world.posted.isEmpty)
                world.checkQuiet()
                #expect(world.ended > 10 && world.succeeded > 5, "the test has hardly read anything")
                for host in world.hosts { #expect(script.verbs(host).requestsOutstandingCount == 0) }
            }
        }
    }
}

extension Slice where Base == UnsafeMutableRawBufferPointer {
    fileprivate func initialize(to byte: UInt8) {
        UnsafeMutableRawBufferPointer(rebasing: self).initializeMemory(as: UInt8.self, repeating: byte)
    }
}
