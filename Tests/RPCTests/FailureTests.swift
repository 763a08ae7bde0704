import EchoService
import Foundation
import RPC
import Testing

@Suite("Failures", .timeLimit(.minutes(2)))
struct FailureTests {
    @Test("A handler's error arrives with code, message and trailers")
    func handlerError() async throws {
        try await withEcho { (echo, _, _) async throws in
            let error = await failure { () throws(RPCError) in
                try await echo.unary(EchoV1.EchoRequest(action: "fail"), options: calm)
            }
            #expect(error?.status == .notFound)
            #expect(error?.message == "nichts da: ✗")
            #expect(error?.trailers["martlet-why"] == "test")
            let crash = await failure { () throws(RPCError) in
                try await echo.unary(EchoV1.EchoRequest(action: "crash"), options: calm)
            }
            #expect(crash?.status == .unknown)
            #expect(crash?.message == "the echo handler crashed")
        }
    }

    @Test("Messages sent before an error are received before it")
    func errorBehindMessages() async throws {
        try await withEcho { (echo, _, _) async throws in
            let call = echo.expand(EchoV1.EchoRequest(times: 3, action: "expand-then-fail"), options: calm)
            for index in 0..<3 { #expect(try await call.receive()?.index == UInt32(index)) }
            #expect(await failure { () throws(RPCError) in try await call.receive() }?.status == .dataLoss)
        }
    }

    @Test("A time limit ends the call on both sides")
    func deadline() async throws {
        try await withEcho { (echo, service, _) async throws in
            let error = await failure { () throws(RPCError) in
                try await echo.unary(
                    EchoV1.EchoRequest(action: "wait"), options: .timeout(.milliseconds(300)))
            }
            #expect(error?.status == .deadlineExceeded)
            #expect(await eventually { service.cancelled == service.started })
            let call = echo.chat(options: .timeout(.milliseconds(300)))
            #expect(
                await failure { () throws(RPCError) in try await call.receive() }?.status == .deadlineExceeded
            )
        }
    }

    @Test("Cancelling a call ends its handler")
    func cancelCall() async throws {
        try await withEcho { (echo, service, _) async throws in
            let call = echo.chat()
            try await call.send(EchoV1.EchoRequest(action: "wait"))
            #expect(await eventually { service.started == 1 })
            call.cancel()
            #expect(await failure { () throws(RPCError) in try await call.receive() }?.status == .cancelled)
            #expect(await eventually { service.cancelled == 1 })
        }
    }

    @Test("Cancelling the waiting task ends the call")
    func cancelTask() async throws {
        try await withEcho { (echo, service, _) async throws in
            let unary = Task { () -> RPCError? in
                await failure { () throws(RPCError) in
                    try await echo.unary(EchoV1.EchoRequest(action: "wait"), options: calm)
                }
            }
            #expect(await eventually { service.started == 1 })
            unary.cancel()
            #expect(await unary.value?.status == .cancelled)
            #expect(await eventually { service.cancelled == 1 })
            let call = echo.expand(EchoV1.EchoRequest(action: "wait"))
            let stream = Task { await failure { () throws(RPCError) in try await call.receive() } }
            #expect(await eventually { service.started == 2 })
            stream.cancel()
            #expect(await stream.value?.status == .cancelled)
            #expect(await eventually { service.cancelled == 2 })
        }
    }

    @Test("Dropping a call ends it")
    func dropCall() async throws {
        try await withEcho { (echo, service, _) async throws in
            var call: RPCCall? = echo.expand(EchoV1.EchoRequest(action: "wait"))
            #expect(await eventually { service.started == 1 })
            _ = call
            call = nil
            #expect(await eventually { service.cancelled == 1 })
        }
    }

