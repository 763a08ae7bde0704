import Artifacts

/// What no distribution over this topology can beat.
///
/// Fluid: the origin sends each byte once; the slowest receiver takes each byte once; all copies together leave through
/// what can send; a rack's uplink carries each byte in once. Rounds: with pieces passed on only when whole, the last of
/// `k` leaves its source after `k − 1` others, and then doubles: `k − 1 + ⌈log2(n + 1)⌉` piece times when all rates are
/// the same. Latency, hashing and control are taken as free.
public struct LowerBound: Sendable, Hashable {
    /// Of continuous flows.
    public let fluidNs: UInt64
    /// Of whole pieces.
    public let roundsNs: UInt64

    /// The larger: nothing ends sooner.
    public var ns: UInt64 { max(fluidNs, roundsNs) }

    /// Computes it for a fleet in which everyone begins at once and nothing goes wrong.
    ///
    /// Uplinks count where there is more than one rack. With seed peers, all bytes of the origin pass through them.
    public init(_ scenario: Scenario) {
        // Of several models each peer takes one, and the origin sends them all.
        let size = Double(scenario.sizeBytes)
        let all = size * Double(scenario.models)
        let nic = Double(scenario.nicBytesPerSecond)
        let origin = Double(scenario.originBytesPerSecond)
        let seeds = Double(scenario.seedPeers)
        let hosts = scenario.peers + scenario.seedPeers
        var seconds = max(all / origin, size / nic)
        // Seed peers take F in all from the origin, so everyone else's copies are the senders' business.
        let senders = scenario.seedPeers > 0 ? nic * Double(hosts) : origin + nic * Double(scenario.peers)
        seconds = max(seconds, Double(scenario.peers) * size / senders)
        if scenario.seedPeers > 0 { seconds = max(seconds, all / (nic * seeds)) }
        if scenario.rackHosts > 0, hosts > scenario.rackHosts {
            seconds = max(seconds, size / (nic * Double(scenario.rackHosts) / Double(scenario.oversubscription)))
        }
        fluidNs = UInt64(seconds * 1e9)

        let layout = PieceLayout(fileBytes: scenario.sizeBytes / UInt64(scenario.files))
        let pieces = layout.count * scenario.files
        let pieceBytes = min(Double(layout.pieceBytes), Double(layout.fileBytes))
        let source = scenario.seedPeers > 0 ? min(origin, nic * seeds) : origin
        let rounds = Self.doublings(receivers: scenario.peers)
        // The last round may carry a shorter piece: only whole ones before it count in full.
        let leaving = max(0, size - pieceBytes) / source
        roundsNs = pieces == 0 ? 0 : UInt64((leaving + Double(max(rounds - 1, 0)) * pieceBytes / nic) * 1e9)
    }

    /// `⌈log2(n + 1)⌉`: the rounds in which one source's piece reaches n receivers.
    public static func doublings(receivers: Int) -> Int {
        var rounds = 0
        while (1 << rounds) < receivers + 1 { rounds += 1 }
        return rounds
    }

    /// `k − 1 + ⌈log2(n + 1)⌉`: the rounds in which k pieces of one source reach n receivers, all at one rate.
    public static func rounds(pieces: Int, receivers: Int) -> Int {
        pieces == 0 || receivers == 0 ? 0 : pieces - 1 + doublings(receivers: receivers)
    }
}
