import Artifacts

@testable import Swarm

/// A whole swarm in memory and virtual time: machines of every host, a fake origin, a fake scheduler. One seed, one
/// run.
///
/// A piece's bytes are one number; its digest is a function of that number. Links have a latency, hosts a bandwidth.
final class VirtualSwarm {
    /// How a host misbehaves.
    enum Fault: Equatable {
        case none
        /// Sends wrong bytes.
        case liar
        /// Its links come up, but it never says a word.
        case mute
        /// It grants, but no read ever ends.
        case stuck
    }

    final class Host {
        let number: UInt32
        let role: DownloadRole
        var fault = Fault.none
        var download: Download
        var upload: Upload
        var isAlive = true
        var contents: [PieceAddress: UInt64] = [:]
        /// Arrived and in a slot, by address and source.
        var slots: [SlotKey: UInt64] = [:]
        var isFinished = false
        var failure: String?
        /// Reads at the origin that go on.
        var origins: [LeaseID: Bool] = [:]
        var links: [PeerNumber: UInt64] = [:]
        var wakeNs: UInt64 = .max
        var busyUntilNs: UInt64 = 0
        var blamed: [PeerNumber] = []
        var peakSlotBytes = 0
        init(number: UInt32, role: DownloadRole, download: Download, upload: Upload) {
            self.number = number
            self.role = role
            self.download = download
            self.upload = upload
        }
        var peer: PeerNumber { PeerNumber(number) }
    }

    struct SlotKey: Hashable {
        let address: PieceAddress
        let source: PieceSource
    }

    struct Read {
        let child: UInt32
        let parent: UInt32
        let address: PieceAddress
        var isOver = false
    }

    let manifest: Manifest
    let seed: UInt64
    var random: SeededGenerator
    var nowNs: UInt64 = 0
    var hosts: [UInt32: Host] = [:]
    var order: [UInt32] = []
    var jobs: [(atNs: UInt64, serial: Int, run: () -> Void)] = []
    var serial = 0
    var nextLink: UInt64 = 1
    var nextGrant: UInt64 = 1
    var nextLease: UInt64 = 1
    /// Link number → child and parent.
    var ends: [UInt64: (child: UInt32, parent: UInt32)] = [:]
    var reads: [Int: Read] = [:]
    var nextRead = 0
    var live: Set<UploadSessionPiece> = []
    var originReads: [PieceAddress: Int] = [:]
    var bytesFrom: [UInt32: Int] = [:]
    // The scheduler's view.
    var digests: [FileIndex: [PieceIndex: Digest]] = [:]
    var holders: [PieceAddress: Set<UInt32>] = [:]
    var leased: [LeaseID: (host: UInt32, file: FileIndex, pieces: Range<UInt32>)] = [:]
    /// Links of parents that were killed: nobody is left to revoke their exports.
    var killedLinks: Set<UInt64> = []
    /// Pieces kept from a peer without a digest to compare with.
    var unverified = 0

    struct UploadSessionPiece: Hashable {
        let session: UploadSessionID
        let piece: PieceIndex
    }

    static let latencyNs: UInt64 = 200_000

    init(files: [Int], seed: UInt64) {
        self.seed = seed
        random = SeededGenerator(seed: seed ^ 0xABCD)
        manifest = Fixtures.manifest(pieces: files)
    }

    static func digest(_ content: UInt64) -> Digest { Fixtures.digest(content) }
    func truth(_ address: PieceAddress) -> UInt64 {
        UInt64(address.file.value) << 32 | UInt64(address.piece.value) | 1 << 60
    }
    func address(_ file: FileIndex, _ piece: PieceIndex) -> PieceAddress {
        PieceAddress(file: file, piece: piece)
    }

    // MARK: time

