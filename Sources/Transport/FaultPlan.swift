import Synchronization

/// What a `FaultyTransport` shall do wrong; may be changed from any thread while the transport runs.
///
/// For tests, of machines in one process and of whole processes (`fromEnvironment`). Counts begin at the plan's making.
public final class FaultPlan: Sendable, CustomStringConvertible {
    /// Which way a message goes.
    public enum Direction: Sendable, Hashable {
        /// From this host.
        case sending
        /// To this host.
        case receiving
    }

    /// The faults; the default is none.
    public struct Faults: Sendable {
        /// Reading side: a bit is flipped in every n-th read that completed well; 0 for none.
        public var corruptReadsEvery = 0
        /// Reading side: completions are kept back until this is false again, or their link goes down.
        public var withholdsCompletions = false
        /// Reading side: completions come this much later.
        public var completionDelayNs: UInt64 = 0
        /// Reading side: every n-th read fails with `failPostsCode` instead of being posted; 0 for none.
        public var failPostsEvery = 0
        /// What those reads fail with.
        public var failPostsCode = TransportError.Code.sourceFailed
        /// Both sides: messages for which this says true are lost.
        public var losesMessage: (@Sendable (Direction, UnsafeRawBufferPointer) -> Bool)?
        /// Serving side: every n-th export offers a copy with a bit flipped; 0 for none.
        public var corruptExportsEvery = 0
        /// Serving side: every message is accepted and none is sent.
        public var swallowsSends = false
        /// The transport is not polled and sends nothing: connections stay open, nobody is answered.
        public var isFrozen = false
        /// Freezes once so many exports have been made.
        public var freezesAfterExports: Int?
        /// Freezes once so many links have come up.
        public var freezesAfterLinks: Int?

        /// No fault.
        public init() {}
    }

    /// What was done wrong so far.
    public struct Tally: Sendable, Hashable {
        /// Reads with a bit flipped.
        public var readsCorrupted = 0
        /// Reads that failed instead of being posted.
        public var readsFailed = 0
        /// Exports of a copy with a bit flipped.
        public var exportsCorrupted = 0
        /// Messages lost or swallowed.
        public var messagesLost = 0

        /// All zero.
        public init() {}
    }

    struct State {
        var faults: Faults
        var tally = Tally()
        var posts = 0
        var reads = 0
        var exports = 0
        var links = 0
        var killsLinks = false
    }

    let state: Mutex<State>
    private let text: String

    /// A plan with these faults.
    public init(_ faults: Faults = Faults()) {
        state = Mutex(State(faults: faults))
        text = "set by the program"
    }

    /// Parses a list such as `corrupt-exports,freeze-after-exports=3`; nil when a part is unknown.
    ///
    /// Parts: `corrupt-exports[=n]` `corrupt-reads[=n]` `fail-posts=n` `withhold-reads` `delay-reads-ms=n`
    /// `swallow-sends` `freeze` `freeze-after-exports=n` `freeze-after-links=n`.
    public init?(text: String) {
        var faults = Faults()
        for part in text.split(separator: ",") {
            let sides = part.split(separator: "=", maxSplits: 1)
            let number = sides.count == 2 ? Int(sides[1]) : nil
            guard sides.count == 1 || number.map({ $0 > 0 }) == true else { return nil }
            switch (sides[0], number) {
            case ("corrupt-exports", _): faults.corruptExportsEvery = number ?? 1
            case ("corrupt-reads", _): faults.corruptReadsEvery = number ?? 1
            case ("fail-posts", let number?): faults.failPostsEvery = number
            case ("withhold-reads", nil): faults.withholdsCompletions = true
            case ("delay-reads-ms", let number?): faults.completionDelayNs = UInt64(number) * 1_000_000
            case ("swallow-sends", nil): faults.swallowsSends = true
            case ("freeze", nil): faults.isFrozen = true
            case ("freeze-after-exports", let number?): faults.freezesAfterExports = number
            case ("freeze-after-links", let number?): faults.freezesAfterLinks = number
            default: return nil
            }
        }
        state = Mutex(State(faults: faults))
        self.text = text
    }

    /// The variable that gives a process a plan.
    public static let environmentVariable = "MARTLET_FAULT_TRANSPORT"

    /// The plan that `MARTLET_FAULT_TRANSPORT` asks for, in tests of whole processes; nil where it is not set. Traps
    /// when it is malformed: a test that injects nothing would prove nothing.
    public static func fromEnvironment(_ environment: [String: String]) -> FaultPlan? {
        guard let text = environment[environmentVariable], !text.isEmpty else { return nil }
        guard let plan = FaultPlan(text: text) else {
            fatalError("\(environmentVariable)=\(text) names an unknown fault")
        }
        return plan
    }

    /// Changes the faults. Any thread; a rail that sleeps acts on it when it wakes.
    public func change(_ body: (inout Faults) -> Void) { state.withLock { body(&$0.faults) } }

    /// Has all links closed at the next poll.
    public func killLinks() { state.withLock { $0.killsLinks = true } }

    /// What was done wrong so far. Any thread.
    public var tally: Tally { state.withLock { $0.tally } }

    /// As a word or text for people.
    public var description: String { text }
}
