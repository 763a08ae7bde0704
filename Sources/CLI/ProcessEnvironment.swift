import Glibc

/// The process's environment, read once by the command that needs it and handed on as a value.
enum ProcessEnvironment {
    /// Every variable.
    static func all() -> [String: String] {
        var found: [String: String] = [:]
        var next = environ
        while let entry = next.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                found[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            next += 1
        }
        return found
    }
}
