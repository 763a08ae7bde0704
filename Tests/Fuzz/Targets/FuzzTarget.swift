/// One parser of bytes that strangers wrote, with what to begin from.
public struct FuzzTarget: Sendable {
    /// Its name on the command line and of its corpus.
    public let name: String
    /// Well-formed inputs: what mutations begin with.
    public let seeds: [[UInt8]]
    /// What is put into inputs besides random bytes.
    public let words: [[UInt8]]
    /// The longest input.
    public let bytesMax: Int
    /// Parses one input and checks what must hold of the result; traps when it does not.
    ///
    /// Gives a number for the kind of outcome: an input with a new one is kept and mutated further.
    public let run: @Sendable ([UInt8]) -> UInt64

    init(
        _ name: String, seeds: [[UInt8]], words: [String] = [], bytesMax: Int = 2048,
        run: @escaping @Sendable ([UInt8]) -> UInt64
    ) {
        self.name = name
        self.seeds = seeds
        self.words = words.map { Array($0.utf8) }
        self.bytesMax = bytesMax
        self.run = run
    }

    /// Every parser there is.
    public static let all: [FuzzTarget] =
        [
            json, safetensors, modelReference, manifestText, journal, configurationFile, hubTree, hubCommit, httpHead,
            url, addresses, protobuf, manifestWire,
        ] + [peerMessage, handshakeFrame, tcpFrame, verbsFrame, verbsKey, localPacket]
}

/// A number for a kind of outcome, from whatever tells kinds apart.
struct Outcome {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    init(_ parts: UInt64...) { for part in parts { mix(part) } }

    mutating func mix(_ part: UInt64) {
        value = (value ^ part) &* 0x0000_0100_0000_01B3
        value ^= value >> 29
    }

    mutating func mix(_ text: String) { for byte in text.utf8 { mix(UInt64(byte)) } }

    /// How long something is, roughly.
    mutating func mix(size: Int) { mix(UInt64(Int.bitWidth - size.leadingZeroBitCount)) }

    /// A text's kind: what stands in quotes and its digits do not count.
    mutating func mix(sentence: String) {
        var isQuoted = false
        for scalar in sentence.unicodeScalars {
            if scalar == "‘" { isQuoted = true }
            if scalar == "’" { isQuoted = false }
            if !isQuoted, !("0"..."9").contains(scalar) { mix(UInt64(scalar.value)) }
        }
    }
}
