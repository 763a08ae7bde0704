/// Runs one target on inputs made from its corpus; the same ones for the same seed and corpus.
public struct FuzzRun {
    private let target: FuzzTarget
    private var mutator: Mutator
    /// What inputs are made from: the seeds, the corpus given, and what showed something new.
    public private(set) var corpus: [[UInt8]]
    /// How many of the corpus were found by this run, at its end.
    public private(set) var found = 0
    private var seen: Set<UInt64> = []
    /// New kinds of outcome are kept up to this many inputs.
    private static let corpusMax = 2048

    /// Begins with the target's own seeds and a corpus.
    public init(_ target: FuzzTarget, seed: UInt64, corpus given: [[UInt8]]) {
        self.target = target
        mutator = Mutator(seed: seed, bytesMax: target.bytesMax, words: target.words)
        corpus = target.seeds + given
        precondition(!corpus.isEmpty, "\(target.name) has nothing to begin from")
    }

    /// Runs the corpus once as it is; `before` is told each input that is about to be run.
    public mutating func runCorpus(before: ([UInt8]) -> Void) {
        for input in corpus {
            before(input)
            seen.insert(target.run(input))
        }
    }

    /// Runs so many mutated inputs.
    public mutating func run(_ count: Int, before: ([UInt8]) -> Void) {
        for _ in 0..<count {
            // What was found last is what is least explored.
            let isRecent = found > 0 && mutator.below(2) == 0
            let place = isRecent ? corpus.count - 1 - mutator.below(min(found, 64)) : mutator.below(corpus.count)
            let input = mutator.mutated(corpus[place], other: corpus[mutator.below(corpus.count)])
            before(input)
            let outcome = target.run(input)
            if corpus.count < FuzzRun.corpusMax, seen.insert(outcome).inserted {
                corpus.append(input)
                found += 1
            }
        }
    }
}
