import System

/// Why something could not be done with a GPU: a closed code, one sentence with the remedy, and the cause.
public struct AcceleratorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What went wrong.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// The driver's library is not installed, or not visible to this container.
        case noLibrary
        /// The driver's library is too old.
        case tooOld
        /// The kernel module is not loaded, does not fit the library, or is not ready.
        case noDriver
        /// There is no GPU, or none that this process may see.
        case noDevice
        /// The GPU, its driver or the kernel cannot give a NIC its memory (DMA-buf).
        case unsupported
        /// The GPU has no memory left.
        case exhausted
        /// The process may not use the GPU, or somebody else has it alone.
        case denied
        /// The arguments do not allow it.
        case invalid
        /// The GPU or its driver failed.
        case failed
    }

    /// What went wrong.
    public let code: Code
    /// What failed, on what, and what to do about it.
    public let sentence: String
    /// The call that failed and its result, e.g. `cuInit: result 100`; nil when no call was made.
    public let cause: String?

    /// Describes a failure.
    public init(_ code: Code, _ sentence: String, cause: String? = nil) {
        self.code = code
        self.sentence = sentence
        self.cause = cause
    }

    /// The sentence with its cause.
    public var description: String { cause.map { "\(sentence) [\($0)]" } ?? sentence }
}