    @Test("A handler may cancel its own reader and writer and still end ok")
    func readerAndWriter() async throws {
        try await withEcho { (echo, _, _) async throws in
            let call = echo.chat(options: calm)
            try await call.send(EchoV1.EchoRequest(action: "pair"))
            for index in 0..<3 { #expect(try await call.receive()?.index == UInt32(index)) }
            #expect(try await call.receive() == nil)
        }
    }

    @Test("A sender waits for a receiver that does not receive")
    func backPressure() async throws {
        try await withEcho { (echo, service, _) async throws in
            let payload = [UInt8](repeating: 1, count: 64 << 10)
            let call = echo.expand(EchoV1.EchoRequest(payload: payload, times: 4000))
            #expect(try await call.receive()?.index == 0)
            // 250 MiB are to be sent; the connection's windows and socket buffers hold a few.
            var before = -1
            while before != service.started {
                before = service.started
                try await Task.sleep(for: .milliseconds(500))
            }
            #expect(service.started < 1000)
            call.cancel()
        }
    }

    @Test("A message over the limit is refused, in either direction")
    func oversize() async throws {
        var small = RPCChannelOptions()
        small.messageBytesMax = 1000
        try await withEcho(channelOptions: small) { (echo, _, _) async throws in
            let large = EchoV1.EchoRequest(payload: [UInt8](repeating: 0, count: 1001))
            #expect(
                await failure { () throws(RPCError) in try await echo.unary(large) }?.status
                    == .resourceExhausted)
            let expand = echo.expand(large)
            #expect(
                await failure { () throws(RPCError) in try await expand.initialMetadata() }?.status
                    == .resourceExhausted)
            #expect(
                await failure { () throws(RPCError) in try await expand.receive() }?.status
                    == .resourceExhausted)
            let call = echo.collect(options: calm)
            #expect(
                await failure { () throws(RPCError) in try await call.send(large) }?.status
                    == .resourceExhausted)
            try await call.send(EchoV1.EchoRequest(text: "goes on"))
            #expect(try await call.response().text == "goes on")
            let tooLargeAnswer = EchoV1.EchoRequest(times: 2000)
            #expect(
                await failure { () throws(RPCError) in try await echo.unary(tooLargeAnswer, options: calm) }?
                    .status
                    == .resourceExhausted)
        }
        var smallServer = RPCServerOptions()
        smallServer.messageBytesMax = 1000
        try await withEcho(options: smallServer) { (echo, _, _) async throws in
            let large = EchoV1.EchoRequest(payload: [UInt8](repeating: 0, count: 2000))
            #expect(
                await failure { () throws(RPCError) in try await echo.unary(large, options: calm) }?.status
                    == .resourceExhausted)
            #expect(
                await failure { () throws(RPCError) in
                    try await echo.unary(EchoV1.EchoRequest(times: 2000), options: calm)
                }?.status == .resourceExhausted)
        }
    }

    @Test("Calls over the server's limit are refused, and taken again later")
    func callsMax() async throws {
        var options = RPCServerOptions()
        options.callsMax = 2
        try await withEcho(options: options) { (echo, service, _) async throws in
            let calls = [echo.chat(), echo.chat()]
            for call in calls { try await call.send(EchoV1.EchoRequest(action: "wait")) }
            #expect(await eventually { service.started == 2 })
            let error = await failure { () throws(RPCError) in
                try await echo.unary(EchoV1.EchoRequest(), options: calm)
            }
            #expect(error?.status == .resourceExhausted)
            for call in calls { call.cancel() }
            #expect(await eventually { service.cancelled == 2 })
            // The count falls a moment after the handler's end.
            var isTaken = false
            for _ in 0..<1000 where !isTaken {
                isTaken =
                    await failure { () throws(RPCError) in
                        try await echo.unary(EchoV1.EchoRequest(), options: calm)
                    } == nil
            }
            #expect(isTaken)
        }
    }

    @Test("Where nobody listens, a call fails at once, and says where")
    func nobodyThere() async throws {
        let server = try RPCServer.start(
            listeners: [RPCListener(anyPort, credentials: .insecure)], services: [])
        let address = server.addresses[0]
        await server.shutdown(grace: .zero)
        let channel = try RPCChannel(to: address, credentials: .insecure)
        let echo = EchoClient(channel)
        let error = await failure { () throws(RPCError) in
            try await echo.unary(EchoV1.EchoRequest(), options: calm)
        }
        #expect(error?.status == .unavailable)
        #expect(error?.message.contains("\(address)") == true)
        #expect(
            await failure { () throws(RPCError) in
                try await channel.waitUntilReady(timeout: .milliseconds(200))
            }?
            .status == .unavailable)
    }

    @Test("A closed channel makes no calls")
    func closedChannel() async throws {
        try await withEcho { (echo, _, _) async throws in
            _ = try await echo.unary(EchoV1.EchoRequest(), options: calm)
            #expect(echo.channel.connectivity == .ready)
            echo.channel.close()
            echo.channel.close()
            #expect(echo.channel.connectivity == .closed)
            let error = await failure { () throws(RPCError) in try await echo.unary(EchoV1.EchoRequest()) }
            #expect(error?.status == .unavailable)
            #expect(error?.message.contains("closed") == true)
        }
    }

    @Test("An unknown method is unimplemented")
    func unknownMethod() async throws {
        let server = try RPCServer.start(
            listeners: [RPCListener(anyPort, credentials: .insecure)], services: [])
        let echo = EchoClient(try RPCChannel(to: server.addresses[0], credentials: .insecure))
        #expect(
            await failure { () throws(RPCError) in try await echo.unary(EchoV1.EchoRequest(), options: calm)
            }?.status
                == .unimplemented)
        await server.shutdown(grace: .zero)
    }
}

