/// Which of a port's addresses to send from: a pure choice among the entries of its table.
///
/// The table fills a while after a device or an address appears, so an answer may get better: whoever asks reads the
/// table again until the answer is `chosen` or its own patience ends, and then takes what is provisional.
public enum GIDSelection: Hashable, Sendable {
    /// RoCE v2 with an IPv4 address, else IPv6 of more than one segment, else of one segment, else RoCE v1 in that
    /// order; on InfiniBand the port's first.
    case automatic
    /// The entry at an index of the table.
    case index(Int)
    /// The entry with an address, v2 before v1.
    case address(GID)
    /// The best entry of a network interface.
    case networkDevice(String)

    /// What the table offers now.
    public enum Answer: Hashable, Sendable {
        /// This one.
        case chosen(GIDEntry)
        /// This one if nothing better comes: only link-local or RoCE v1 addresses are there so far.
        case provisional(GIDEntry)
        /// Nothing that fits is there yet; the sentence says what was looked for and what there is.
        case notYet(String)
    }

    /// Chooses among the entries of one port.
    public func choose(from entries: [GIDEntry]) -> Answer {
        let present = entries.filter { !$0.gid.isZero }
        let fitting = present.filter { entry in
            switch self {
            case .automatic: true
            case .index(let index): entry.index == index
            case .address(let gid): entry.gid == gid
            case .networkDevice(let name): entry.networkDevice == name
            }
        }
        guard let best = fitting.min(by: { ($0.rank, $0.index) < ($1.rank, $1.index) }) else {
            let have =
                present.isEmpty
                ? "the port has no address yet"
                : "the port has "
                    + present.prefix(8).map { "\($0.index): \($0.gid) (\($0.kind.rawValue))" }.joined(separator: ", ")
            return .notYet("no \(wish): \(have)")
        }
        switch self {
        case .index, .address: return .chosen(best)
        case .automatic, .networkDevice: return best.rank <= 1 ? .chosen(best) : .provisional(best)
        }
    }

    private var wish: String {
        switch self {
        case .automatic: "address to send from"
        case .index(let index): "address at index \(index)"
        case .address(let gid): "address \(gid)"
        case .networkDevice(let name): "address of \(name)"
        }
    }
}

extension GIDEntry {
    /// Lower is better; from 2 on something better may still appear.
    fileprivate var rank: Int {
        let scope = gid.isIPv4 ? 0 : gid.isLinkLocal ? 2 : 1
        return switch kind {
        case .infiniBand: 0
        case .roceV2: scope
        case .roceV1: 3 + scope
        }
    }
}
