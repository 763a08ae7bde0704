import EchoService
import Foundation
import RPC
import Testing

/// An authority made by openssl at test time, and a certificate that it signed.
private struct Authority {
    let caPEM: String
    let certPEM: String
    let keyPEM: String

    init(_ directory: TemporaryDirectory, _ name: String) async throws {
        let (ca, caKey) = (directory("\(name)-ca.pem"), directory("\(name)-ca.key"))
        let (cert, key) = (directory("\(name).pem"), directory("\(name).key"))
        let new = [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        ]
        _ = try await run(new + ["-subj", "/CN=\(name)-ca", "-days", "2", "-keyout", caKey, "-out", ca])
        _ = try await run(
            new + [
                "-CA", ca, "-CAkey", caKey, "-subj", "/CN=\(name)", "-days", "2", "-keyout", key, "-out",
                cert,
                "-addext", "subjectAltName=IP:127.0.0.1,DNS:\(name).test", "-addext",
                "basicConstraints=CA:FALSE",
            ])
        caPEM = try String(contentsOfFile: ca, encoding: .utf8)
        certPEM = try String(contentsOfFile: cert, encoding: .utf8)
        keyPEM = try String(contentsOfFile: key, encoding: .utf8)
    }

    func mutual(trusting other: Authority? = nil, serverName: String? = nil) -> RPCCredentials {
        .mutualTLS(caPEM: (other ?? self).caPEM, certPEM: certPEM, keyPEM: keyPEM, serverName: serverName)
    }
}

@Suite("TLS", .timeLimit(.minutes(2)))
struct TLSTests {
    @Test("Mutual TLS serves those of its authority, and knows their names")
    func mutual() async throws {
        try await withTemporaryDirectory { directory in
            let node = try await Authority(directory, "node")
            try await withEcho(server: node.mutual(), client: node.mutual()) { (echo, _, _) async throws in
                let peer = try await echo.unary(EchoV1.EchoRequest(action: "peer"), options: calm).text
                #expect(peer.contains("node.test"))
            }
            let socket = RPCAddress.unix(path: directory("s"))
            try await withEcho(
                at: socket, server: node.mutual(), client: node.mutual(serverName: "node.test")
            ) { (echo, _, _) async throws in
                #expect(try await echo.unary(EchoV1.EchoRequest(text: "x"), options: calm).text == "x")
            }
        }
    }

    @Test("Who is of another authority, names another host, or shows nothing, is refused")
    func refused() async throws {
        try await withTemporaryDirectory { directory in
            let node = try await Authority(directory, "node")
            let stranger = try await Authority(directory, "stranger")
            let refused: [RPCCredentials] = [
                stranger.mutual(), stranger.mutual(trusting: node), node.mutual(trusting: stranger),
                node.mutual(serverName: "other.test"), .tls(caPEM: node.caPEM), .insecure,
            ]
            for credentials in refused {
                try await withEcho(server: node.mutual(), client: credentials) {
                    (echo, service, _) async throws in
                    let error = await failure { () throws(RPCError) in
                        try await echo.unary(EchoV1.EchoRequest(action: "wait"), options: calm)
                    }
                    #expect(error?.status == .unavailable)
                    #expect(service.started == 0)
                }
            }
        }
    }

    @Test("A server alone may show a certificate")
    func serverOnly() async throws {
        try await withTemporaryDirectory { directory in
            let node = try await Authority(directory, "node")
            try await withEcho(
                server: .serverTLS(certPEM: node.certPEM, keyPEM: node.keyPEM),
                client: .tls(caPEM: node.caPEM)
            ) { (echo, _, _) async throws in
                #expect(try await echo.unary(EchoV1.EchoRequest(text: "x"), options: calm).text == "x")
            }
        }
    }

    @Test("A key that does not fit its certificate is refused at the start")
    func wrongKey() async throws {
        try await withTemporaryDirectory { directory in
            let node = try await Authority(directory, "node")
            let stranger = try await Authority(directory, "stranger")
            let mixed = RPCCredentials.serverTLS(certPEM: node.certPEM, keyPEM: stranger.keyPEM)
            let error = #expect(throws: RPCError.self) {
                _ = try RPCServer.start(listeners: [RPCListener(anyPort, credentials: mixed)], services: [])
            }
            #expect(error?.message.contains("credentials") == true)
        }
    }

    @Test("Credentials do not show their secrets")
    func redacted() {
        let credentials = RPCCredentials.mutualTLS(caPEM: "A", certPEM: "B", keyPEM: "geheim")
        #expect(!"\(credentials)".contains("geheim"))
        #expect(!String(reflecting: credentials).contains("geheim"))
        #expect(!String(describing: [credentials]).contains("geheim"))
    }
}
