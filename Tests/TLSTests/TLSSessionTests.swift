import Foundation
import MadeCertificates
import TLS
import Testing

/// Two sessions over a pair of sockets.
private final class Ends {
    let descriptors: [CInt]
    let client: TLSSession
    let server: TLSSession

    init(_ client: MadeCertificate, _ server: MadeCertificate) throws {
        var pair: [CInt] = [0, 0]
        try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0, &pair) == 0)
        descriptors = pair
        self.client = try TLSSession(try Ends.context(client), socket: pair[0], side: .client)
        self.server = try TLSSession(try Ends.context(server), socket: pair[1], side: .server)
    }

    deinit { for descriptor in descriptors { close(descriptor) } }

    static func context(_ own: MadeCertificate) throws -> TLSContext {
        try TLSContext(
            TLSMaterial(authorityPEM: MadeCertificate.authority, certificatePEM: own.certificate, keyPEM: own.key))
    }

    /// Both sides' handshakes, as far as they go.
    func shakeHands() -> (client: TLSSession.Outcome, server: TLSSession.Outcome) {
        var (ours, theirs) = (client.handshake(), server.handshake())
        for _ in 0..<8 where ours == .wantsToRead || theirs == .wantsToRead {
            (ours, theirs) = (client.handshake(), server.handshake())
        }
        return (ours, theirs)
    }
}

private func send(_ session: TLSSession, _ bytes: [UInt8]) -> TLSSession.Outcome {
    bytes.withUnsafeBytes { session.send($0) }
}
private func receive(_ session: TLSSession, room: Int) -> (TLSSession.Outcome, [UInt8]) {
    var bytes = [UInt8](repeating: 0, count: room)
    let outcome = bytes.withUnsafeMutableBytes { session.receive(into: $0) }
    if case .moved(let count) = outcome { return (outcome, Array(bytes[..<count])) }
    return (outcome, [])
}

struct TLSSessionTests {
    @Test func bothSidesProveWhoTheyAre() throws {
        let ends = try Ends(.one, .two)
        #expect(ends.client.peerNames == [] && ends.client.peerSerial == "")
        #expect(ends.shakeHands() == (.moved(1), .moved(1)))
        #expect(ends.client.peerNames == ["martlet://here/seed/two"])
        #expect(ends.server.peerNames == ["martlet://here/peer/one"])
        #expect(ends.client.peerSerial.count == 40 && ends.client.peerSerial != ends.server.peerSerial)
    }

    @Test func bytesPassBothWaysAndWhatIsLeftOfARecordWaits() throws {
        let ends = try Ends(.one, .two)
        // The handshake goes on by itself.
        #expect(send(ends.client, [1, 2, 3]) == .wantsToRead)
        #expect(ends.shakeHands() == (.moved(1), .moved(1)))
        #expect(send(ends.client, [1, 2, 3]) == .moved(3))
        #expect(receive(ends.server, room: 2) == (.moved(2), [1, 2]))
        #expect(ends.server.pendingBytes == 1)
        #expect(receive(ends.server, room: 2) == (.moved(1), [3]))
        #expect(receive(ends.server, room: 2).0 == .wantsToRead)
        #expect(send(ends.server, [9]) == .moved(1))
        #expect(receive(ends.client, room: 16) == (.moved(1), [9]))
    }

    @Test(arguments: [("of another authority", MadeCertificate.foreign), ("expired", .expired)])
    func acceptsNobody(what: String, certificate: MadeCertificate) throws {
        let ends = try Ends(certificate, .two)
        _ = ends.shakeHands()
        #expect(!ends.server.isSecured)
        #expect(ends.server.peerNames == [])
        guard case .failed(let error) = ends.server.handshake() else {
            Issue.record("a client with a certificate \(what) was taken")
            return
        }
        #expect(error.description.hasPrefix("its certificate is refused") || error.description.hasPrefix("TLS failed"))
        // Nor does a client talk to such a server.
        let others = try Ends(.one, certificate)
        _ = others.shakeHands()
        #expect(!others.client.isSecured)
        guard case .failed(let error) = others.client.handshake() else {
            Issue.record("a server with a certificate \(what) was taken")
            return
        }
        #expect(!error.description.isEmpty)
    }

    @Test func whoSpeaksNoTLSIsRefused() throws {
        let ends = try Ends(.one, .two)
        let words = Array("GET / HTTP/1.1\r\nHost: somewhere\r\n\r\n".utf8)
        #expect(write(ends.descriptors[0], words, words.count) == words.count)
        guard case .failed = ends.server.handshake() else {
            Issue.record("words in clear were taken for TLS")
            return
        }
    }

    @Test func anEndIsSeenAndASendIntoNothingIsNoSignal() throws {
        let ends = try Ends(.one, .two)
        #expect(ends.shakeHands() == (.moved(1), .moved(1)))
        shutdown(ends.descriptors[0], CInt(SHUT_RDWR))
        #expect(receive(ends.server, room: 8).0 == .ended)
        var outcome = send(ends.server, [1])
        if case .moved = outcome { outcome = send(ends.server, [1]) }
        #expect(outcome == .ended)
    }

    @Test func aMillionBytesPassWhateverTheSocketTakes() throws {
        let ends = try Ends(.one, .two)
        #expect(ends.shakeHands() == (.moved(1), .moved(1)))
        let sent = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 >> 3) }
        var (place, received) = (0, [UInt8]())
        while received.count < sent.count {
            if place < sent.count {
                let outcome = sent.withUnsafeBytes { ends.client.send(UnsafeRawBufferPointer(rebasing: $0[place...])) }
                if case .moved(let count) = outcome { place += count }
            }
            let (outcome, bytes) = receive(ends.server, room: 5_000)
            guard outcome == .wantsToRead || !bytes.isEmpty else { break }
            received += bytes
        }
        #expect(received.count == sent.count && received == sent)
    }

    @Test func whatIsNoCertificateIsRefusedWithoutTheKey() throws {
        let one = MadeCertificate.one
        for (authority, certificate, key, what) in [
            ("", one.certificate, one.key, "authority"), (MadeCertificate.authority, "x", one.key, "certificate"),
            (MadeCertificate.authority, one.certificate, MadeCertificate.two.key, "key"),
        ] {
            let error = #expect(throws: TLSError.self) {
                try TLSContext(TLSMaterial(authorityPEM: authority, certificatePEM: certificate, keyPEM: key))
            }
            #expect(error?.description.contains(what) == true)
            #expect(error?.description.contains("BEGIN") == false)
        }
    }
}
