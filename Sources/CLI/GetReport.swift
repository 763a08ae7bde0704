import ControlAPI
import Observability
import RPC

/// What `martlet get` says at its end, for people and for programs.
enum GetReport {
    /// A few lines: what it is, how it was verified, where it lies.
    static func lines(_ result: Wire.GetResult) -> [String] {
        var lines = ["model \(result.model)  revision \(result.revision)"]
        let published = Int(result.filesWithPublishedDigest)
        let rest = Int(result.files) - published
        var verified = "verified: \(published) of \(result.files) files against their published digests"
        if rest > 0 { verified += ", \(rest) without one piece by piece against what the origin sent first" }
        lines.append(verified)
        let placed = [
            ("hard links", result.hardLinked), ("reflinks", result.reflinked), ("copies", result.copied),
            ("already there", result.alreadyThere),
        ].filter { $0.1 > 0 }
        if !placed.isEmpty { lines.append("placed: " + placed.map { "\($0.1) \($0.0)" }.joined(separator: ", ")) }
        for fallback in result.traffic?.fallbacks ?? [] { lines.append("transport: " + note(fallback)) }
        if result.stale { lines.append("the origin could not be asked: this is the revision known last") }
        return lines
    }

    /// What a worse transport brought, and why not a better one.
    static func note(_ fallback: Wire.TransportFallback) -> String {
        "\(Units.bytes(fallback.bytes)) by \(fallback.to) instead of \(fallback.from): \(fallback.reason)"
    }

    /// Keys as in the protocol file.
    static func json(_ result: Wire.GetResult) -> JSONValue {
        [
            "model": .string(result.model), "revision": .string(result.revision), "host": .string(result.host),
            "total_bytes": .unsigned(result.totalBytes), "seconds": .number(result.seconds),
            "resumed_bytes": .unsigned(result.resumedBytes), "traffic": traffic(result.traffic ?? Wire.Traffic()),
            "files": .unsigned(UInt64(result.files)),
            "files_with_published_digest": .unsigned(UInt64(result.filesWithPublishedDigest)),
            "hard_linked": .unsigned(UInt64(result.hardLinked)), "reflinked": .unsigned(UInt64(result.reflinked)),
            "copied": .unsigned(UInt64(result.copied)), "already_there": .unsigned(UInt64(result.alreadyThere)),
            "resident_bytes_max": .unsigned(result.residentBytesMax), "stale": .bool(result.stale),
        ]
    }

    private static func traffic(_ traffic: Wire.Traffic) -> JSONValue {
        [
            "origin_bytes": .unsigned(traffic.originBytes), "seed_bytes": .unsigned(traffic.seedBytes),
            "peer_bytes": .unsigned(traffic.peerBytes), "wasted_bytes": .unsigned(traffic.wastedBytes),
            "by_transport": .array(
                traffic.byTransport.map { ["transport": .string($0.transport), "bytes": .unsigned($0.bytes)] }),
            "by_host": .array(
                traffic.byHost.map {
                    ["host": .string($0.host), "bytes": .unsigned($0.bytes), "transport": .string($0.transport)]
                }),
            "fallbacks": .array(
                traffic.fallbacks.map {
                    [
                        "from": .string($0.from), "to": .string($0.to), "bytes": .unsigned($0.bytes),
                        "reason": .string($0.reason),
                    ]
                }),
        ]
    }
}
