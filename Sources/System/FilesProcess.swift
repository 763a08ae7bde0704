import CLinux

/// This process as others see it.
public enum CurrentProcess {
    /// Its number.
    public static var id: Int32 { getpid() }

    /// A variable of its environment; nil where it is not set.
    public static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
