/// A value that has been read and checked.
public enum ConfigurationValue: Hashable, Sendable {
    /// The key is optional and not set.
    case none
    case text(String)
    case integer(Int64)
    case bytes(UInt64)
    case durationNs(UInt64)
    case flag(Bool)
    case address(NetworkAddress)
    case addresses([NetworkAddress])
    /// Empty for `auto`.
    case rdmaPorts([RDMAPortName])

    /// The value as it would be written in an environment variable; empty for none.
    public var text: String {
        switch self {
        case .none: ""
        case .text(let text): text
        case .integer(let number): String(number)
        case .bytes(let bytes): ConfigurationUnits.bytesText(bytes)
        case .durationNs(let duration): ConfigurationUnits.durationText(duration)
        case .flag(let flag): flag ? "true" : "false"
        case .address(let address): address.description
        case .addresses(let addresses): addresses.map(\.description).joined(separator: ",")
        case .rdmaPorts(let ports): ports.isEmpty ? "auto" : ports.map(\.description).joined(separator: ",")
        }
    }
}

/// What a key's values look like.
public enum ConfigurationType: Sendable {
    /// A line of text.
    case text
    /// A path; `~/` at its beginning is the home directory.
    case path
    /// A whole number.
    case integer(ClosedRange<Int64>)
    /// An amount of bytes: `256MiB`, `1GiB`, `4096`.
    case bytes(ClosedRange<UInt64>)
    /// A time: `500ms`, `10s`, `2m`.
    case duration(ClosedRange<UInt64>)
    /// `true` or `false`.
    case flag
    /// `host:port`.
    case address
    /// `host:port`, comma-separated.
    case addresses
    /// `auto`, or RDMA devices or ports, comma-separated: `mlx5_0,mlx5_1:2`.
    case rdmaPorts
    /// One of these words.
    case choice([String])

    /// The longest text of one value.
    static let textBytesMax = 4096
    /// The most items of a list.
    static let itemsMax = 64

    /// How the value stands in a usage line: `PATH`, `BYTES`, `info|debug`.
    public var placeholder: String {
        switch self {
        case .text: "TEXT"
        case .path: "PATH"
        case .integer: "N"
        case .bytes: "BYTES"
        case .duration: "TIME"
        case .flag: "true|false"
        case .address: "HOST:PORT"
        case .addresses: "HOST:PORT,…"
        case .rdmaPorts: "auto|DEVICE[:PORT],…"
        case .choice(let words): words.joined(separator: "|")
        }
    }

    /// Reads a value; the failure says what would be right.
    func read(_ text: String, surroundings: Surroundings) -> Result<ConfigurationValue, BadValue> {
        guard text.utf8.count <= ConfigurationType.textBytesMax else { return .failure("is too long") }
        guard !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            return .failure("holds a control character")
        }
        switch self {
        case .text: return .success(.text(text))
        case .path:
            if text.hasPrefix("~/") { return .success(.text(surroundings.home + text.dropFirst())) }
            return .success(.text(text))
        case .integer(let range):
            guard let number = Int64(text) else { return .failure("is no whole number") }
            guard range.contains(number) else {
                return .failure("is out of range; it may be \(range.lowerBound) to \(range.upperBound)")
            }
            return .success(.integer(number))
        case .bytes(let range):
            guard let bytes = ConfigurationUnits.bytes(text) else {
                return .failure("is no amount of bytes; write e.g. 256MiB (units: KiB, MiB, GiB, TiB)")
            }
            guard range.contains(bytes) else {
                let bounds = (range.lowerBound, range.upperBound)
                let (low, high) = (
                    ConfigurationUnits.bytesText(bounds.0), ConfigurationUnits.bytesText(bounds.1)
                )
                return .failure("is out of range; it may be \(low) to \(high)")
            }
            return .success(.bytes(bytes))
        case .duration(let range):
            guard let duration = ConfigurationUnits.durationNs(text) else {
                return .failure("is no time; write e.g. 10s (units: ms, s, m, h)")
            }
            guard range.contains(duration) else {
                let low = ConfigurationUnits.durationText(range.lowerBound)
                return .failure(
                    "is out of range; it may be \(low) to \(ConfigurationUnits.durationText(range.upperBound))"
                )
            }
            return .success(.durationNs(duration))
        case .flag:
            switch text {
            case "true", "yes", "on", "1": return .success(.flag(true))
            case "false", "no", "off", "0": return .success(.flag(false))
            default: return .failure("is neither true nor false")
            }
        case .address:
            guard let address = NetworkAddress(text) else {
                return .failure("is no address; write HOST:PORT, e.g. 10.0.0.7:7610 or [::1]:7610")
            }
            return .success(.address(address))
        case .addresses:
            return items(text).flatMap { items in
                let addresses = items.compactMap(NetworkAddress.init)
                guard addresses.count == items.count else {
                    return .failure("is no list of addresses; write HOST:PORT,HOST:PORT")
                }
                return .success(.addresses(addresses))
            }
        case .rdmaPorts:
            if text == "auto" { return .success(.rdmaPorts([])) }
            return items(text).flatMap { items in
                let ports = items.compactMap(RDMAPortName.init)
                guard ports.count == items.count, !ports.isEmpty, Set(ports).count == ports.count else {
                    return .failure("is neither auto nor a list of RDMA devices; write e.g. mlx5_0,mlx5_1:2")
                }
                return .success(.rdmaPorts(ports))
            }
        case .choice(let words):
            guard words.contains(text) else {
                let hint = Spelling.hint(for: text, in: words)
                return .failure("is not one of \(words.joined(separator: ", "))\(hint)")
            }
            return .success(.text(text))
        }
    }

    private func items(_ text: String) -> Result<[String], BadValue> {
        let items = text.split(separator: ",").map(\.trimmed).filter { !$0.isEmpty }
        guard items.count <= ConfigurationType.itemsMax else {
            return .failure("has too many items; at most \(ConfigurationType.itemsMax)")
        }
        return .success(items)
    }
}

/// What is wrong with a value, as the end of a sentence that begins with it.
struct BadValue: Error, ExpressibleByStringLiteral, ExpressibleByStringInterpolation {
    let reason: String
    init(stringLiteral reason: String) { self.reason = reason }
}

extension StringProtocol {
    /// Without spaces and tabs at both ends.
    var trimmed: String {
        let bytes = utf8.drop { $0 == 0x20 || $0 == 0x09 }
        let kept = bytes.reversed().drop { $0 == 0x20 || $0 == 0x09 }.reversed()
        return String(decoding: Array(kept), as: UTF8.self)
    }
}
