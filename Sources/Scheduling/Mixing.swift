/// Scrambles a number (the finaliser of SplitMix64): the same seed and names give the same choice on every machine.
func mixed(_ value: UInt64) -> UInt64 {
    var mixing = value &+ 0x9E37_79B9_7F4A_7C15
    mixing = (mixing ^ (mixing >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixing = (mixing ^ (mixing >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixing ^ (mixing >> 31)
}

/// A number for a text under a seed (FNV-1a, then mixed).
func mixed(_ text: String, seed: UInt64) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325 ^ mixed(seed)
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
    return mixed(hash)
}
