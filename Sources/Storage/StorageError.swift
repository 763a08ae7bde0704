import System

/// Why storage could not do as asked: a closed code, one sentence with the remedy, and the kernel's reason where there
/// is one.
public struct StorageError: Error, Sendable, CustomStringConvertible {
    /// The closed set of reasons.
    public enum Code: String, Sendable, Hashable, CaseIterable {
        /// The budget or the disk is full, and nothing more may be evicted.
        case noSpace
        /// Permissions or a read-only file system.
        case unwritable
        /// Another process has the data directory.
        case locked
        /// A task or model is being served, downloaded or exported.
        case inUse
        /// What is on disk is not what was written there.
        case corrupt
        /// Pieces are missing.
        case incomplete
        /// Contradicts what is held: another digest, another size, another phase.
        case conflict
        /// Not held here.
        case unknownTask
        /// Not recorded here.
        case unknownModel
        /// A path that may not be written.
        case badPath
        /// A manifest or setting that cannot be stored.
        case invalid
        /// Any other failure of the file system.
        case io
    }

    /// Which reason.
    public let code: Code
    /// One sentence with place and remedy.
    public let description: String
    /// The kernel's reason, where there is one.
    public let cause: Errno?

    /// Describes a failure.
    public init(_ code: Code, _ description: String, cause: Errno? = nil) {
        self.code = code
        self.description = description
        self.cause = cause
    }

    /// A failed system call: the code from the error number, the sentence from what was being done and a remedy.
    ///
    /// - Parameter action: what could not be done, e.g. `write piece 3 of sha256:…`.
    public init(cannot action: String, _ cause: Errno) {
        let remedy: String
        switch cause.fileReason {
        case .diskFull:
            code = .noSpace
            remedy = "the disk is full; free space there, remove models, or use another directory"
        case .forbidden:
            code = .unwritable
            remedy = "give this user write permission there, or use another directory"
        case .badPath:
            code = .badPath
            remedy = "something else stands at that path; remove it or use another directory"
        case .unsupported:
            code = .io
            remedy = "these file systems cannot do that; export by copying instead"
        case .tooManyOpen:
            code = .io
            remedy = "too many files are open; raise the limit (LimitNOFILE)"
        default:
            code = .io
            remedy = "check the file system and its device"
        }
        description = "cannot \(action): \(remedy) [\(cause)]"
        self.cause = cause
    }
}

/// Runs a body of system calls and says, when one fails, what could not be done.
func storing<Result: ~Copyable>(
    _ action: @autoclosure () -> String, _ body: () throws(Errno) -> Result
) throws(StorageError) -> Result {
    do {
        return try body()
    } catch {
        throw StorageError(cannot: action(), error)
    }
}

/// Bytes for people: `4.0 GiB`.
func byteText(_ bytes: UInt64) -> String {
    var value = Double(bytes)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while value >= 1024, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    if unit == 0 { return "\(bytes) B" }
    let tenths = UInt64((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10) \(units[unit])"
}
