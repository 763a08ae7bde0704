/// Which of a cluster's schedulers a model or a reference belongs to: rendezvous hashing, so that everybody who knows
/// the same schedulers chooses the same one without asking, and only what belonged to a scheduler that goes moves.
///
/// Each scheduler's name is hashed together with the key, and the highest number wins. A model's key is its identity; a
/// reference's is its canonical text, since its model is not known before somebody has asked.
public enum SchedulerChoice {
    /// The scheduler that the key belongs to; nil when there is none. The order of names does not matter.
    public static func owner(of key: String, among schedulers: some Sequence<String>) -> String? {
        schedulers.max { left, right in
            let (leftWeight, rightWeight) = (weight(of: left, for: key), weight(of: right, for: key))
            return leftWeight == rightWeight ? left > right : leftWeight < rightWeight
        }
    }

    /// FNV-1a over both, then the finaliser of SplitMix64: cheap, and well spread for names that differ in a digit.
    private static func weight(of scheduler: String, for key: String) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in scheduler.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        hash = mixed(hash)
        for byte in key.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        return mixed(hash)
    }

    private static func mixed(_ value: UInt64) -> UInt64 {
        var mixing = value &+ 0x9E37_79B9_7F4A_7C15
        mixing = (mixing ^ (mixing >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixing = (mixing ^ (mixing >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixing ^ (mixing >> 31)
    }
}
