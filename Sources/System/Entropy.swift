import CLinux

/// Random bytes from the kernel: for keys, tokens and incarnations. Simulations use seeded generators instead.
public enum Entropy {
    /// Fills a buffer. Waits only in the first moments after the machine's start.
    public static func fill(_ buffer: UnsafeMutableRawBufferPointer) {
        var filled = 0
        while filled < buffer.count {
            let count = getrandom(buffer.baseAddress! + filled, buffer.count - filled, 0)
            if count > 0 {
                filled += count
            } else if martlet_errno() != EINTR {
                // Documented to fail for bad arguments alone; going on with known bytes would be worse than ending.
                fatalError("the kernel gives no random bytes: \(Errno.last("getrandom"))")
            }
        }
    }

    /// Random bytes.
    public static func bytes(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBytes { fill($0) }
        return bytes
    }

    /// A random number.
    public static func uint64() -> UInt64 {
        var number: UInt64 = 0
        withUnsafeMutableBytes(of: &number) { fill($0) }
        return number
    }
}
