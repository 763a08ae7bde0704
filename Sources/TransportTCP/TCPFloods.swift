import System
import Transport

/// Who takes so much of what others need too that some is taken from him.
extension TCPTransport {
    /// So many inbound links one address may always have, and beyond that a quarter of all.
    static let linksPerAddressMin = 64

    /// Ends the oldest connection that has not said who it is, of the address that has most of them, a newcomer counted
    /// in: whoever leaves handshakes unfinished is in his own way, and in nobody else's.
    func makeRoom(for newcomer: PeerAddress) {
        var counts: [PeerAddress: Int] = [newcomer: 1]
        var oldest: [PeerAddress: Arrival] = [:]
        for case .handshake(let arrival) in endpoints.all {
            counts[arrival.address, default: 0] += 1
            if arrival.deadlineNs < oldest[arrival.address]?.deadlineNs ?? .max { oldest[arrival.address] = arrival }
        }
        let most = oldest.max { left, right in
            let (few, many) = (counts[left.key] ?? 0, counts[right.key] ?? 0)
            return few == many ? left.value.deadlineNs > right.value.deadlineNs : few < many
        }
        if let most { refuse(most.value, .limit) }
    }

    /// Whether an address may have a further inbound link: whoever has very many leaves some to others.
    func mayLink(from address: PeerAddress) -> Bool {
        guard !links.isFull else { return false }
        let own = links.all.count { $0.inbound && $0.address == address }
        return own < max(Self.linksPerAddressMin, configuration.linksMax / 4)
    }
}
