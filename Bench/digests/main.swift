// How fast a core digests pieces: `swift run -c release bench-digests [--json] [--rounds N] [--piece-mib N]`.
//
// Pieces lie in an arena several times larger than the last-level cache, as they do when a NIC has written them; each
// digest takes its turn in every round, so that other load on the machine meets all alike. Figures are medians.

import Artifacts
import CAlternatives
import Digests
import Memory
import System

/// One digest to be measured.
struct Candidate: Sendable {
    let name: String
    let isCryptographic: Bool
    /// Digests a piece; false when it cannot be had on this machine.
    let run: @Sendable (UnsafeRawBufferPointer) -> Bool
}

/// What was measured of one.
struct Figure {
    let candidate: Candidate
    var rates: [Double] = []

    /// Gigabytes (10⁹) a second on one core, the median; nil when it could not be had.
    var gigabytesPerSecond: Double? {
        rates.isEmpty ? nil : rates.sorted()[rates.count / 2]
    }
}

let leafBytes = 16 << 10

let candidates = [
    Candidate(name: "BLAKE3 (\(Digests.blake3Instructions))", isCryptographic: true) {
        _ = Digests.blake3($0)
        return true
    },
    Candidate(name: "SHA-256 (OpenSSL EVP)", isCryptographic: true) {
        _ = Digests.sha256($0)
        return true
    },
    Candidate(name: "SHA-256 tree, leaves of 16 KiB (ipsec-mb)", isCryptographic: true) {
        treeDigest($0) != nil
    },
    Candidate(name: "CRC32C (isa-l)", isCryptographic: false) {
        var sum: UInt32 = 0
        return martlet_crc32c($0.baseAddress!, $0.count, &sum) == 0
    },
    Candidate(name: "a copy, for comparison", isCryptographic: false) {
        copyTarget.copyMemory(from: $0)
        return true
    },
]

/// Where the copy goes: what a byte costs at least when a kernel moves it, as TCP does.
// Safety: written by this program's one thread.
nonisolated(unsafe) let copyTarget = UnsafeMutableRawBufferPointer.allocate(
    byteCount: 256 << 20, alignment: 4096)

/// SHA-256 over the SHA-256 of the leaves; nil without the library.
func treeDigest(_ bytes: UnsafeRawBufferPointer) -> Digest? {
    var leaves = [UInt8](repeating: 0, count: bytes.count / leafBytes * 32)
    let result = martlet_sha256_leaves(bytes.baseAddress!, bytes.count, leafBytes, &leaves)
    return result == 0 ? Digests.sha256(leaves) : nil
}

/// A number after an option; ends with a sentence when it is none.
func option(_ name: String, default value: Int) -> Int {
    guard let place = CommandLine.arguments.firstIndex(of: name) else { return value }
    guard place + 1 < CommandLine.arguments.count, let number = Int(CommandLine.arguments[place + 1]),
        number > 0
    else {
        fatalError("\(name) wants a number above zero")
    }
    return number
}

/// Two decimals, without Foundation.
func decimal(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}

func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}

/// Fills memory with bytes that do not repeat.
func fill(_ bytes: UnsafeMutableRawBufferPointer, seed: UInt64) {
    var state = seed
    for offset in stride(from: 0, to: bytes.count, by: 8) {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        bytes.storeBytes(of: state ^ state >> 29, toByteOffset: offset, as: UInt64.self)
    }
}

/// A lane library that computes something else would be a fast one: compare with the plain digest of each leaf.
func checkLeaves(_ bytes: UnsafeRawBufferPointer) {
    guard let tree = treeDigest(bytes) else { return }
    var leaves: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: leafBytes) {
        leaves += Digests.sha256(UnsafeRawBufferPointer(rebasing: bytes[start..<start + leafBytes])).bytes
    }
    precondition(tree == Digests.sha256(leaves), "the lanes' digests are wrong")
}

func measure(rounds: Int, pieceBytes: Int) throws -> [Figure] {
    let arena = try Arena(
        ArenaConfiguration(
            name: "bench", totalBytes: max(256 << 20, 8 * pieceBytes), slotBytes: max(16 << 20, pieceBytes)))
    var slots: [Slot] = []
    while let slot = arena.take(lengthBytes: pieceBytes) { slots.append(slot) }
    let pieces = slots.map { UnsafeMutableRawBufferPointer(rebasing: arena.bytes(of: $0)[..<pieceBytes]) }
    for (number, piece) in pieces.enumerated() { fill(piece, seed: UInt64(number)) }
    checkLeaves(UnsafeRawBufferPointer(pieces[0]))
    precondition(pieceBytes <= copyTarget.count, "pieces have at most 256 MiB")
    var figures = candidates.map { Figure(candidate: $0) }
    for _ in 0..<rounds {
        for index in figures.indices {
            var digested = 0
            let startNs = MonotonicClock.nowNs()
            for piece in pieces where figures[index].candidate.run(UnsafeRawBufferPointer(piece)) {
                digested += piece.count
            }
            let tookNs = MonotonicClock.nowNs() - startNs
            if digested > 0 { figures[index].rates.append(Double(digested) / Double(max(1, tookNs))) }
        }
    }
    for slot in slots { arena.give(back: slot) }
    return figures
}

let rounds = option("--rounds", default: 15)
let pieceBytes = option("--piece-mib", default: 16) << 20
let figures = try measure(rounds: rounds, pieceBytes: pieceBytes)
let plain = figures[1].gigabytesPerSecond ?? 1

if CommandLine.arguments.contains("--json") {
    let entries = figures.map { figure in
        let rate = figure.gigabytesPerSecond
        return
            "{\"digest\":\"\(figure.candidate.name)\",\"cryptographic\":\(figure.candidate.isCryptographic),"
            + "\"gigabytesPerSecond\":\(rate.map(decimal) ?? "null")}"
    }
    print(
        "{\"pieceBytes\":\(pieceBytes),\"rounds\":\(rounds),\"figures\":[\(entries.joined(separator: ","))]}")
} else {
    print("pieces of \(pieceBytes >> 20) MiB from memory, one core, median of \(rounds) rounds")
    print(padded("digest", 44) + padded("GB/s", 9) + padded("× SHA-256", 11) + "cores at 50 GB/s (400 Gb/s)")
    for figure in figures {
        let name = padded(figure.candidate.name + (figure.candidate.isCryptographic ? "" : " *"), 44)
        guard let rate = figure.gigabytesPerSecond else {
            print(name + "not measured: its library is not installed")
            continue
        }
        print(name + padded(decimal(rate), 9) + padded(decimal(rate / plain), 11) + decimal(50 / rate))
    }
    print("* not cryptographic: finds accidents, not a parent that lies")
}
