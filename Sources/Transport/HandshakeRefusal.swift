/// Why a handshake gave no link, in sentences that are the same for all transports.
extension TransportError {
    package static func wrongCluster(_ remote: String, own cluster: String) -> TransportError {
        TransportError(
            .wrongCluster,
            "no link to \(remote): it is not in cluster \(cluster); check the cluster's name on both hosts")
    }

    package static func notAdmitted(_ remote: String, _ peer: LinkIdentity) -> TransportError {
        TransportError(.refused, "no link to \(remote): \(peer.host) is not admitted")
    }

    /// What the connecting side makes of a refusal frame's detail.
    package static func refusal(by remote: String, detail: UInt8, own cluster: String) -> TransportError {
        switch Code(rawValue: detail) {
        case .wrongCluster: wrongCluster(remote, own: cluster)
        case .limit: TransportError(.refused, "no link to \(remote): it has no room for another link")
        case .accessDenied: TransportError(.refused, "no link to \(remote): it does not admit this host")
        case .unproved:
            TransportError(.refused, "no link to \(remote): it wants a certificate, and this host has none to show")
        case .refused: TransportError(.refused, "no link to \(remote): nobody listens there")
        case .system: TransportError(.refused, "no link to \(remote): its device cannot be used now")
        default:
            TransportError(
                .protocolBroken,
                "no link to \(remote): it did not understand the handshake; compare the versions")
        }
    }
}

extension LinkID {
    /// As one word, for the kernel to carry.
    package var token: UInt64 { UInt64(generation) << 32 | UInt64(index) }
    package init(token: UInt64) {
        self.init(index: UInt32(truncatingIfNeeded: token), generation: UInt32(token >> 32))
    }
}