    func after(_ ns: UInt64, _ run: @escaping () -> Void) {
        serial += 1
        let job = (atNs: nowNs + ns, serial: serial, run: run)
        // A binary heap.
        jobs.append(job)
        var child = jobs.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard less(jobs[child], jobs[parent]) else { break }
            jobs.swapAt(child, parent)
            child = parent
        }
    }

    private func less(
        _ left: (atNs: UInt64, serial: Int, run: () -> Void),
        _ right: (atNs: UInt64, serial: Int, run: () -> Void)
    ) -> Bool { (left.atNs, left.serial) < (right.atNs, right.serial) }

    private func popJob() -> (atNs: UInt64, serial: Int, run: () -> Void)? {
        guard let first = jobs.first else { return nil }
        let last = jobs.removeLast()
        guard !jobs.isEmpty else { return first }
        jobs[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < jobs.count && less(jobs[child], jobs[least]) {
                least = child
            }
            if least == parent { return first }
            jobs.swapAt(parent, least)
            parent = least
        }
    }

    /// Runs until so many hosts have come and everyone alive is over, or a limit of virtual time.
    func run(hostCount: Int = 0, untilNs limitNs: UInt64 = 600_000_000_000) {
        while let job = popJob(), job.atNs <= limitNs {
            nowNs = job.atNs
            job.run()
            if order.count >= hostCount,
                order.allSatisfy({
                    !hosts[$0]!.isAlive || hosts[$0]!.download.isOver || hosts[$0]!.fault != .none
                })
            {
                return
            }
        }
    }

    // MARK: hosts

    @discardableResult
    func addHost(
        _ number: UInt32, role: DownloadRole, fault: Fault = .none,
        settings: DownloadSettings = DownloadSettings()
    ) -> Host {
        let held = manifest.files.map { PieceSet(capacity: $0.layout.count) }
        let known = manifest.files.indices.map { digests[FileIndex($0)] ?? [:] }
        let download = Download(
            manifest: manifest, held: held, published: [], knownDigests: known, settings: settings,
            role: role,
            seed: seed &+ UInt64(number))
        let host = Host(
            number: number, role: role, download: download,
            upload: Upload(settings: role == .seed ? .seed : .peer))
        host.fault = fault
        hosts[number] = host
        order.append(number)
        perform(host, host.download.start(nowNs: nowNs))
        for other in order { tellNeighbourhood(hosts[other]!) }
        return host
    }

    /// A host with everything that is no download of its own: a finished holder.
    func fill(_ host: Host) {
        for (file, entry) in manifest.files.enumerated() {
            for piece in 0..<entry.layout.count {
                let address = PieceAddress(file: FileIndex(file), piece: PieceIndex(piece))
                host.contents[address] = truth(address)
            }
        }
    }

    func kill(_ number: UInt32) {
        let host = hosts[number]!
        host.isAlive = false
        for (link, end) in ends.sorted(by: { $0.key < $1.key })
        where end.child == number || end.parent == number {
            if end.parent == number { killedLinks.insert(link) }
            cut(link)
        }
        for other in order { tellNeighbourhood(hosts[other]!) }
        for (id, lease) in leased.sorted(by: { $0.key.value < $1.key.value }) where lease.host == number {
            leased[id] = nil
            after(50_000_000) { self.lease(lease.file, lease.pieces) }
        }
        // Pieces that only the dead host held, and that nobody has a lease for.
        after(50_000_000) {
            for (file, entry) in self.manifest.files.enumerated() {
                for piece in 0..<UInt32(entry.layout.count) {
                    let isLeased = self.leased.values.contains {
                        $0.file == FileIndex(file) && $0.pieces.contains(piece)
                    }
                    if !isLeased { self.lease(FileIndex(file), piece..<piece + 1) }
                }
            }
        }
    }

    func tellNeighbourhood(_ host: Host) {
        let offers = order.filter { $0 != host.number && hosts[$0]!.isAlive }.map {
            ParentOffer(peer: PeerNumber($0), isSeed: hosts[$0]!.role == .seed, distance: UInt8($0 % 3))
        }
        send(host, .neighbourhood(offers))
    }

    /// Leases pieces to a seed that lives (any host when none does).
    func lease(_ file: FileIndex, _ pieces: Range<UInt32>) {
        let seeds = order.filter {
            hosts[$0]!.isAlive && hosts[$0]!.role == .seed && hosts[$0]!.fault == .none
        }
        let everyone = order.filter {
            hosts[$0]!.isAlive && hosts[$0]!.fault == .none && !hosts[$0]!.download.isOver
        }
        guard let chosen = seeds.randomElement(using: &random) ?? everyone.randomElement(using: &random)
        else { return }
        // Only what no one alive holds is to be read.
        var missing: [UInt32] = []
        for piece in pieces {
            let address = PieceAddress(file: file, piece: PieceIndex(piece))
            if !(holders[address] ?? []).contains(where: { hosts[$0]!.isAlive && hosts[$0]!.fault != .mute }) {
                missing.append(piece)
            }
        }
        guard let first = missing.first, let last = missing.last else { return }
        let id = LeaseID(nextLease)
        nextLease += 1
        leased[id] = (chosen, file, first..<last + 1)
        send(hosts[chosen]!, .originLease(id, file, first..<last + 1, whole: false))
    }

    func leaseEverything(run: UInt32 = 8) {
        for (index, file) in manifest.files.enumerated() {
            let count = UInt32(file.layout.count)
            for start in stride(from: UInt32(0), to: count, by: Int(run)) {
                lease(FileIndex(index), start..<min(start + run, count))
            }
        }
    }

    func send(_ host: Host, _ event: DownloadEvent, delayNs: UInt64 = VirtualSwarm.latencyNs) {
        after(delayNs) {
            guard host.isAlive else { return }
            self.deliver(host, event)
        }
    }

    func deliver(_ host: Host, _ event: DownloadEvent) {
        let actions = host.download.handle(event, nowNs: nowNs)
        if seed % 20 == 0 { host.download.checkInvariants() }
        perform(host, actions)
    }

    func sendUpload(_ host: Host, _ event: UploadEvent, delayNs: UInt64 = VirtualSwarm.latencyNs) {
        after(delayNs) {
            guard host.isAlive, host.fault != .mute else { return }
            self.performUpload(host, host.upload.handle(event, nowNs: self.nowNs))
            host.upload.checkInvariants()
        }
    }

    func schedule(_ host: Host) {
        guard let wake = host.download.wakeAtNs, wake < host.wakeNs || host.wakeNs <= nowNs else { return }
        host.wakeNs = wake
        after(max(wake, nowNs) - nowNs) {
            guard host.isAlive, host.wakeNs == wake else { return }
            host.wakeNs = .max
            self.deliver(host, .tick)
        }
    }

    func wakeUpload(_ host: Host) {
        guard let wake = host.upload.wakeAtNs else { return }
        after(max(wake, nowNs) - nowNs) {
            guard host.isAlive, let due = host.upload.wakeAtNs, due <= self.nowNs else { return }
            self.performUpload(host, host.upload.handle(.tick, nowNs: self.nowNs))
        }
    }

    // MARK: the interpreter

    func perform(_ host: Host, _ actions: [DownloadAction]) {
        for action in actions { perform(host, action) }
        host.peakSlotBytes = max(
            host.peakSlotBytes, host.download.inFlightBytes - host.download.originSlotBytes)
        schedule(host)
    }

    private func perform(_ host: Host, _ action: DownloadAction) {
        switch action {
        case .connect(let peer):
            let parent = hosts[peer.value]!
            guard parent.isAlive else { return send(host, .linkDown(peer), delayNs: 1_000_000) }
            let link = nextLink
            nextLink += 1
            host.links[peer] = link
            ends[link] = (host.number, peer.value)
            send(host, .linkUp(peer), delayNs: 2 * VirtualSwarm.latencyNs)
        case .leave(let peer): if let link = host.links[peer] { cut(link, tellChild: false) }
        case .drop(let peer, _):
            if let link = host.links[peer] { cut(link) } else { send(host, .linkDown(peer)) }
        case .open(let peer, let file):
            let session = UploadSessionID(link: host.links[peer] ?? 0, session: file.value)
            let parent = hosts[peer.value]!
            let task = manifest.files[Int(file.value)].task
            after(VirtualSwarm.latencyNs) {
                guard self.ends[session.link] != nil, parent.isAlive, parent.fault != .mute else { return }
                var held = PieceSet(capacity: self.manifest.files[Int(file.value)].layout.count)
                for address in parent.contents.keys where address.file == file { held.insert(address.piece) }
                self.performUpload(
                    parent, parent.upload.handle(.opened(session, task, held: held), nowNs: self.nowNs))
            }
        case .close(let peer, let file): toParent(host, peer, file) { .closed($0) }
        case .want(let peer, let address): toParent(host, peer, address.file) { .wanted($0, address.piece) }
        case .withdraw(let peer, let address):
            toParent(host, peer, address.file) { .released($0, address.piece) }
        case .read(let peer, let address, _): read(host, hosts[peer.value]!, address)
        case .fetchOrigin(let lease, let file, let pieces, _): readOrigin(host, lease, file, pieces)
        case .stopOrigin(let lease):
            host.origins[lease] = nil
            send(host, .originEnded(lease, failure: nil, retryable: true))
        case .keep(let address, let expected, let source):
            let content = host.slots[SlotKey(address: address, source: source)]!
            let digest = VirtualSwarm.digest(content)
            if expected == nil, case .peer = source { unverified += 1 }
            after(300_000) {
                guard host.isAlive else { return }
                precondition(host.slots.removeValue(forKey: SlotKey(address: address, source: source)) != nil)
                if let expected, expected != digest { return self.deliver(host, .mismatched(address)) }
                host.contents[address] = content
                self.deliver(host, .kept(address, digest: digest))
            }
        case .discard(let address, let source):
            precondition(host.slots.removeValue(forKey: SlotKey(address: address, source: source)) != nil)
        case .announce(let address, let digest):
            holders[address, default: []].insert(host.number)
            guard let digest else { return }
            digests[address.file, default: [:]][address.piece] = digest
            for other in order where other != host.number {
                send(
                    hosts[other]!, .digests(address.file, [address.piece: digest]),
                    delayNs: 2 * VirtualSwarm.latencyNs)
            }
        case .have(let address):
            let task = manifest.files[Int(address.file.value)].task
            sendUpload(host, .kept(task, address.piece), delayNs: 0)
        case .returnLease(let id, let failure):
            guard let lease = leased.removeValue(forKey: id), failure != nil else { return }
            after(1_000_000) { self.lease(lease.file, lease.pieces) }
        case .blame(let peer, _): host.blamed.append(peer)
        case .complain: break
        case .publish(let file): publish(host, file)
        case .forget(let file): host.contents = host.contents.filter { $0.key.file != file }
        case .finished: host.isFinished = true
        case .failed(let reason): host.failure = reason
        }
    }

    private func publish(_ host: Host, _ file: FileIndex) {
        let isRight = (0..<manifest.files[Int(file.value)].layout.count).allSatisfy {
            let address = PieceAddress(file: file, piece: PieceIndex($0))
            return host.contents[address] == truth(address)
        }
        send(host, isRight ? .filePublished(file) : .fileMismatched(file))
    }

    private func toParent(
        _ host: Host, _ peer: PeerNumber, _ file: FileIndex, _ event: (UploadSessionID) -> UploadEvent
    ) {
        guard let link = host.links[peer] else { return }
        let made = event(UploadSessionID(link: link, session: file.value))
        after(VirtualSwarm.latencyNs) {
            let parent = self.hosts[peer.value]!
            guard self.ends[link] != nil, parent.isAlive, parent.fault != .mute else { return }
            self.performUpload(parent, parent.upload.handle(made, nowNs: self.nowNs))
            parent.upload.checkInvariants()
        }
    }

    private func readOrigin(_ host: Host, _ lease: LeaseID, _ file: FileIndex, _ pieces: Range<UInt32>) {
        host.origins[lease] = true
        var at: UInt64 = 5_000_000
        for piece in pieces {
            at += 4_000_000 + UInt64.random(in: 0...4_000_000, using: &random)
            let address = PieceAddress(file: file, piece: PieceIndex(piece))
            after(at) {
                guard host.isAlive, host.origins[lease] != nil else { return }
                self.originReads[address, default: 0] += 1
                host.slots[SlotKey(address: address, source: .origin(lease))] = self.truth(address)
                self.deliver(host, .originPiece(lease, address))
            }
        }
        after(at + 1) {
            guard host.isAlive, host.origins.removeValue(forKey: lease) != nil else { return }
            self.deliver(host, .originEnded(lease, failure: nil, retryable: true))
        }
    }

    private func read(_ host: Host, _ parent: Host, _ address: PieceAddress) {
        let link = host.links[parent.peer] ?? 0
        let session = UploadSessionID(link: link, session: address.file.value)
        let read = nextRead
        nextRead += 1
        reads[read] = Read(child: host.number, parent: parent.number, address: address)
        if parent.fault == .stuck { return }
        // A parent sends its pieces one after another at 1 GB/s, give or take.
        let start = max(nowNs, parent.busyUntilNs)
        parent.busyUntilNs = start + 4_000_000 + UInt64.random(in: 0...1_000_000, using: &random)
        after(parent.busyUntilNs - nowNs + VirtualSwarm.latencyNs) {
            guard host.isAlive, self.reads.removeValue(forKey: read) != nil else { return }
            let isGranted = self.live.contains(UploadSessionPiece(session: session, piece: address.piece))
            if isGranted, let content = parent.contents[address] {
                let sent = parent.fault == .liar ? content ^ 0xFF : content
                host.slots[SlotKey(address: address, source: .peer(parent.peer))] = sent
                self.bytesFrom[parent.number, default: 0] += 1
            }
            self.toParent(host, parent.peer, address.file) { .released($0, address.piece) }
            self.deliver(host, .readEnded(parent.peer, address, ok: isGranted))
        }
    }

    /// Closes a link: its reads end, then both ends hear of it.
    func cut(_ link: UInt64, tellChild: Bool = true) {
        guard let (child, parent) = ends.removeValue(forKey: link) else { return }
        let host = hosts[child]!
        if host.links[PeerNumber(parent)] == link { host.links[PeerNumber(parent)] = nil }
        for (id, read) in reads.sorted(by: { $0.key < $1.key })
        where read.child == child && read.parent == parent {
            reads[id] = nil
            send(host, .readEnded(PeerNumber(parent), read.address, ok: false))
        }
        if tellChild { send(host, .linkDown(PeerNumber(parent)), delayNs: VirtualSwarm.latencyNs + 1) }
        sendUpload(hosts[parent]!, .linkDown(link: link))
    }
}
