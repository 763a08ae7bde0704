import System

/// Which run of the kernel this is: the page cache, and so everything written, lives exactly as long.
public struct BootID: Hashable, Sendable {
    /// The 16 bytes of the kernel's random number.
    public let bytes: [UInt8]

    /// Wraps 16 bytes; traps on another count.
    public init(bytes: [UInt8]) {
        precondition(bytes.count == 16, "a boot id has 16 bytes")
        self.bytes = bytes
    }

    /// No boot in particular: never equal to the one a journal was written under, so nothing unsynced is trusted.
    public static let unknown = BootID(bytes: Array(repeating: 0, count: 16))

    /// This boot, from `/proc/sys/kernel/random/boot_id`; `unknown` where that cannot be read.
    public static func current() -> BootID {
        var text = [UInt8](repeating: 0, count: 64)
        do {
            let file = try Directory(path: "/proc/sys/kernel/random").open("boot_id", .read)
            var failure: Errno? = nil
            let count = text.withUnsafeMutableBytes { buffer -> Int in
                do throws(Errno) { return try file.read(at: 0, into: buffer) } catch {
                    failure = error
                    return 0
                }
            }
            guard failure == nil else { return .unknown }
            return BootID(text: String(decoding: text[..<count], as: UTF8.self)) ?? .unknown
        } catch {
            return .unknown
        }
    }

    /// Parses the kernel's form, 32 hex digits with dashes between.
    init?(text: String) {
        let digits = text.filter(\.isHexDigit)
        guard digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        var rest = digits[...]
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        self.bytes = bytes
    }
}
