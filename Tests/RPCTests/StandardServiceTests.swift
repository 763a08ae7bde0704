import ControlAPI
import EchoService
import RPC
import Testing

@Suite("Health and reflection", .timeLimit(.minutes(2)))
struct StandardServiceTests {
    @Test("Health tells each service's state, and its changes")
    func health() async throws {
        try await withEcho { (echo, _, server) async throws in
            let health = HealthV1.HealthClient(echo.channel)
            let name = "martlet.test.v1.Echo"
            #expect(try await health.check(.init(service: ""), options: calm).status == .serving)
            #expect(try await health.check(.init(service: name), options: calm).status == .serving)
            #expect(
                await failure { () throws(RPCError) in
                    try await health.check(.init(service: "absent"), options: calm)
                }?.status == .notFound)

            let watch = health.watch(.init(service: name), options: calm)
            #expect(try await watch.receive()?.status == .serving)
            server.health.set(name, .notServing)
            #expect(try await watch.receive()?.status == .notServing)
            #expect(try await health.check(.init(service: name), options: calm).status == .notServing)
            server.health.set(name, .serving)
            #expect(try await watch.receive()?.status == .serving)

            let unknown = health.watch(.init(service: "later"), options: calm)
            #expect(try await unknown.receive()?.status == .serviceUnknown)
            server.health.set("later", .serving)
            #expect(try await unknown.receive()?.status == .serving)

            // Watchers do not hold up the end.
            async let shutdown: Void = server.shutdown(grace: .seconds(60))
            #expect(try await watch.receive()?.status == .notServing)
            #expect(
                await failure { () throws(RPCError) in try await watch.receive() }?.status == .unavailable)
            unknown.cancel()
            await shutdown
        }
    }

    @Test("Reflection v1 and v1alpha tell services and files")
    func reflection() async throws {
        try await withEcho { (echo, _, _) async throws in
            let call = ReflectionV1.ServerReflectionClient(echo.channel).serverReflectionInfo(options: calm)
            try await call.send(.init(messageRequest: .listServices("")))
            guard case .listServicesResponse(let list)? = try await call.receive()?.messageResponse else {
                Issue.record("no list")
                return
            }
            #expect(
                list.service.map(\.name) == [
                    "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                    "grpc.reflection.v1alpha.ServerReflection", "martlet.test.v1.Echo",
                ])
            for symbol in [
                "martlet.test.v1.Echo", "martlet.test.v1.Echo.Chat", "martlet.test.v1.Everything.Inner.Mode",
            ] {
                try await call.send(.init(messageRequest: .fileContainingSymbol(symbol)))
                guard case .fileDescriptorResponse(let files)? = try await call.receive()?.messageResponse
                else {
                    Issue.record("no file for \(symbol)")
                    return
                }
                #expect(files.fileDescriptorProto == [EchoV1.files[0].descriptor])
            }
            try await call.send(.init(messageRequest: .fileByFilename("absent.proto")))
            guard case .errorResponse(let error)? = try await call.receive()?.messageResponse else {
                Issue.record("no error")
                return
            }
            #expect(error.errorCode == RPCStatus.notFound.rawValue)

            let alpha = ReflectionV1Alpha.ServerReflectionClient(echo.channel).serverReflectionInfo(
                options: calm)
            try await alpha.send(.init(messageRequest: .listServices("")))
            guard case .listServicesResponse(let alphaList)? = try await alpha.receive()?.messageResponse
            else {
                Issue.record("no list")
                return
            }
            #expect(alphaList.service.map(\.name) == list.service.map(\.name))
        }
    }

    @Test("A file comes with the files it imports, itself first")
    func imports() async throws {
        struct Handler: SchedulerHandler {
            func attach(
                requests: RPCIncoming<Wire.HostMessage>, responses: RPCOutgoing<Wire.SchedulerMessage>,
                context: RPCServerContext
            ) async throws {
                for try await message in requests {
                    guard case .hello(let hello)? = message.kind else { continue }
                    try await responses.send(.welcome(Wire.Welcome(scheduler: hello.host)))
                }
            }
        }
        let server = try RPCServer.start(
            listeners: [RPCListener(anyPort, credentials: .insecure)], services: [.scheduler(Handler())])
        let channel = try RPCChannel(to: server.addresses[0], credentials: .insecure)
        let call = SchedulerClient(channel).attach(options: calm)
        try await call.send(.hello(Wire.Hello(host: "h", role: .seed)))
        #expect(try await call.receive() == .welcome(Wire.Welcome(scheduler: "h")))

        let reflection = ReflectionV1.ServerReflectionClient(channel).serverReflectionInfo(options: calm)
        try await reflection.send(.init(messageRequest: .fileContainingSymbol("martlet.v1.Scheduler")))
        guard case .fileDescriptorResponse(let files)? = try await reflection.receive()?.messageResponse
        else {
            Issue.record("no file")
            return
        }
        let byName = Dictionary(uniqueKeysWithValues: Wire.files.map { ($0.name, $0.descriptor) })
        #expect(
            files.fileDescriptorProto
                == ["martlet/v1/scheduler.proto", "martlet/v1/model.proto"].map { byName[$0] })
        await server.shutdown(grace: .zero)
    }
}
