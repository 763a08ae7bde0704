import Synchronization

/// Whether a server can do its work, as a list of named checks. Safe from every thread.
public final class Readiness: Sendable {
    /// One condition. It begins as failed with "starting".
    public struct Check: Sendable {
        fileprivate let owner: Readiness
        fileprivate let name: String

        /// The condition holds.
        public func pass() { owner.set(name, nil) }

        /// It does not: why, in one sentence.
        public func fail(_ reason: String) { owner.set(name, reason) }
    }

    private let failures = Mutex<[(name: String, reason: String?)]>([])

    /// No condition yet: ready.
    public init() {}

    /// Adds a condition. Names are unique; at most 32.
    public func check(_ name: String) -> Check {
        failures.withLock { checks in
            precondition(
                checks.count < 32 && !checks.contains { $0.name == name }, "check \(name): twice, or too many"
            )
            checks.append((name, "starting"))
        }
        return Check(owner: self, name: name)
    }

    /// Whether every condition holds.
    public var isReady: Bool { failures.withLock { $0.allSatisfy { $0.reason == nil } } }

    /// A line for each condition: `[+] store ok`, `[-] scheduler: not attached`.
    public var report: String {
        failures.withLock { checks in
            checks.map { check in
                check.reason.map { "[-] \(check.name): \($0)\n" } ?? "[+] \(check.name) ok\n"
            }.joined()
        }
    }

    private func set(_ name: String, _ reason: String?) {
        failures.withLock { checks in
            guard let index = checks.firstIndex(where: { $0.name == name }) else { return }
            checks[index].reason = reason
        }
    }
}