@Suite("Listening", .timeLimit(.minutes(2)))
struct ListeningTests {
    private func startFailure(_ address: RPCAddress, _ credentials: RPCCredentials = .insecure) async
        -> RPCError?
    {
        do throws(RPCError) {
            let server = try RPCServer.start(
                listeners: [RPCListener(address, credentials: credentials)], services: [])
            await server.shutdown(grace: .zero)
            return nil
        } catch {
            return error
        }
    }

    @Test("A port in use is refused with that reason")
    func portInUse() async throws {
        try await withEcho { (_, _, server) async throws in
            let error = await startFailure(server.addresses[0])
            #expect(error?.status == .alreadyExists)
            #expect(error?.message.contains("\(server.addresses[0]): the port is in use") == true)
        }
    }

    @Test("A Unix socket is not taken from a server that listens on it, and is from a dead one")
    func socketInUse() async throws {
        try await withTemporaryDirectory { directory in
            let address = RPCAddress.unix(path: directory("s"))
            try await withEcho(at: address) { (echo, _, _) async throws in
                #expect(
                    await startFailure(address)?.message.contains("another process listens there") == true)
                #expect(try await echo.unary(EchoV1.EchoRequest(text: "x"), options: calm).text == "x")
                let mode = try FileManager.default.attributesOfItem(atPath: directory("s"))[.posixPermissions]
                #expect(mode as? Int == 0o600)
            }
            let dead = try await EchoProcess(at: address)
            await dead.end()
            #expect(FileManager.default.fileExists(atPath: directory("s")))
            #expect(await startFailure(address) == nil)
        }
    }

    @Test("Addresses that cannot be had are refused with the reason")
    func impossible() async throws {
        #expect(
            await startFailure(.tcp(host: "192.0.2.1", port: 0))?.message.contains("no interface") == true)
        #expect(await startFailure(.unix(path: "/nowhere/at/all"))?.message.contains("directory") == true)
        let long = String(repeating: "x", count: 200)
        #expect(await startFailure(.unix(path: "/tmp/\(long)"))?.status == .invalidArgument)
        #expect(await startFailure(anyPort, .tls(caPEM: ""))?.status == .invalidArgument)
        #expect(
            await startFailure(anyPort, .serverTLS(certPEM: "x", keyPEM: "y"))?.status == .invalidArgument)
    }
}

