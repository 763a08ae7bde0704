/// How often each fault strikes in a run; which host and when is the seed's choice.
public struct FaultPlan: Sendable, Hashable {
    /// Peers that crash, and come back with the pieces they had.
    public var crashes = 0
    /// Of those, how many are followed by messages of the life before.
    public var stale = 0
    /// Seed peers that are lost for good; one always stays.
    public var seedLosses = 0
    /// Restarts of the scheduler, which forgets everything.
    public var schedulerRestarts = 0
    /// Replacements of the scheduler by another instance, which decides otherwise.
    public var schedulerReplacements = 0
    /// Times that a half of the peers is cut off from the rest and from the scheduler, and joined again.
    public var partitions = 0
    /// Peers with a tenth of their line rate.
    public var slow = 0
    /// Peers that send wrong bytes.
    public var corrupting = 0
    /// Peers whose links come up, and that never answer.
    public var silent = 0
    /// Peers that say they have pieces which they lack.
    public var lying = 0
    /// Peers whose disk is full before they have the model.
    public var fullDisks = 0
    /// Hosts whose clocks are ahead, by up to an hour.
    public var skewed = 0
    /// Control messages in a million that are lost once, and come after a retransmission.
    public var lossPerMillion = 0

    /// One kind of fault, as it is written.
    public struct Word: Sendable {
        /// Its name.
        public let name: String
        /// What it does.
        public let meaning: String
        let count: @Sendable (FaultPlan) -> Int
        let set: @Sendable (inout FaultPlan, Int) -> Void
    }

    /// Every kind, in the order of the help.
    public static let words: [Word] = [
        Word(name: "crash", meaning: "peers crash and come back", count: { $0.crashes }, set: { $0.crashes = $1 }),
        Word(
            name: "stale", meaning: "crashed peers' old messages come late", count: { $0.stale }, set: { $0.stale = $1 }
        ),
        Word(
            name: "seed-loss", meaning: "seeds are lost for good", count: { $0.seedLosses }, set: { $0.seedLosses = $1 }
        ),
        Word(
            name: "scheduler", meaning: "the scheduler restarts", count: { $0.schedulerRestarts },
            set: { $0.schedulerRestarts = $1 }),
        Word(
            name: "replace", meaning: "another scheduler takes over", count: { $0.schedulerReplacements },
            set: { $0.schedulerReplacements = $1 }),
        Word(
            name: "partition", meaning: "half of the peers are cut off for a while", count: { $0.partitions },
            set: { $0.partitions = $1 }),
        Word(name: "slow", meaning: "peers have a tenth of their rate", count: { $0.slow }, set: { $0.slow = $1 }),
        Word(name: "corrupt", meaning: "peers send wrong bytes", count: { $0.corrupting }, set: { $0.corrupting = $1 }),
        Word(name: "silent", meaning: "peers never answer", count: { $0.silent }, set: { $0.silent = $1 }),
        Word(name: "lying", meaning: "peers claim pieces they lack", count: { $0.lying }, set: { $0.lying = $1 }),
        Word(name: "full", meaning: "peers' disks fill up", count: { $0.fullDisks }, set: { $0.fullDisks = $1 }),
        Word(name: "skew", meaning: "hosts' clocks are ahead", count: { $0.skewed }, set: { $0.skewed = $1 }),
        Word(
            name: "loss", meaning: "control messages in a million come late", count: { $0.lossPerMillion },
            set: { $0.lossPerMillion = $1 }),
    ]

    /// Nothing goes wrong.
    public init() {}

    /// Reads `crash=2,partition=1,loss=100`; nil when a word is unknown or a number is none.
    public init?(_ text: String) {
        self.init()
        for part in text.split(separator: ",") {
            let pair = part.split(separator: "=", omittingEmptySubsequences: false).map { String($0) }
            guard pair.count <= 2, let word = Self.words.first(where: { $0.name == pair[0] }) else { return nil }
            guard let count = pair.count == 1 ? 1 : Int(pair[1]), (0...1_000_000).contains(count) else { return nil }
            word.set(&self, count)
        }
    }

    /// As it is written: the faults that strike at all.
    public var text: String {
        Self.words.compactMap { $0.count(self) > 0 ? "\($0.name)=\($0.count(self))" : nil }.joined(separator: ",")
    }

    /// Whether a piece may have to be read again at the origin.
    var losesPieces: Bool {
        crashes + seedLosses + schedulerRestarts + schedulerReplacements + partitions + corrupting + silent + lying
            + fullDisks > 0
    }
}
