import Glibc

/// A detached real thread with a name: where code may block that must not block Swift's cooperative pool.
///
/// Detached, because its owner may be dropped on a thread of that pool, which must not wait for a join.
public enum NamedThread {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(_ name: String, _ run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    /// Starts a thread that runs `body` and ends with it.
    ///
    /// The name (at most 15 bytes) is what `top -H` and debuggers show. False when the system refuses a further thread.
    public static func start(_ name: String, _ body: @escaping @Sendable () -> Void) -> Bool {
        var attributes = pthread_attr_t()
        guard pthread_attr_init(&attributes) == 0 else { return false }
        defer { pthread_attr_destroy(&attributes) }
        pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
        let box = Unmanaged.passRetained(Body(name, body))
        var thread = pthread_t()
        let result = pthread_create(
            &thread, &attributes,
            { context in
                guard let context else { return nil }
                // Safety: the pointer is the retained box given to pthread_create below, taken exactly once.
                let body = Unmanaged<Body>.fromOpaque(context).takeRetainedValue()
                // For people only: a thread that cannot be named works as well.
                if let comm = fopen("/proc/thread-self/comm", "w") {
                    fputs(String(body.name.prefix(15)), comm)
                    fclose(comm)
                }
                body.run()
                return nil
            }, box.toOpaque())
        guard result == 0 else {
            box.release()
            return false
        }
        return true
    }
}
