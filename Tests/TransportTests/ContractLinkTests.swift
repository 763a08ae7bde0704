import Artifacts
import Testing
import Transport

/// The contract of `PieceTransport`: how links come and go.
@Suite(.serialized) struct ContractLinkTests {
    @Test(arguments: ContractSubject.all)
    func aLinkComesUpWithBothIdentities(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            #expect(
                child.seen.events == [
                    .up(
                        link.child, LinkIdentity(host: HostID("parent")!, incarnation: 8, cluster: "test"),
                        inbound: false)
                ])
            #expect(
                parent.seen.events == [
                    .up(
                        link.parent, LinkIdentity(host: HostID("child")!, incarnation: 7, cluster: "test"),
                        inbound: true)
                ])
            #expect(child.transport.counters.linksUp == 1)
            #expect(parent.transport.counters.linksUp == 1)
        }
    }

    @Test(arguments: ContractSubject.all)
    func anotherClusterIsRefused(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child", cluster: "blue")
            let parent = try bench.host("parent", cluster: "green")
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            bench.settle()
            #expect(child.seen.events == [.down(link, .wrongCluster)])
            #expect(parent.seen.events == [])
        }
    }

    @Test(arguments: ContractSubject.all)
    func aDeadAddressIsRefused(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            // Some transports know at once, some later; both say the same.
            do {
                let link = try child.transport.connect(
                    to: bench.network.deadAddress, deadlineNs: bench.nowNs + 20_000_000_000)
                #expect(bench.pump { child.seen.down(link) != nil })
                #expect(child.seen.events == [.down(link, .refused)])
            } catch let error as TransportError {
                #expect(error.code == .refused)
            }
        }
    }

    @Test(arguments: ContractSubject.all)
    func anAddressOfAnotherKindIsBad(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let error = #expect(throws: TransportError.self) {
                _ = try child.transport.connect(
                    to: bench.network.foreignAddress, deadlineNs: bench.nowNs + 1_000_000_000)
            }
            #expect(error?.code == .badAddress)
        }
    }

    @Test(arguments: ContractSubject.all)
    func aSilentFarSideTimesOut(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.connect(child, to: parent, limitNs: 5_000_000_000)
            for _ in 0..<20 { bench.turn([child]) }
            #expect(child.seen.events == [])
            bench.skewNs += 5_000_000_000
            #expect(bench.pump([child]) { child.seen.down(link) != nil })
            #expect(child.seen.events == [.down(link, .timedOut)])
        }
    }

    @Test(arguments: ContractSubject.all)
    func aClosedLinkGoesDownOnBothSides(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            child.transport.close(link.child)
            child.transport.close(link.child)
            #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
            bench.settle()
            #expect(child.seen.events.dropFirst() == [.down(link.child, .linkClosed)])
            #expect(parent.seen.events.dropFirst() == [.down(link.parent, .peerClosed)])
        }
    }

    @Test(arguments: ContractSubject.all)
    func aParentCanCloseToo(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            parent.transport.close(link.parent)
            #expect(bench.pump { child.seen.down(link.child) != nil && parent.seen.down(link.parent) != nil })
            #expect(parent.seen.down(link.parent) == .linkClosed)
            #expect(child.seen.down(link.child) == .peerClosed)
        }
    }

    @Test(arguments: ContractSubject.all)
    func aLinkBeingMadeCanBeClosed(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.connect(child, to: parent)
            child.transport.close(link)
            #expect(bench.pump { child.seen.down(link) != nil })
            bench.settle()
            #expect(child.seen.events == [.down(link, .linkClosed)])
            // The parent may have seen it come up, but then saw it go.
            #expect(parent.seen.up(inbound: true).allSatisfy { parent.seen.down($0.0) == .peerClosed })
        }
    }

    @Test(arguments: ContractSubject.all)
    func anEarlierGenerationNeverMatches(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let old = try bench.link(child, parent)
            child.transport.close(old.child)
            #expect(bench.pump { child.seen.down(old.child) != nil && parent.seen.down(old.parent) != nil })
            let new = try bench.link(child, parent)
            #expect(new.child != old.child)
            #expect(new.child.generation > old.child.generation)
            #expect(new.parent.generation > old.parent.generation)

            parent.fill(seed: 1)
            let export = try parent.exportMemory(0, 4096, to: new.parent)
            child.transport.close(old.child)
            #expect(child.send([1, 2, 3], on: old.child))
            #expect(child.post(old.child, export.key, length: 16, tag: 1) == 1)
            #expect(bench.pump { child.seen.isRead(1) })
            #expect(child.seen.read(1) == .some(.linkClosed))
            let error = #expect(throws: TransportError.self) {
                _ = try parent.exportMemory(0, 16, to: old.parent)
            }
            #expect(error?.code == .linkClosed)
            bench.settle()
            #expect(child.seen.down(new.child) == nil)
            #expect(parent.seen.messages(new.parent) == [])
        }
    }

    @Test(arguments: ContractSubject.all)
    func theFarSidesEndIsNoticed(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            parent.shutdown()
            #expect(parent.seen.down(link.parent) == .linkClosed)
            #expect(bench.pump { child.seen.down(link.child) != nil })
            #expect(child.seen.events.dropFirst() == [.down(link.child, .peerClosed)])
        }
    }

    @Test(arguments: ContractSubject.all)
    func linksAreBounded(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child", bounds: ContractBounds(linksMax: 2))
            let parent = try bench.host("parent")
            let first = try bench.link(child, parent)
            _ = try bench.link(child, parent)
            let error = #expect(throws: TransportError.self) { _ = try bench.connect(child, to: parent) }
            #expect(error?.code == .limit)
            // An inbound link beyond the bound is refused to its maker.
            let refused = try bench.connect(parent, to: child)
            #expect(bench.pump { parent.seen.down(refused) != nil })
            #expect(parent.seen.down(refused) == .refused)
            child.transport.close(first.child)
            #expect(bench.pump { child.seen.down(first.child) != nil })
            _ = try bench.link(child, parent)
        }
    }

    @Test(arguments: ContractSubject.all)
    func shutdownDeliversAllThatRemains(_ subject: ContractSubject) throws {
        try withBench(subject) { bench in
            let child = try bench.host("child")
            let parent = try bench.host("parent")
            let link = try bench.link(child, parent)
            let export = try parent.exportMemory(0, 1 << 20, to: link.parent)
            for tag in 0..<4 {
                #expect(child.post(link.child, export.key, length: 1 << 20, tag: UInt64(tag)) == 1)
            }
            child.shutdown()
            for tag in 0..<4 { #expect(child.seen.isRead(UInt64(tag))) }
            #expect(child.seen.events.last == .down(link.child, .linkClosed))
            parent.shutdown()
            #expect(parent.seen.isRetired(export.id))
            #expect(parent.seen.down(link.parent) != nil)
        }
    }
}
