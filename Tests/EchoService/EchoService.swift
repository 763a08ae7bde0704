import RPC
import Synchronization

/// The echo service of the tests; a request's `action` makes it do more than answer.
///
/// - `fail`: ends with notFound, a message and a trailer.
/// - `crash`: throws an error that is no RPCError.
/// - `wait`: waits until it is cancelled, and counts that.
/// - `metadata`: answers the value of `martlet-test`, and sends it back as initial metadata and as trailer.
/// - `peer`: answers the peer's address and the names in its certificate.
/// - `remaining`: answers whether the call has a time limit.
public final class EchoService: EchoHandler {
    /// A failure that is no RPCError.
    public struct Crash: Error, CustomStringConvertible {
        /// What happened.
        public var description: String { "the echo handler crashed" }
    }

    private struct Counts {
        var started = 0
        var cancelled = 0
    }

    private let counts = Mutex(Counts())

    /// An echo service.
    public init() {}

    /// How many handlers began to wait.
    public var started: Int { counts.withLock { $0.started } }
    /// How many handlers that waited were cancelled.
    public var cancelled: Int { counts.withLock { $0.cancelled } }

    private func act(_ request: EchoV1.EchoRequest, _ context: RPCServerContext) async throws -> String {
        switch request.action {
        case "fail":
            throw RPCError(.notFound, "nichts da: ✗", trailers: ["martlet-why": "test"])
        case "crash":
            throw Crash()
        case "wait":
            try await waitForCancellation()
            return ""
        case "metadata":
            let value = context.metadata["martlet-test"] ?? "none"
            var metadata = RPCMetadata()
            try metadata.add("martlet-test", value)
            try metadata.add("martlet-test-bin", [0, 255])
            context.setInitialMetadata(metadata)
            context.setTrailers(metadata)
            return value
        case "peer":
            return ([context.peer] + context.peerNames).joined(separator: " ")
        case "remaining":
            return context.timeRemaining == nil ? "none" : "some"
        default:
            return request.text
        }
    }

    private func waitForCancellation() async throws {
        counts.withLock { $0.started += 1 }
        do {
            try await Task.sleep(for: .seconds(600))
        } catch {
            counts.withLock { $0.cancelled += 1 }
            throw error
        }
    }

    /// Answers `Unary`.
    public func unary(
        _ request: EchoV1.EchoRequest, context: RPCServerContext
    ) async throws -> EchoV1.EchoResponse {
        let text = try await act(request, context)
        let payload = request.times == 0 ? request.payload : [UInt8](repeating: 7, count: Int(request.times))
        return EchoV1.EchoResponse(text: text, payload: payload)
    }

    /// Answers `Collect`.
    public func collect(
        requests: RPCIncoming<EchoV1.EchoRequest>, context: RPCServerContext
    ) async throws -> EchoV1.EchoResponse {
        var texts: [String] = []
        for try await request in requests { texts.append(try await act(request, context)) }
        return EchoV1.EchoResponse(text: texts.joined(separator: ","), index: UInt32(texts.count))
    }

    /// Answers `Expand`.
    public func expand(
        _ request: EchoV1.EchoRequest, responses: RPCOutgoing<EchoV1.EchoResponse>, context: RPCServerContext
    ) async throws {
        let text = request.action == "expand-then-fail" ? request.text : try await act(request, context)
        for index in 0..<request.times {
            try await responses.send(EchoV1.EchoResponse(text: text, payload: request.payload, index: index))
            counts.withLock { $0.started += 1 }
        }
        if request.action == "expand-then-fail" { throw RPCError(.dataLoss, "after the last") }
    }

    /// Answers `Chat`.
    public func chat(
        requests: RPCIncoming<EchoV1.EchoRequest>, responses: RPCOutgoing<EchoV1.EchoResponse>,
        context: RPCServerContext
    ) async throws {
        var index: UInt32 = 0
        while let request = try await requests.receive() {
            if request.action == "pair" { return try await pair(requests, responses) }
            let text = try await act(request, context)
            try await responses.send(EchoV1.EchoResponse(text: text, payload: request.payload, index: index))
            index += 1
        }
    }

    /// A reader and a writer side by side, as a scheduler has them: the end of one cancels the other, and the call ends
    /// ok.
    private func pair(
        _ requests: RPCIncoming<EchoV1.EchoRequest>, _ responses: RPCOutgoing<EchoV1.EchoResponse>
    ) async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                for index in 0..<3 { try? await responses.send(EchoV1.EchoResponse(index: UInt32(index))) }
            }
            group.addTask { _ = try? await requests.receive() }
            await group.next()
            group.cancelAll()
        }
    }
}
