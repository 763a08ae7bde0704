import CLinux

/// A failed system call: which call, on what, and the kernel's error number.
///
/// Callers add what only they know (which file, which peer, the remedy) in their own error type.
public struct Errno: Error, Hashable, Sendable, CustomStringConvertible {
    /// The kernel's error number, e.g. `ENOSPC`.
    public let code: Int32
    /// The call that failed, e.g. `pwrite`.
    public let call: String

    /// Names an error number and the call that gave it.
    public init(_ code: Int32, _ call: String) {
        self.code = code
        self.call = call
    }

    /// The calling thread's `errno`, to be read at once after a failed call.
    public static func last(_ call: String) -> Errno { Errno(martlet_errno(), call) }

    /// The C library's sentence, e.g. `No space left on device`.
    public var message: String {
        guard let text = martlet_error_text(code) else { return "error \(code)" }
        return String(cString: text)
    }

    /// The C library's sentence with the call and the number.
    public var description: String { "\(message) [\(call): errno \(code)]" }
}
