import Configuration
import Testing
import TransportVerbs

@testable import PeerService

@Suite struct RDMAPortsTests {
    private func port(_ device: String, _ number: Int = 1, of count: Int = 1, why: String? = nil) -> VerbsPort {
        VerbsPort(
            device: device, number: number, portCount: count,
            objection: why.map { .init(sentence: $0, mayPass: false) })
    }

    private func named(_ text: String...) -> [RDMAPortName] { text.compactMap { RDMAPortName($0) } }

    @Test func withoutNamesEveryUsablePortIsTaken() {
        let ports = [port("a"), port("b", why: "b is down"), port("c", 1, of: 2), port("c", 2, of: 2)]
        let chosen = RDMAPorts.choose([], from: ports)
        #expect(chosen.ports.map(\.name) == ["a", "c-1", "c-2"])
        #expect(chosen.objections == ["b is down"])
        #expect(RDMAPorts.choose([], from: []).ports.isEmpty)
    }

    @Test func namesChooseDevicesOrPortsInTheirOrder() {
        let ports = [port("a"), port("b"), port("c", 1, of: 2), port("c", 2, of: 2)]
        #expect(RDMAPorts.choose(named("c:2", "a"), from: ports).ports.map(\.name) == ["c-2", "a"])
        // Named twice in two ways, it is taken once.
        #expect(RDMAPorts.choose(named("c", "c:2"), from: ports).ports.map(\.name) == ["c-1", "c-2"])
    }

    @Test func whatIsNamedAndCannotBeHadIsSaid() {
        let ports = [port("a", why: "a is down"), port("c", 1, of: 2, why: "c 1 is down"), port("c", 2, of: 2)]
        let down = RDMAPorts.choose(named("a"), from: ports)
        #expect(down.ports.isEmpty && down.objections == ["a is down"])
        // One usable port of a device is enough.
        let one = RDMAPorts.choose(named("c"), from: ports)
        #expect(one.ports.map(\.name) == ["c-2"] && one.objections.isEmpty)
        let missing = RDMAPorts.choose(named("x", "c:3"), from: ports)
        #expect(missing.ports.isEmpty)
        #expect(
            missing.objections == [
                "there is no RDMA device x; there is a, c", "there is no RDMA device c:3; there is a, c",
            ])
        #expect(RDMAPorts.choose(named("x"), from: []).objections == ["there is no RDMA device x; there is none"])
    }
}
