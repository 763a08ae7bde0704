import EchoService
import Foundation
import RPC
import Testing

/// A connection made by hand, that says what a test wants it to say.
private final class RawConnection {
    struct Failure: Error { let errno: Int32 }
    private let descriptor: CInt

    init(to port: UInt16) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(errno: errno) }
        // No wait of a test is without end.
        var limit = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw Failure(errno: errno) }
    }

    func write(_ bytes: [UInt8]) {
        _ = send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL))
    }

    /// Reads until the far side closes; false when it does not within the limit.
    func isClosedByTheFarSide() -> Bool {
        var part = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &part, part.count, 0)
            if count == 0 { return true }
            if count < 0 { return errno == ECONNRESET }
        }
    }

    deinit { close(descriptor) }
}

/// Clients that begin and do not go on lose their connection, and nobody else's suffers.
@Suite struct SilentClientTests {
    private static let preface = [UInt8]("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    private static let settings: [UInt8] = [0, 0, 0, 4, 0, 0, 0, 0, 0]

    @Test(arguments: [
        [], Array(preface.prefix(10)), [UInt8]("GET / HTTP/1.1\r\n\r\n".utf8), [0x16, 3, 1, 0xFF, 0xFF],
        preface + [0xFF, 0xFF, 0xFF, 4, 0, 0, 0, 0, 0], preface + settings,
    ])
    func aConnectionThatStopsIsClosed(_ bytes: [UInt8]) async throws {
        var options = RPCServerOptions()
        options.handshakeTimeout = .seconds(2)
        options.idleTimeout = .seconds(2)
        try await withEcho(options: options) { client, _, server in
            guard case .tcp(_, let port) = server.addresses[0] else { return }
            // On a thread of its own: it blocks.
            let isClosed = await withCheckedContinuation { continuation in
                Thread.detachNewThread {
                    guard let connection = try? RawConnection(to: port) else {
                        return continuation.resume(returning: false)
                    }
                    connection.write(bytes)
                    continuation.resume(returning: connection.isClosedByTheFarSide())
                }
            }
            #expect(isClosed)
            let answer = try await client.unary(
                EchoV1.EchoRequest(text: "still here"),
                options: RPCCallOptions(timeout: .seconds(40), waitForReady: true))
            #expect(answer.text == "still here")
        }
    }
}
