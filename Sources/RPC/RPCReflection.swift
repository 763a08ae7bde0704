/// Tells clients such as grpcurl which services a server has, and what their messages look like.
///
/// Both versions of the interface, `grpc.reflection.v1` and `v1alpha`, which have the same messages. Every server has
/// it.
struct RPCReflection: Sendable {
    private let services: [String]
    private let files: [String: RPCProtoFile]
    private let fileOfSymbol: [String: String]

    /// The reflection services of a server that has `services` besides.
    static func services(of services: [RPCService]) -> [RPCService] {
        let own = [ReflectionV1.files, ReflectionV1Alpha.files].flatMap { $0 }
        let names = services.map(\.name) + own.flatMap(\.serviceNames)
        let reflection = RPCReflection(names: names, files: services.flatMap(\.files) + own)
        return [
            .serverReflection(V1(reflection: reflection)), .serverReflection(V1Alpha(reflection: reflection)),
        ]
    }

    private init(names: [String], files: [RPCProtoFile]) {
        services = names.sorted()
        self.files = Dictionary(files.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        fileOfSymbol = Dictionary(
            files.flatMap { file in file.symbols.map { ($0, file.name) } },
            uniquingKeysWith: { first, _ in first })
    }

    private func answer(_ request: ReflectionV1.ServerReflectionRequest)
        -> ReflectionV1.ServerReflectionResponse
    {
        typealias Response = ReflectionV1.ServerReflectionResponse.MessageResponse
        let response: Response =
            switch request.messageRequest {
            case .listServices:
                .listServicesResponse(
                    ReflectionV1.ListServiceResponse(
                        service: services.map { ReflectionV1.ServiceResponse(name: $0) }))
            case .fileByFilename(let name):
                withImports(name).map { .fileDescriptorResponse($0) } ?? notFound("file '\(name)'")
            case .fileContainingSymbol(let symbol):
                fileOfSymbol[symbol].flatMap(withImports).map { .fileDescriptorResponse($0) }
                    ?? notFound("symbol '\(symbol)'")
            case .fileContainingExtension(let request):
                notFound("extension \(request.extensionNumber) of '\(request.containingType)'")
            case .allExtensionNumbersOfType(let type) where fileOfSymbol[type] != nil:
                .allExtensionNumbersResponse(ReflectionV1.ExtensionNumberResponse(baseTypeName: type))
            case .allExtensionNumbersOfType(let type):
                notFound("type '\(type)'")
            case nil:
                .errorResponse(
                    ReflectionV1.ErrorResponse(
                        errorCode: RPCStatus.invalidArgument.rawValue,
                        errorMessage: "the request asks for nothing"))
            }
        return ReflectionV1.ServerReflectionResponse(
            validHost: request.host, originalRequest: request, messageResponse: response)
    }

    private func notFound(_ what: String) -> ReflectionV1.ServerReflectionResponse.MessageResponse {
        .errorResponse(
            ReflectionV1.ErrorResponse(
                errorCode: RPCStatus.notFound.rawValue, errorMessage: "this server has no \(what)"))
    }

    /// A file and what it imports, directly or not; each once, those imported first.
    private func withImports(_ name: String) -> ReflectionV1.FileDescriptorResponse? {
        guard files[name] != nil else { return nil }
        var ordered: [String] = []
        func visit(_ name: String) {
            guard !ordered.contains(name), let file = files[name] else { return }
            for imported in file.imports { visit(imported) }
            ordered.append(name)
        }
        visit(name)
        return ReflectionV1.FileDescriptorResponse(
            fileDescriptorProto: ordered.reversed().compactMap { files[$0]?.descriptor })
    }

    private struct V1: ReflectionV1.ServerReflectionHandler {
        let reflection: RPCReflection

        func serverReflectionInfo(
            requests: RPCIncoming<ReflectionV1.ServerReflectionRequest>,
            responses: RPCOutgoing<ReflectionV1.ServerReflectionResponse>, context: RPCServerContext
        ) async throws {
            while let request = try await requests.receive() {
                try await responses.send(reflection.answer(request))
            }
        }
    }

    private struct V1Alpha: ReflectionV1Alpha.ServerReflectionHandler {
        let reflection: RPCReflection

        func serverReflectionInfo(
            requests: RPCIncoming<ReflectionV1Alpha.ServerReflectionRequest>,
            responses: RPCOutgoing<ReflectionV1Alpha.ServerReflectionResponse>, context: RPCServerContext
        ) async throws {
            while let request = try await requests.receive() {
                // The same message under another name: it goes from one type to the other by its bytes.
                let answer = reflection.answer(try .init(protobuf: request.protobufBytes()))
                try await responses.send(try .init(protobuf: answer.protobufBytes()))
            }
        }
    }
}
