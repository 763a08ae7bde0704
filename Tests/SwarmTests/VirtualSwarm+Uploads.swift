import Artifacts
@testable import Swarm

/// The serving side of hosts.
extension VirtualSwarm {
    func performUpload(_ host: Host, _ actions: [UploadAction]) {
        for action in actions { performUpload(host, action) }
        wakeUpload(host)
    }

    private func toChild(_ session: UploadSessionID, _ event: (PeerNumber, FileIndex) -> DownloadEvent) {
        guard let (child, parent) = ends[session.link] else { return }
        let made = event(PeerNumber(parent), FileIndex(session.session))
        after(VirtualSwarm.latencyNs) {
            guard self.ends[session.link] != nil, self.hosts[child]!.isAlive else { return }
            self.deliver(self.hosts[child]!, made)
        }
    }

    private func performUpload(_ host: Host, _ action: UploadAction) {
        switch action {
        case .sendMap(let session, let set): toChild(session) { .map($0, $1, set) }
        case .sendHave(let session, let pieces): toChild(session) { .have($0, $1, pieces) }
        case .sendUnknown(let session): toChild(session) { .unknown($0, $1) }
        case .export(let session, _, let piece):
            let file = FileIndex(session.session)
            let isHeld = host.contents[address(file, piece)] != nil
            if isHeld { live.insert(UploadSessionPiece(session: session, piece: piece)) }
            sendUpload(host, .exported(session, piece, ok: isHeld), delayNs: 10_000)
        case .grant(let session, let piece, let leaseNs):
            let grant = GrantID(nextGrant)
            nextGrant += 1
            let until = nowNs + leaseNs
            toChild(session) {
                .granted($0, PieceAddress(file: $1, piece: piece), grant, leaseUntilNs: until)
            }
        case .sendBusy(let session, let piece, let retry):
            toChild(session) { .busy($0, PieceAddress(file: $1, piece: piece), retryAfterNs: retry) }
        case .sendAbsent(let session, let piece):
            toChild(session) { .absent($0, PieceAddress(file: $1, piece: piece)) }
        case .revoke(let session, let piece):
            precondition(
                live.remove(UploadSessionPiece(session: session, piece: piece)) != nil,
                "revoked twice, or never made")
        case .dropLink(let link, _): cut(link)
        }
    }
}
