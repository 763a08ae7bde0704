import Artifacts

@testable import Swarm

/// A download under test: events in, actions out, invariants checked after each.
struct Script {
    var download: Download
    var nowNs: UInt64 = 1_000_000_000
    /// Every action so far.
    var history: [DownloadAction] = []

    static let second: UInt64 = 1_000_000_000

    /// Settings without chance: no probes.
    static var settings: DownloadSettings {
        var settings = DownloadSettings()
        settings.probesPerMille = 0
        return settings
    }

    /// `held` and `digests` say how many of each file's first pieces are held and have known digests.
    init(
        pieces: [Int], held: [Int] = [], digests: [Int]? = nil, published: Set<FileIndex> = [],
        settings: DownloadSettings = Script.settings, role: DownloadRole = .peer, seed: UInt64 = 1
    ) {
        let sets = pieces.indices.map { file in
            var set = PieceSet(capacity: pieces[file])
            for piece in 0..<(file < held.count ? held[file] : 0) { set.insert(PieceIndex(piece)) }
            return set
        }
        download = Download(
            manifest: Fixtures.manifest(pieces: pieces), held: sets, published: published,
            knownDigests: pieces.indices.map { Fixtures.digests($0, (digests ?? pieces)[$0]) },
            settings: settings,
            role: role, seed: seed)
    }

    mutating func start() -> [DownloadAction] { record(download.start(nowNs: nowNs)) }

    @discardableResult
    mutating func send(_ event: DownloadEvent) -> [DownloadAction] {
        record(download.handle(event, nowNs: nowNs))
    }

    /// Lets time pass, with a tick at every time the machine asks for.
    @discardableResult
    mutating func pass(_ ns: UInt64) -> [DownloadAction] {
        let end = nowNs + ns
        var all: [DownloadAction] = []
        while let wake = download.wakeAtNs, wake <= end {
            nowNs = max(nowNs, wake)
            all += send(.tick)
        }
        nowNs = end
        return all + send(.tick)
    }

    private mutating func record(_ actions: [DownloadAction]) -> [DownloadAction] {
        download.checkInvariants()
        history += actions
        return actions
    }

    /// Peers 1… linked, each with its maps of all files: `full` peers have everything, others nothing.
    @discardableResult
    mutating func link(_ peers: [UInt32], full: Bool = true, seeds: Set<UInt32> = []) -> [DownloadAction] {
        var all = send(
            .neighbourhood(
                peers.map { ParentOffer(peer: PeerNumber($0), isSeed: seeds.contains($0), distance: 1) }))
        for peer in peers { all += send(.linkUp(PeerNumber(peer))) }
        for peer in peers { all += map(peer, full: full) }
        return all
    }

    @discardableResult
    mutating func map(_ peer: UInt32, full: Bool = true) -> [DownloadAction] {
        var all: [DownloadAction] = []
        for (index, file) in download.manifest.files.enumerated() {
            let count = file.layout.count
            all += send(
                .map(
                    PeerNumber(peer), FileIndex(index),
                    full ? .full(capacity: count) : PieceSet(capacity: count)))
        }
        return all
    }

    /// Grants a want and ends the read well; the `keep` is left to the test.
    @discardableResult
    mutating func deliver(_ peer: UInt32, _ address: PieceAddress, ok: Bool = true) -> [DownloadAction] {
        var all = grant(peer, address)
        all += send(.readEnded(PeerNumber(peer), address, ok: ok))
        return all
    }

    @discardableResult
    mutating func grant(_ peer: UInt32, _ address: PieceAddress) -> [DownloadAction] {
        send(
            .granted(
                PeerNumber(peer), address, GrantID(UInt64(address.piece.value) + 100),
                leaseUntilNs: nowNs + 30 * Script.second))
    }

    @discardableResult
    mutating func keep(_ address: PieceAddress) -> [DownloadAction] {
        send(.kept(address, digest: Fixtures.digest(Int(address.file.value), Int(address.piece.value))))
    }
}

extension [DownloadAction] {
    /// Who is asked for what.
    var wants: [(peer: PeerNumber, address: PieceAddress)] {
        compactMap { if case .want(let peer, let address) = $0 { (peer, address) } else { nil } }
    }
    /// Pieces asked for.
    var wantedPieces: [PieceAddress] { wants.map(\.address) }
    /// Peers dropped.
    var dropped: [PeerNumber] { compactMap { if case .drop(let peer, _) = $0 { peer } else { nil } } }
    /// The sentence it failed with.
    var failure: String? {
        for case .failed(let reason) in self { return reason }
        return nil
    }
}
