extension Scenario {
    /// A fleet and faults that a seed chooses: what `martlet simulate --faults random` runs.
    ///
    /// Most fleets are small, where a single fault hurts most: one in ten has more than 32 peers. Pieces are few, so
    /// that a run takes milliseconds and every fault falls into the download.
    ///
    /// - Parameter peersMax: the most peers, at least 3.
    public static func random(seed: UInt64, peersMax: Int = 300) -> Scenario {
        var generator = SeededDice(seed)
        var scenario = Scenario()
        scenario.seed = seed
        let most = generator.upTo(9) == 0 ? peersMax : min(peersMax, generator.upTo(2) == 0 ? 32 : 12)
        scenario.peers = 3 + generator.upTo(max(0, most - 3))
        scenario.seedPeers = 1 + generator.upTo(2)
        scenario.files = 1 + generator.upTo(2)
        scenario.models = generator.upTo(7) == 0 ? 2 : 1
        let piecesMax = scenario.peers > 64 ? 12 : 40
        scenario.sizeBytes = UInt64(scenario.files) * UInt64(4 + generator.upTo(piecesMax)) << 20
        scenario.nicBytesPerSecond = [312_500_000, 31_250_000, 3_125_000_000][generator.upTo(2)]
        scenario.originBytesPerSecond = scenario.nicBytesPerSecond
        scenario.latencyNs = [50_000, 500_000, 20_000_000][generator.upTo(2)]
        scenario.rackHosts = [0, 2, 4, 16][generator.upTo(3)]
        scenario.workload = Workload.allCases[generator.upTo(Workload.allCases.count - 1)]
        let large = 1 + scenario.peers / 16
        scenario.faults.crashes = generator.upTo(2 * large)
        scenario.faults.stale = generator.upTo(scenario.faults.crashes)
        scenario.faults.seedLosses = generator.upTo(1)
        scenario.faults.schedulerRestarts = generator.upTo(1)
        scenario.faults.schedulerReplacements = generator.upTo(3) == 0 ? 1 : 0
        scenario.faults.partitions = generator.upTo(1)
        scenario.faults.slow = generator.upTo(large)
        scenario.faults.corrupting = generator.upTo(1) * generator.upTo(large)
        scenario.faults.silent = generator.upTo(1) * generator.upTo(large)
        scenario.faults.lying = generator.upTo(1) * generator.upTo(large)
        scenario.faults.fullDisks = generator.upTo(3) == 0 ? 1 : 0
        scenario.faults.skewed = generator.upTo(1) * generator.upTo(scenario.peers)
        scenario.faults.lossPerMillion = generator.upTo(1) * 1000
        return scenario
    }
}

/// Small random numbers of a seed.
private struct SeededDice {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 }

    /// 0 up to and with `most`.
    mutating func upTo(_ most: Int) -> Int {
        state = (state ^ (state >> 29)) &* 0xBF58_476D_1CE4_E5B9 &+ 1
        return Int((state >> 33) % UInt64(most + 1))
    }
}