@Suite("Shutdown", .timeLimit(.minutes(2)))
struct ShutdownTests {
    @Test("Shutdown lets calls end that end in time, and takes no new ones")
    func graceful() async throws {
        try await withEcho { (echo, _, server) async throws in
            let call = echo.chat(options: calm)
            try await call.send(EchoV1.EchoRequest(text: "before"))
            #expect(try await call.receive()?.text == "before")
            let shutdown = Task { await server.shutdown(grace: .seconds(60)) }
            #expect(await eventually { server.health.state("") == .notServing })
            try await call.send(EchoV1.EchoRequest(text: "during"))
            #expect(try await call.receive()?.text == "during")
            try await call.finishSending()
            #expect(try await call.receive() == nil)
            await shutdown.value
            #expect(
                await failure { () throws(RPCError) in
                    try await echo.unary(EchoV1.EchoRequest(), options: calm)
                }?.status
                    == .unavailable)
        }
    }

    @Test("After the grace time, calls are cancelled and their handlers have ended")
    func cancelled() async throws {
        try await withEcho { (echo, service, server) async throws in
            let call = echo.chat(options: calm)
            try await call.send(EchoV1.EchoRequest(action: "wait"))
            #expect(await eventually { service.started == 1 })
            await server.shutdown(grace: .milliseconds(100))
            #expect(service.cancelled == 1)
            let error = await failure { () throws(RPCError) in try await call.receive() }
            #expect(error?.status == .unavailable || error?.status == .cancelled)
            await server.shutdown(grace: .zero)
        }
    }

    @Test("The port is free after shutdown")
    func portIsFree() async throws {
        for _ in 0..<3 {
            var address = anyPort
            try await withEcho { (_, _, server) async throws in address = server.addresses[0] }
            try await withEcho(at: address) { (echo, _, _) async throws in
                #expect(
                    try await echo.unary(EchoV1.EchoRequest(text: "again"), options: calm).text == "again")
            }
        }
    }
}

@Suite("Other processes", .timeLimit(.minutes(2)))
struct ProcessTests {
    @Test("A server that is killed ends its streams with an error, and its successor is found")
    func killed() async throws {
        let first = try await EchoProcess(at: anyPort)
        let channel = try RPCChannel(to: first.address, credentials: .insecure)
        let echo = EchoClient(channel)
        let call = echo.chat()
        try await call.send(EchoV1.EchoRequest(text: "x"))
        #expect(try await call.receive()?.text == "x")
        await first.end()
        #expect(await failure { () throws(RPCError) in try await call.receive() }?.status == .unavailable)
        let second = try await EchoProcess(at: first.address)
        do {
            try await channel.waitUntilReady(timeout: .seconds(60))
            #expect(try await echo.unary(EchoV1.EchoRequest(text: "y"), options: calm).text == "y")
        } catch {
            await second.end()
            throw error
        }
        await second.end()
    }

    @Test("A server that is silent, its connection open, is noticed")
    func silent() async throws {
        let process = try await EchoProcess(at: anyPort)
        var options = RPCChannelOptions()
        options.keepalive = RPCKeepalive(interval: .milliseconds(300), timeout: .milliseconds(700))
        let echo = EchoClient(try RPCChannel(to: process.address, credentials: .insecure, options: options))
        let call = echo.chat()
        let error = await failure { () throws(RPCError) in
            try await call.send(EchoV1.EchoRequest(text: "x"))
            let answer = try await call.receive()
            #expect(answer?.text == "x")
            process.signal(SIGSTOP)
            _ = try await call.receive()
        }
        await process.end()
        #expect(error?.status == .unavailable)
    }

    @Test("A call that waits for a connection is answered when the server comes")
    func waitForReady() async throws {
        try await withTemporaryDirectory { directory in
            let address = RPCAddress.unix(path: directory("s"))
            let echo = EchoClient(try RPCChannel(to: address, credentials: .insecure))
            let call = echo.expand(
                EchoV1.EchoRequest(times: 1),
                options: RPCCallOptions(timeout: .seconds(60), waitForReady: true))
            #expect(await eventually { echo.channel.connectivity == .failing })
            try await withEcho(at: address) { (_, _, _) async throws in
                #expect(try await call.receive()?.index == 0)
            }
        }
    }
}
