import CLinux

/// An owned file descriptor: closed exactly once, by `close()` or when its one owner lets it go.
///
/// `raw` may be lent to calls that do not keep it.
public struct FileDescriptor: ~Copyable, Sendable {
    /// The number, valid while the owner lives.
    public let raw: CInt

    /// Takes ownership of an open descriptor.
    public init(owning raw: CInt) {
        precondition(raw >= 0, "a descriptor is not negative")
        self.raw = raw
    }

    /// Takes ownership of a call's result, or throws the thread's `errno` when the call returned a negative number.
    public init(_ result: CInt, _ call: String) throws(Errno) {
        guard result >= 0 else { throw Errno.last(call) }
        raw = result
    }

    /// A second descriptor for the same open file, close-on-exec.
    public func duplicate() throws(Errno) -> FileDescriptor {
        try FileDescriptor(martlet_dup_cloexec(raw), "fcntl(F_DUPFD_CLOEXEC)")
    }

    /// Closes, and says when the kernel reports a late write error.
    public consuming func close() throws(Errno) {
        let number = raw
        discard self
        guard CLinux.close(number) == 0 || martlet_errno() == EINTR else { throw Errno.last("close") }
    }

    /// Gives the number away: the caller now owns it.
    public consuming func release() -> CInt {
        let number = raw
        discard self
        return number
    }

    deinit { _ = CLinux.close(raw) }
}

/// Calls until it does not fail with `EINTR`; throws the thread's `errno` when it returns a negative number.
@discardableResult
public func retrying<Result: SignedInteger>(_ call: String, _ body: () -> Result) throws(Errno) -> Result {
    while true {
        let result = body()
        if result >= 0 { return result }
        let code = martlet_errno()
        if code != EINTR { throw Errno(code, call) }
    }
}
