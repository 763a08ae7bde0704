import CGRPC

/// The process's one gRPC completion queue, polled by threads of its own.
///
/// All channels and servers share it: it is never shut down, so that a batch may be started at any time. The threads do
/// gRPC's network work too, and run nothing of ours but short completions, which resume tasks.
///
/// Safety: the pointer is set once, and gRPC's functions on it are thread-safe.
final class CompletionQueue: @unchecked Sendable {
    static let shared = CompletionQueue()

    /// Two: one reads sockets while the other hands on what was read.
    private static let threads = 2

    let pointer: OpaquePointer

    private init() {
        martlet_rpc_init()
        guard let queue = grpc_completion_queue_create_for_next(nil) else {
            preconditionFailure("CompletionQueue: gRPC cannot make a completion queue")
        }
        pointer = queue
        for _ in 0..<Self.threads {
            let error = martlet_rpc_start_polling(queue) { tag, success in
                Tag.complete(tag, success: success != 0)
            }
            precondition(
                error == 0, "CompletionQueue: cannot start a thread [pthread_create: errno \(-error)]")
        }
    }
}

/// What happens when an operation completes; the pointer to it travels through gRPC as the operation's tag.
final class Tag: Sendable {
    private let body: @Sendable (Bool) -> Void

    private init(_ body: @escaping @Sendable (Bool) -> Void) { self.body = body }

    /// A tag that is owed one completion.
    // Safety: the core hands a tag back exactly once, when its operation completes; until then it owns the reference.
    static func retained(_ body: @escaping @Sendable (Bool) -> Void) -> UnsafeMutableRawPointer {
        Unmanaged.passRetained(Tag(body)).toOpaque()
    }

    /// Releases a tag whose operation was refused.
    // Safety: a refused operation completes never, so the reference is still ours.
    static func release(_ tag: UnsafeMutableRawPointer) { Unmanaged<Tag>.fromOpaque(tag).release() }

    static func complete(_ tag: UnsafeMutableRawPointer, success: Bool) {
        // Safety: this is that one time.
        Unmanaged<Tag>.fromOpaque(tag).takeRetainedValue().body(success)
    }
}
