import Artifacts
import Foundation
import MadeCertificates
import Synchronization
import System
import TLS
import Testing
import Transport
import TransportTCP
import TransportVerbs
import VerbsDouble

extension LinkSecurity {
    static func made(_ own: MadeCertificate) -> LinkSecurity { LinkSecurity { material(own) } }

    static func material(_ own: MadeCertificate) -> TLSMaterial {
        TLSMaterial(authorityPEM: MadeCertificate.authority, certificatePEM: own.certificate, keyPEM: own.key)
    }
}

/// Hosts that each show what they are given, over TCP or over played RDMA devices.
private final class SecuredNetwork: ContractNetwork {
    struct Trust {
        var security: LinkSecurity?
        var authenticator: any HandshakeAuthenticator = CertificateAuthenticator()
    }

    private let double: VerbsDouble?
    private let trust: (HostID) -> Trust

    init(rdma: Bool, _ trust: @escaping (HostID) -> Trust) {
        double = rdma ? VerbsDouble() : nil
        self.trust = trust
    }

    func makeTransport(identity: LinkIdentity, bounds: ContractBounds) throws -> any PieceTransport {
        let trust = trust(identity.host)
        guard let double else {
            var configuration = TCPNetwork.configuration(identity: identity, bounds: bounds)
            (configuration.security, configuration.authenticator) = (trust.security, trust.authenticator)
            return try TCPTransport(configuration)
        }
        var configuration = VerbsConfiguration(identity: identity, device: "double0", listen: "127.0.0.1:0")
        (configuration.security, configuration.authenticator) = (trust.security, trust.authenticator)
        return try VerbsTransport(configuration, library: double.library)
    }

    var deadAddress: TransportAddress { TransportAddress(kind: .tcp, location: "127.0.0.1:1") }
    var foreignAddress: TransportAddress { TransportAddress(kind: .local, location: "x") }
    func nowNs() -> UInt64 { MonotonicClock.nowNs() }
    func idle() { usleep(200) }
    func close() {}
}

private func withTrust(
    rdma: Bool, _ trust: @escaping @Sendable (HostID) -> SecuredNetwork.Trust, _ body: (ContractBench) throws -> Void
) throws {
    try withBench(ContractSubject(name: "secured") { SecuredNetwork(rdma: rdma, trust) }, body)
}

private typealias Trust = SecuredNetwork.Trust

/// Who gets a link where links are secured: TCP and RDMA alike.
@Suite(.serialized) struct SecuredLinkTests {
    private static let certificates: [String: MadeCertificate] = ["one": .one, "two": .two]
    private static func own(_ host: HostID) -> Trust { Trust(security: .made(certificates[host.name]!)) }

    @Test(arguments: [false, true]) func whoIsNamedByItsCertificateGetsALink(rdma: Bool) throws {
        try withTrust(rdma: rdma, Self.own) { bench in
            let (one, two) = (try bench.host("one", cluster: "here"), try bench.host("two", cluster: "here"))
            let link = try bench.link(one, two)
            #expect(two.send(Array("hello".utf8), on: link.parent))
            #expect(bench.pump { one.seen.messages(link.child) == [Array("hello".utf8)] })
        }
    }

    struct Stranger: Sendable, CustomTestStringConvertible {
        let what: String
        let certificate: MadeCertificate
        var host = "one"
        var cluster = "here"
        var testDescription: String { what }
    }

    static let strangers = [
        Stranger(what: "another authority's", certificate: .foreign),
        Stranger(what: "over", certificate: .expired),
        Stranger(what: "another host's", certificate: .two),
        Stranger(what: "another name's", certificate: .one, host: "on"),
    ]

    /// A child whose certificate is not its own gets no link and makes none; the parent goes on.
    @Test(arguments: strangers, [false, true]) func aStrangerIsRefused(stranger: Stranger, rdma: Bool) throws {
        let trust: @Sendable (HostID) -> Trust = { host in
            host.name == "two"
                ? Self.own(host)
                : Trust(security: .made(stranger.certificate), authenticator: ClusterNameAuthenticator())
        }
        try withTrust(rdma: rdma, trust) { bench in
            let child = try bench.host(stranger.host, cluster: stranger.cluster)
            let parent = try bench.host("two", cluster: "here")
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            bench.settle()
            #expect(parent.seen.events == [])
            #expect(child.seen.events.count == 1)
            #expect(bench.pump { parent.transport.counters.handshakesRefused == 1 })
            #expect(parent.transport.counters.linksUp == 0)
        }
    }

