import Foundation
import HTTP
import Testing

/// A connection to a server on this machine, from one of its loopback addresses.
private final class PlainConnection {
    struct Failure: Error { let errno: Int32 }
    private let descriptor: CInt

    init(from source: String, to port: UInt16) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(errno: errno) }
        var limit = timeval(tv_sec: 30, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard call(source, 0, bind) == 0, call("127.0.0.1", port, connect) == 0 else { throw Failure(errno: errno) }
    }

    private func call(
        _ host: String, _ port: UInt16, _ function: (CInt, __CONST_SOCKADDR_ARG, socklen_t) -> CInt
    ) -> CInt {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        inet_pton(AF_INET, host, &address.sin_addr)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                function(descriptor, __CONST_SOCKADDR_ARG(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    func write(_ text: String) { _ = send(descriptor, text, text.utf8.count, CInt(MSG_NOSIGNAL)) }

    /// What comes until the far side closes; nil when it does not close within the limit.
    func rest() -> String? {
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &part, part.count, 0)
            if count > 0 {
                bytes += part[..<count]
            } else {
                return count == 0 || errno == ECONNRESET ? String(decoding: bytes, as: UTF8.self) : nil
            }
        }
    }

    deinit { close(descriptor) }
}

/// What the metrics port does with those who take and give nothing.
@Suite(.timeLimit(.minutes(2))) struct HTTPServerFloodTests {
    private let request = "GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    private func server(idleSecondsMax: UInt32) throws -> HTTPServer {
        try HTTPServer(
            address: "127.0.0.1", port: 0, routes: ["/x": { .init(body: "here\n") }], idleSecondsMax: idleSecondsMax)
    }

    @Test func oneAddressCannotTakeAllConnections() throws {
        let server = try server(idleSecondsMax: 60)
        defer { server.stop() }
        let silent = try (0..<300).map { _ in try PlainConnection(from: "127.0.0.2", to: server.port) }
        let other = try PlainConnection(from: "127.0.0.3", to: server.port)
        other.write(request)
        #expect(other.rest()?.hasSuffix("here\n") == true)
        // Beyond its share its connections are closed unanswered.
        let last = try #require(silent.last)
        last.write(request)
        #expect(last.rest() == "")
    }

    @Test(arguments: ["", "GET /x HTTP/1.1\r\nHost: "]) func whoIsSilentIsClosed(_ text: String) throws {
        let server = try server(idleSecondsMax: 1)
        defer { server.stop() }
        let slow = try PlainConnection(from: "127.0.0.1", to: server.port)
        slow.write(text)
        #expect(slow.rest() != nil)
    }

    @Test(arguments: [
        "GET /\(String(repeating: "x", count: 100_000)) HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /x HTTP/1.1\r\n" + String(repeating: "A: b\r\n", count: 20_000) + "\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n", "GET /x HTTP/9.9\r\n\r\n", "POST /x HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
    ])
    func whatIsNoRequestIsNotServed(_ text: String) throws {
        let server = try server(idleSecondsMax: 1)
        defer { server.stop() }
        let client = try PlainConnection(from: "127.0.0.1", to: server.port)
        client.write(text)
        #expect(client.rest()?.contains("here\n") == false)
        let next = try PlainConnection(from: "127.0.0.1", to: server.port)
        next.write(request)
        #expect(next.rest()?.hasSuffix("here\n") == true)
    }
}
