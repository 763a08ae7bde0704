import EchoService
import RPC
import Testing

@Suite("Calls of every kind", .timeLimit(.minutes(2)))
struct EchoTests {
    /// Runs over TCP and over a Unix socket.
    private func overBoth(_ body: (EchoClient, EchoService, RPCServer) async throws -> Void) async throws {
        try await withEcho(body)
        try await withTemporaryDirectory { directory in
            try await withEcho(at: .unix(path: directory("echo.sock")), body)
        }
    }

    @Test("A unary call brings its answer")
    func unary() async throws {
        try await overBoth { (echo, _, _) async throws in
            let request = EchoV1.EchoRequest(text: "Grüße", payload: [0, 255])
            #expect(
                try await echo.unary(request, options: calm)
                    == EchoV1.EchoResponse(text: "Grüße", payload: [0, 255]))
            #expect(try await echo.unary(EchoV1.EchoRequest(), options: calm) == EchoV1.EchoResponse())
            let large = [UInt8](repeating: 3, count: 4 << 20 - 64)
            #expect(try await echo.unary(EchoV1.EchoRequest(payload: large), options: calm).payload == large)
        }
    }

    @Test("A stream of requests brings one answer")
    func clientStream() async throws {
        try await overBoth { (echo, _, _) async throws in
            let call = echo.collect(options: calm)
            for text in ["a", "b", "c"] { try await call.send(EchoV1.EchoRequest(text: text)) }
            #expect(try await call.response() == EchoV1.EchoResponse(text: "a,b,c", index: 3))
            #expect(try await echo.collect(options: calm).response().index == 0)
        }
    }

    @Test("One request brings a stream of answers, in order")
    func serverStream() async throws {
        try await overBoth { (echo, _, _) async throws in
            var indices: [UInt32] = []
            for try await response in echo.expand(EchoV1.EchoRequest(times: 500), options: calm) {
                indices.append(response.index)
            }
            #expect(indices == Array(0..<500))
        }
    }

    @Test("Both sides stream, and end one after the other")
    func bothStreams() async throws {
        try await overBoth { (echo, _, _) async throws in
            let call = echo.chat(options: calm)
            for text in ["x", "y"] {
                try await call.send(EchoV1.EchoRequest(text: text))
                #expect(try await call.receive()?.text == text)
            }
            try await call.finishSending()
            #expect(try await call.receive() == nil)
            #expect(try await call.receive() == nil)
            #expect(await call.status().status == .ok)
            #expect(
                await failure { () throws(RPCError) in try await call.send(EchoV1.EchoRequest()) }?.status
                    == .failedPrecondition)
        }
    }

    @Test("Several tasks may send on one call")
    func concurrentSenders() async throws {
        try await withEcho { (echo, _, _) async throws in
            let call = echo.collect(options: calm)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<100 { group.addTask { try await call.send(EchoV1.EchoRequest(text: "t")) } }
                try await group.waitForAll()
            }
            #expect(try await call.response().index == 100)
        }
    }

    @Test("A thousand calls at once are all answered, each with its own answer")
    func thousandCalls() async throws {
        try await withEcho { (echo, _, _) async throws in
            let texts = try await withThrowingTaskGroup(of: String.self) { group in
                for index in 0..<1000 {
                    group.addTask {
                        try await echo.unary(EchoV1.EchoRequest(text: "\(index)"), options: calm).text
                    }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(texts == Set((0..<1000).map { "\($0)" }))
        }
    }

    @Test("Metadata travels both ways, before and behind the messages")
    func metadata() async throws {
        try await withEcho { (echo, _, _) async throws in
            var options = calm
            options.metadata = ["martlet-test": "v1"]
            let call = echo.chat(options: options)
            try await call.send(EchoV1.EchoRequest(action: "metadata"))
            #expect(try await call.receive()?.text == "v1")
            let initial = try await call.initialMetadata()
            #expect(initial["martlet-test"] == "v1")
            #expect(initial.bytes("martlet-test-bin") == [0, 255])
            try await call.finishSending()
            #expect(try await call.receive() == nil)
            #expect(await call.status().trailers["martlet-test"] == "v1")
        }
    }

    @Test("Malformed metadata is refused before it is sent")
    func malformedMetadata() {
        var metadata = RPCMetadata()
        #expect(throws: RPCError.self) { try metadata.add("Upper", "x") }
        #expect(throws: RPCError.self) { try metadata.add("", "x") }
        #expect(throws: RPCError.self) { try metadata.add("grpc-timeout", "x") }
        #expect(throws: RPCError.self) { try metadata.add("name", "line\nbreak") }
        #expect(metadata.pairs.isEmpty)
    }

    @Test("A handler learns its client's address")
    func peer() async throws {
        try await withEcho { (echo, _, _) async throws in
            let peer = try await echo.unary(EchoV1.EchoRequest(action: "peer"), options: calm).text
            #expect(peer.hasPrefix("127.0.0.1:"))
        }
        try await withTemporaryDirectory { directory in
            try await withEcho(at: .unix(path: directory("s"))) { (echo, _, _) async throws in
                #expect(
                    try await echo.unary(EchoV1.EchoRequest(action: "peer"), options: calm).text == "unix")
            }
        }
    }

    @Test("Several listeners serve at once")
    func listeners() async throws {
        try await withTemporaryDirectory { directory in
            let server = try RPCServer.start(
                listeners: [
                    RPCListener(anyPort, credentials: .insecure),
                    RPCListener(.unix(path: directory("s")), credentials: .insecure),
                ], services: [.echo(EchoService())])
            #expect(server.addresses.count == 2)
            #expect(server.addresses[0] != anyPort)
            for address in server.addresses {
                let echo = EchoClient(try RPCChannel(to: address, credentials: .insecure))
                #expect(try await echo.unary(EchoV1.EchoRequest(text: "x"), options: calm).text == "x")
            }
            await server.shutdown(grace: .seconds(10))
        }
    }
}

@Suite("Addresses")
struct AddressTests {
    @Test(
        "Addresses are read as they are written",
        arguments: [
            "127.0.0.1:80", "[::1]:8002", "node-7.example:0", "unix:/run/martlet/node.sock",
        ])
    func roundTrip(_ text: String) throws {
        #expect(try #require(RPCAddress(text)).description == text)
    }

    @Test(
        "What is no address is refused",
        arguments: [
            "", "host", "host:", "host:70000", "host:-1", ":80", "::1:80", "unix:", "a/b:80", "a b:80",
        ])
    func malformed(_ text: String) {
        #expect(RPCAddress(text) == nil)
    }
}