    /// A parent whose certificate is not its own is left by its children.
    @Test(arguments: strangers, [false, true]) func aFalseParentIsLeft(stranger: Stranger, rdma: Bool) throws {
        let trust: @Sendable (HostID) -> Trust = { host in
            host.name == "two"
                ? Self.own(host)
                : Trust(security: .made(stranger.certificate), authenticator: ClusterNameAuthenticator())
        }
        try withTrust(rdma: rdma, trust) { bench in
            let child = try bench.host("two", cluster: "here")
            let parent = try bench.host(stranger.host, cluster: stranger.cluster)
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            bench.settle()
            #expect(child.seen.down(link) == .refused)
            #expect(parent.seen.events == [])
        }
    }

    @Test(arguments: [false, true]) func whoShowsNothingIsRefused(rdma: Bool) throws {
        let trust: @Sendable (HostID) -> Trust = { host in
            host.name == "two" ? Self.own(host) : Trust(authenticator: ClusterNameAuthenticator())
        }
        try withTrust(rdma: rdma, trust) { bench in
            let (child, parent) = (try bench.host("one", cluster: "here"), try bench.host("two", cluster: "here"))
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            #expect(child.seen.down(link) == .refused)
            #expect(parent.seen.events == [])
            #expect(parent.transport.counters.handshakesRefused == 1)
            // And the other way: who secures links does not talk to a parent that does not.
            let back = try bench.connect(parent, to: child)
            #expect(bench.pump { parent.seen.down(back) != nil })
            #expect(child.seen.events.count == 1)
        }
    }

    @Test(arguments: [false, true]) func aRevokedCertificateIsRefused(rdma: Bool) throws {
        let asked = Mutex<[String]>([])
        let record: @Sendable (LinkProof) -> Bool = { proof in
            asked.withLock { $0 += proof.names }
            return proof.names.contains("martlet://here/peer/one") && !proof.serial.isEmpty
        }
        let trust: @Sendable (HostID) -> Trust = { host in
            var trust = Self.own(host)
            if host.name == "two" { trust.authenticator = CertificateAuthenticator(isRevoked: record) }
            return trust
        }
        try withTrust(rdma: rdma, trust) { bench in
            let (child, parent) = (try bench.host("one", cluster: "here"), try bench.host("two", cluster: "here"))
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            #expect(child.seen.down(link) == .refused)
            #expect(parent.seen.events == [])
        }
        #expect(asked.withLock { $0 } == ["martlet://here/peer/one"])
    }

    /// Whose certificate names no member is admitted where that is allowed; another member's never is.
    @Test func anAuthorityOfOnesOwnMayNameHostsInItsOwnWay() {
        let (here, unnamed) = (
            LinkIdentity(host: HostID("one")!, incarnation: 1, cluster: "here"), ["spiffe://corp/gpu7"]
        )
        let lenient = CertificateAuthenticator(admitsUnnamed: true)
        #expect(lenient.admits(here, proof: LinkProof(names: unnamed, serial: "1"), inbound: true))
        #expect(lenient.admits(here, proof: LinkProof(names: [], serial: "1"), inbound: true))
        #expect(!lenient.admits(here, proof: LinkProof(names: ["martlet://here/seed/two"], serial: "1"), inbound: true))
        #expect(!lenient.admits(here, proof: nil, inbound: true))
        #expect(!CertificateAuthenticator().admits(here, proof: LinkProof(names: unnamed, serial: "1"), inbound: true))
        #expect(
            !CertificateAuthenticator().admits(
                here, proof: LinkProof(names: ["martlet://here/scheduler/one"], serial: "1"), inbound: true))
    }

    @Test func linksToComeShowTheNextCertificate() throws {
        let newest = Mutex(LinkSecurity.material(.foreign))
        let security = LinkSecurity { newest.withLock { $0 } }
        let trust: @Sendable (HostID) -> Trust = { host in
            host.name == "two" ? Self.own(host) : Trust(security: security)
        }
        try withTrust(rdma: false, trust) { bench in
            let (child, parent) = (try bench.host("one", cluster: "here"), try bench.host("two", cluster: "here"))
            let link = try bench.connect(child, to: parent)
            #expect(bench.pump { child.seen.down(link) != nil })
            newest.withLock { $0 = LinkSecurity.material(.one) }
            _ = try bench.link(child, parent)
        }
    }
}
