/// What a device really enforces of a lease, and so by which means one is granted on it.
///
/// Found out by trying (`LeaseProbe`), not by reading flags: rxe, for one, has windows and does not bound them.
public struct LeaseEnforcement: Hashable, Sendable, CustomStringConvertible {
    /// The means of granting one reader one range.
    public enum Mechanism: String, Hashable, Sendable {
        /// A type-2 window bound to the reader's serving queue pair: granted and revoked by posted requests.
        case window
        /// A read-only region of exactly the range, in a protection domain of that reader alone.
        case exactRegion
    }

    /// What one mechanism enforces.
    public struct Enforcement: Hashable, Sendable, CustomStringConvertible {
        /// The key is void for others: on another queue pair (window), in another protection domain (region).
        public let bindsToReader: Bool
        /// A WRITE fails, and changes nothing.
        public let refusesWrites: Bool
        /// A READ that begins before the range, ends behind it or lies behind it fails.
        public let boundsRange: Bool
        /// A READ after the revocation fails.
        public let revokes: Bool

        /// Findings.
        public init(bindsToReader: Bool, refusesWrites: Bool, boundsRange: Bool, revokes: Bool) {
            self.bindsToReader = bindsToReader
            self.refusesWrites = refusesWrites
            self.boundsRange = boundsRange
            self.revokes = revokes
        }

        /// Whether all four hold: only then may leases rest on it.
        public var isComplete: Bool { bindsToReader && refusesWrites && boundsRange && revokes }

        /// What holds and what does not, in words.
        public var description: String {
            let parts = [
                (bindsToReader, "reader"), (refusesWrites, "read-only"), (boundsRange, "range"),
                (revokes, "revocation"),
            ]
            let held = parts.filter(\.0).map(\.1)
            let missing = parts.filter { !$0.0 }.map(\.1)
            if missing.isEmpty { return "enforces \(held.joined(separator: ", "))" }
            if held.isEmpty { return "enforces nothing" }
            return "enforces \(held.joined(separator: ", ")); not \(missing.joined(separator: ", "))"
        }
    }

    /// What type-2 windows enforce; nil where there are none, or none can be bound.
    public let windows: Enforcement?
    /// Why there are no windows; empty when there are.
    public let windowsAbsence: String
    /// What exact regions enforce.
    public let regions: Enforcement

    /// Findings.
    public init(windows: Enforcement?, windowsAbsence: String = "", regions: Enforcement) {
        self.windows = windows
        self.windowsAbsence = windowsAbsence
        self.regions = regions
    }

    /// How leases are granted: by windows where those enforce everything, else by exact regions where those do; nil:
    /// not at all, and the device may not serve.
    public var mechanism: Mechanism? {
        if let windows, windows.isComplete { return .window }
        return regions.isComplete ? .exactRegion : nil
    }

    /// The findings and the choice, in one line.
    public var description: String {
        let window = windows.map { "\($0)" } ?? "none (\(windowsAbsence))"
        let choice =
            switch mechanism {
            case .window: "leases by window"
            case .exactRegion: "leases by exact region"
            case nil: "no leases: it may not serve"
            }
        return "\(choice); windows: \(window); regions: \(regions)"
    }
}
