import CLinux

/// A name that all processes on one running kernel share and no other machine has.
public enum MachineName {
    /// The kernel's boot id; nil where /proc does not have it.
    public static func fromBootID() -> String? {
        let descriptor = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = CLinux.read(descriptor, &buffer, buffer.count)
        guard count >= 36 else { return nil }
        return String(decoding: buffer[..<36], as: UTF8.self)
    }
}
