import Foundation
import Memory
import System

/// A GPU driver's library, made for one test: compiled into a temporary folder, loaded by path, gone with its owner.
///
/// Its devices' memory is memfds at addresses that mean nothing to the processor. The folder is gone after `close`; the
/// library itself stays loaded, as the real one does.
public final class AcceleratorDouble {
    /// How it differs from a machine with two GPUs that can do everything.
    public struct Settings: Sendable {
        /// How many GPUs.
        public var devices = 2
        /// What cuInit answers.
        public var initResult = 0
        /// Whether the GPUs say that they export DMA-bufs.
        public var hasDMABuf = true
        /// What an export answers.
        public var exportResult = 0
        /// What the GPUs say of the order of a NIC's writes.
        public var ordering = 100
        /// How far allocations lie from where pages begin.
        public var addressOffset = 0
        /// Symbols of an older library that are not there: `EXPORT`, `FLUSH`, `COPY`.
        public var without: [String] = []

        /// A machine with two GPUs that can do everything.
        public init() {}

        var flags: [String] {
            [
                "-DDEVICES=\(devices)", "-DINIT_RESULT=\(initResult)", "-DDMA_BUF=\(hasDMABuf ? 1 : 0)",
                "-DEXPORT_RESULT=\(exportResult)", "-DORDERING=\(ordering)", "-DADDRESS_OFFSET=\(addressOffset)",
            ] + without.map { "-DWITHOUT_\($0)" }
        }
    }

    /// Why there is no double.
    public struct Failure: Error, CustomStringConvertible {
        /// The compiler's words.
        public let description: String
    }

    /// Where the library lies.
    public let path: String
    private let folder: String
    private let handle: UnsafeMutableRawPointer

    /// Compiles and loads a library. Throws `Failure` where there is no C compiler.
    public init(_ settings: Settings = Settings()) throws {
        var template = Array("/tmp/martlet-gpu-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else { throw Failure(description: "no temporary folder: errno \(errno)") }
        let folder = String(cString: made)
        let path = "\(folder)/libcuda.so.1"
        let code = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("cuda.c").path
        do {
            try Self.compile(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", path, code] + settings.flags)
            guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
                throw Failure(description: String(cString: dlerror()))
            }
            self.handle = handle
        } catch {
            try? FileManager.default.removeItem(atPath: folder)
            throw error
        }
        self.folder = folder
        self.path = path
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// Its GPUs, or why there are none, on a machine whose kernel objects to nothing.
    public func find() -> Result<Accelerators, AcceleratorError> {
        Accelerators.find(library: path, system: KernelSupport(root: folder))
    }

    /// Makes the next call of a symbol fail.
    public func failNext(_ symbol: String, result: CInt) {
        typealias Order = @convention(c) (UnsafePointer<CChar>, CInt) -> Void
        unsafeBitCast(dlsym(handle, "double_fail"), to: Order.self)(symbol, result)
    }

    /// What is open, and what was done.
    public struct Census: Hashable, Sendable {
        /// Allocations.
        public let allocations: Int
        /// Times contexts are held.
        public let contexts: Int
        /// Flushes of a NIC's writes so far.
        public let flushes: Int
        /// Whether nothing is open.
        public var isEmpty: Bool { allocations + contexts == 0 }
    }

    /// Counts.
    public var census: Census {
        typealias Question = @convention(c) (UnsafeMutablePointer<CInt>) -> Void
        var counts: [CInt] = [0, 0, 0]
        unsafeBitCast(dlsym(handle, "double_census"), to: Question.self)(&counts)
        return Census(allocations: Int(counts[0]), contexts: Int(counts[1]), flushes: Int(counts[2]))
    }

    private static func compile(_ arguments: [String]) throws {
        let compiler = Process()
        compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        // A compiler that hangs is ended rather than waited for.
        compiler.arguments = ["timeout", "120", "cc"] + arguments
        let words = Pipe()
        compiler.standardError = words
        try compiler.run()
        let said = words.fileHandleForReading.readDataToEndOfFile()
        compiler.waitUntilExit()
        guard compiler.terminationStatus == 0 else {
            throw Failure(description: "cannot compile the GPU double: \(String(decoding: said, as: UTF8.self))")
        }
    }
}
