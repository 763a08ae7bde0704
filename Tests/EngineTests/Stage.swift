import Artifacts
import Digests
import Foundation
import Memory
import Rails
import Storage
import Swarm
import Testing
import Transport

@testable import Engine

/// The real interpreter on a stage: real arena and store, everything else played by the test, one thread.
///
/// Time moves only as the stage says, jobs of workers run in an order drawn from the seed.
final class Stage {
    let directory: String
    let store: Store
    let arena: Arena
    /// One for each kind of transport.
    let rails: [RecordingRail]
    var rail: RecordingRail { rails[0] }
    /// What was logged.
    let lines = Lines()
    let workers = HeldWorkers()
    let scheduler = RecordingScheduler()
    let origin = HeldOrigin()
    let posted = Posted()
    let totals = EngineTotalsBox()
    let interpreter: Interpreter
    var nowNs: UInt64 = 1_000_000_000
    var random: SeededGenerator

    /// What far sides and the origin have, by task.
    var content: [TaskID: [UInt8]] = [:]
    var parents: [String: FakeParent] = [:]
    /// Workers that are told to wait.
    var holdsWorkers = false
    /// The origin reads when this is set.
    var originServes = true
    /// What the origin fails with.
    var originFailure: OriginFailure?
    var fetches: [OriginFetch] = []
    private var shortAfter = -1
    /// Pieces the origin delivered, by task.
    var originPieces: [TaskID: Int] = [:]
    /// Links asked for and not yet answered, when they are held.
    var holdsDials = false
    private var dials: [(RailCommand, RailNumber)] = []
    /// Exports asked for and not yet answered, when they are held.
    var holdsExports = false
    var exports: [(token: UInt64, link: LinkID, source: ExportSource)] = []
    /// What is exported, until it is retired; a revocation retires at once unless it is held.
    var exported: [ExportID: (link: LinkID, source: ExportSource)] = [:]
    var holdsRetirement = false
    var exportCount = 0
    var revoked: [ExportID] = []
    /// What was sent on inbound links.
    var toChildren: [(LinkID, PeerMessage<RemoteKey>)] = []
    var closed: [LinkID] = []
    private var nextLink: UInt32 = 0
    private var nextExport: UInt64 = 1
    private var linkParent: [LinkID: FakeParent] = [:]
    private var linkRail: [LinkID: RailNumber] = [:]
    private var inbound: Set<LinkID> = []

    init(
        seed: UInt64 = 1, arenaBytes: Int = 64 << 20, isSeed: Bool = false, kinds: [TransportKind] = [.simulated],
        servesFrom: ServingSource = .files,
        _ change: (inout EngineConfiguration) -> Void = { _ in }
    ) throws {
        directory = NSTemporaryDirectory() + "engine-" + UUID().uuidString
        store = try Store(StoreConfiguration(directory: directory, freeBytesMin: 0))
        arena = try Arena(
            ArenaConfiguration(
                name: "stage", totalBytes: arenaBytes, hugePages: .off, lock: false, prefault: false))
        random = SeededGenerator(seed: seed)
        var configuration = EngineConfiguration(
            host: HostID("me")!, isSeed: isSeed, download: DownloadSettings(),
            upload: isSeed ? .seed : .peer, seed: seed)
        change(&configuration)
        rails = kinds.map { RecordingRail(kind: $0, servesFrom: servesFrom) }
        let dialing = Dictionary(grouping: kinds.indices, by: { kinds[$0] })
        let lines = lines
        interpreter = Interpreter(
            configuration: configuration, rails: rails, dialing: dialing, arena: arena, store: store,
            workers: workers, scheduler: scheduler, origin: origin, totals: totals, post: posted.put,
            log: { line in lines.put(line) })
    }

    deinit {
        for slot in interpreter.resident.forget(nil) { arena.give(back: slot) }
        try? store.close()
        try? FileManager.default.removeItem(atPath: directory)
    }

    // MARK: what there is

    /// A model of these files; files of the same bytes are the same task.
    func model(_ name: String, _ files: [String: [UInt8]]) throws -> (ModelID, Manifest) {
        let manifest = try Manifest(
            reference: "file:///\(name)", revision: "1",
            files: files.map { path, bytes in
                let digest = Digests.sha256(bytes)
                content[TaskID(digest)] = bytes
                return ManifestFile(
                    path: path, sizeBytes: UInt64(bytes.count), publishedDigest: digest, task: TaskID(digest))
            })
        return (manifest.model, manifest)
    }

    /// Bytes that differ from piece to piece and from mark to mark.
    static func bytes(_ count: Int, mark: UInt8) -> [UInt8] {
        var bytes = [UInt8](repeating: mark, count: count)
        for (index, place) in stride(from: 0, to: count, by: 1 << 20).enumerated() {
            bytes[place] = UInt8(truncatingIfNeeded: index &+ 1)
        }
        return bytes
    }

    /// The digests of a task's pieces.
    func digests(of task: TaskID) -> [PieceIndex: Digest] {
        let bytes = content[task]!
        let layout = PieceLayout(fileBytes: UInt64(bytes.count))
        var digests: [PieceIndex: Digest] = [:]
        for piece in 0..<layout.count {
            let range = layout.range(of: PieceIndex(piece))
            digests[PieceIndex(piece)] = bytes.withUnsafeBytes {
                Digests.piece(UnsafeRawBufferPointer(rebasing: $0[Int(range.offset)..<Int(range.end)]))
            }
        }
        return digests
    }

    /// Adds a parent that holds everything, and names all parents to a model's download.
    @discardableResult
    func addParent(_ name: String, _ change: (FakeParent) -> Void = { _ in }) -> FakeParent {
        let parent = FakeParent(name)
        change(parent)
        parents[name] = parent
        return parent
    }

    func neighbourhood(of model: ModelID) -> EngineEvent {
        .scheduler(
            .neighbourhood(
                model,
                parents.keys.sorted().map {
                    Neighbour(
                        host: HostID($0)!, incarnation: 1, addresses: addresses(of: $0), isSeed: false, distance: 1)
                }))
    }

    private func addresses(of name: String) -> [String] {
        rails.map { $0.capabilities.kind }.filter { parents[name]!.announces($0) }.map { "\($0):\(name)" }
    }

    /// A lease on all of a task.
    func lease(_ number: UInt64, _ model: ModelID, _ task: TaskID) -> EngineEvent {
        let layout = PieceLayout(fileBytes: UInt64(content[task]!.count))
        return .scheduler(.lease(LeaseID(number), model, task, 0..<UInt32(layout.count), whole: false))
    }

    // MARK: the play

    /// Starts a download for a caller.
    func start(_ model: (ModelID, Manifest)) -> (DownloadTicket, Ends) {
        let ends = Ends()
        let ticket = interpreter.start(model.0, model.1, done: ends.put)
        tell([])
        return (ticket, ends)
    }

    /// Gives the interpreter events, then plays on until nothing happens by itself.
    func tell(_ events: [EngineEvent]) {
        interpreter.handle(events, nowNs: nowNs)
        settle()
    }

    func tell(_ event: EngineEvent) { tell([event]) }
    func tell(rail events: RailEvent...) { tell(events.map { .rail(0, $0) }) }

    /// Plays until nothing happens by itself at this time.
    func settle() {
        for _ in 0..<10_000 {
            for rail in rails.indices {
                for command in rails[rail].take() { react(command, rail) }
            }
            fetches += origin.take()
            serveOrigin()
            if !holdsWorkers {
                var jobs = workers.take()
                jobs.shuffle(using: &random)
                for job in jobs { job() }
            }
            let events = posted.take()
            if events.isEmpty { return }
            interpreter.handle(events, nowNs: nowNs)
        }
        Issue.record("the stage does not come to rest")
    }

    /// Lets time pass until something is so; false when it is not after `limitNs`.
    @discardableResult
    func wait(limitNs: UInt64 = 300_000_000_000, until isSo: () -> Bool) -> Bool {
        let endNs = nowNs + limitNs
        settle()
        while !isSo() {
            guard let wakeNs = interpreter.wakeAtNs, wakeNs <= endNs else { return isSo() }
            nowNs = max(nowNs + 1, wakeNs)
            tell([])
        }
        return true
    }

    /// Lets so much time pass.
    func pass(_ spanNs: UInt64) {
        let endNs = nowNs + spanNs
        wait(limitNs: spanNs) { false }
        nowNs = endNs
        tell([])
    }

    /// A child's link.
    func childLink(_ name: String = "child") -> LinkID {
        nextLink += 1
        let link = LinkID(index: nextLink, generation: 1)
        inbound.insert(link)
        tell(rail: .linkUp(link, LinkIdentity(host: HostID(name)!, incarnation: 1, cluster: "c"), inbound: true))
        return link
    }

    /// The link to a parent, if one was dialled.
    func link(to parent: FakeParent) -> LinkID? { linkParent.first { $0.value === parent }?.key }

    /// The rail that dialled a link.
    func rail(of link: LinkID) -> RailNumber? { linkRail[link] }

    /// The links to a parent over one transport.
    func links(to parent: FakeParent, over kind: TransportKind) -> [LinkID] {
        linkParent.filter { $0.value === parent && rails[linkRail[$0.key]!].capabilities.kind == kind }.map(\.key)
    }

    /// A link goes down: its reads complete first, as a rail does it.
    func takeDown(_ link: LinkID, _ code: TransportError.Code = .peerClosed) {
        var events: [RailEvent] = []
        if let parent = linkParent.removeValue(forKey: link) {
            events += endReads(of: parent, on: link)
        }
        inbound.remove(link)
        events += retireAll(of: link)
        events.append(.linkDown(link, TransportError(code, "taken down by the test")))
        let rail = linkRail[link] ?? 0
        tell(events.map { .rail(rail, $0) })
    }

    /// Nobody reads an export any more.
    func retire(_ id: ExportID) {
        guard exported.removeValue(forKey: id) != nil else { return }
        posted.put(.rail(0, .exportRetired(id)))
    }

    private func retireAll(of link: LinkID) -> [RailEvent] {
        let ids = exported.filter { $0.value.link == link }.map(\.key)
        for id in ids { exported[id] = nil }
        return ids.map { .exportRetired($0) }
    }

    /// Whether an export from memory has exactly these bytes of a task.
    func isExported(_ id: ExportID, _ task: TaskID, _ piece: UInt32) -> Bool {
        guard case .memory(_, let offset, let length)? = exported[id]?.source else { return false }
        let range = PieceLayout(fileBytes: UInt64(content[task]!.count)).range(of: PieceIndex(piece))
        return range.length == length
            && content[task]!.withUnsafeBytes {
                memcmp($0.baseAddress! + Int(range.offset), arena.base + Int(offset), Int(length)) == 0
            }
    }

    private func endReads(of parent: FakeParent, on link: LinkID) -> [RailEvent] {
        let reads = parent.heldReads.filter { $0.link == link }
        parent.heldReads.removeAll { $0.link == link }
        return reads.map { .readCompleted(tag: $0.tag, link, failure: .linkClosed) }
    }

    /// Answers dials that were held.
    func answerDials() {
        let waiting = dials
        dials = []
        for (command, rail) in waiting { react(command, rail) }
        settle()
    }

    /// Answers exports that were held.
    func answerExports() {
        let waiting = exports
        exports = []
        for export in waiting { answer(export.token, export.link, export.source) }
        settle()
    }

    private func answer(_ token: UInt64, _ link: LinkID, _ source: ExportSource) {
        guard inbound.contains(link) else {
            let error = TransportError(.linkClosed, "the link is down")
            posted.put(.rail(0, .exported(token: token, .failure(error))))
            return
        }
        let id = ExportID(nextExport)
        nextExport += 1
        exported[id] = (link, source)
        posted.put(.rail(0, .exported(token: token, .success(Export(id: id, key: Stage.key(id.value))))))
    }

    private func react(_ command: RailCommand, _ rail: RailNumber) {
        switch command {
        case .connect where holdsDials:
            dials.append((command, rail))
        case .connect(let token, let address, _):
            guard let parent = parents[address.location], !parent.isDead, !parent.deadKinds.contains(address.kind)
            else {
                let error = TransportError(.refused, "nobody listens there")
                posted.put(.rail(rail, .connectFailed(token: token, error)))
                return
            }
            parent.dials.append(address.kind)
            nextLink += 1
            let link = LinkID(index: nextLink, generation: 1)
            linkParent[link] = parent
            linkRail[link] = rail
            let identity = LinkIdentity(host: HostID(parent.name)!, incarnation: 1, cluster: "c")
            posted.put(.rail(rail, .connecting(token: token, link)))
            posted.put(.rail(rail, .linkUp(link, identity, inbound: false)))
        case .close(let link):
            closed.append(link)
            guard linkParent[link]?.ignoresClose != true else { return }
            if linkParent[link] != nil || inbound.contains(link) {
                var events: [RailEvent] = []
                if let parent = linkParent.removeValue(forKey: link) { events = endReads(of: parent, on: link) }
                inbound.remove(link)
                events += retireAll(of: link)
                events.append(.linkDown(link, TransportError(.linkClosed, "closed")))
                for event in events { posted.put(.rail(rail, event)) }
            }
        case .send(let message, let link):
            if let parent = linkParent[link] {
                for answer in parent.answer(message, content, on: link) {
                    posted.put(.rail(rail, .message(link, answer)))
                }
            } else {
                toChildren.append((link, message))
            }
        case .read(let read):
            guard let parent = linkParent[read.link] else {
                posted.put(.rail(rail, .readCompleted(tag: read.tag, read.link, failure: .linkClosed)))
                return
            }
            if parent.holds(read, over: rails[rail].capabilities.kind) {
                parent.heldReads.append(read)
            } else {
                serve(read, parent)
            }
        case .export(let token, let source, let link):
            exportCount += 1
            if holdsExports { exports.append((token, link, source)) } else { answer(token, link, source) }
        case .revoke(let id):
            #expect(!revoked.contains(id), "\(id) was revoked twice")
            revoked.append(id)
            if !holdsRetirement { retire(id) }
        }
    }

    /// Puts a granted piece's bytes into the slot.
    func serve(_ read: PieceRead, _ parent: FakeParent) {
        guard let grant = parent.grants[read.key] else {
            let failure = TransportError.Code.accessDenied
            posted.put(.rail(linkRail[read.link]!, .readCompleted(tag: read.tag, read.link, failure: failure)))
            return
        }
        let bytes = content[grant.task]!
        let range = PieceLayout(fileBytes: UInt64(bytes.count)).range(of: grant.piece)
        #expect(range.length == read.lengthBytes)
        let target = arena.base + Int(read.localOffset)
        bytes.withUnsafeBytes {
            target.copyMemory(from: $0.baseAddress! + Int(range.offset), byteCount: Int(range.length))
        }
        if parent.isCorrupt { target.storeBytes(of: 0xEE, as: UInt8.self) }
        parent.readsServed += 1
        posted.put(.rail(linkRail[read.link]!, .readCompleted(tag: read.tag, read.link, failure: nil)))
    }

    private func serveOrigin() {
        var going: [OriginFetch] = []
        for fetch in fetches {
            if origin.isStopped(fetch.lease) {
                let stopped = OriginFailure(code: "cancelled", description: "stopped", retryable: true)
                posted.put(.originEnded(fetch.lease, stopped))
                continue
            }
            guard originServes else {
                going.append(fetch)
                continue
            }
            if let rest = read(fetch) { going.append(rest) }
        }
        fetches = going
    }

    /// Reads as far as there are slots; what is left, or nil.
    private func read(_ fetch: OriginFetch) -> OriginFetch? {
        let file = fetch.manifest.files[Int(fetch.file.value)]
        for number in fetch.pieces {
            if let originFailure {
                posted.put(.originEnded(fetch.lease, originFailure))
                return nil
            }
            let range = file.layout.range(of: PieceIndex(number))
            guard let slot = arena.take(lengthBytes: Int(range.length)) else {
                // Said once for every time it was told to try again.
                if shortAfter != origin.slotsFreedCount { posted.put(.slotsShort) }
                shortAfter = origin.slotsFreedCount
                return OriginFetch(
                    lease: fetch.lease, model: fetch.model, manifest: fetch.manifest, file: fetch.file,
                    pieces: number..<fetch.pieces.upperBound, whole: fetch.whole)
            }
            content[file.task]!.withUnsafeBytes {
                arena.bytes(of: slot).copyMemory(
                    from: UnsafeRawBufferPointer(rebasing: $0[Int(range.offset)..<Int(range.end)]))
            }
            originPieces[file.task, default: 0] += 1
            posted.put(.originPiece(fetch.lease, PieceIndex(number), slot))
        }
        posted.put(.originEnded(fetch.lease, nil))
        return nil
    }

    static func key(_ number: UInt64) -> RemoteKey { withUnsafeBytes(of: number) { RemoteKey($0)! } }

    // MARK: questions

    /// Whether a task is published, with the bytes it should have.
    func isPublished(_ task: TaskID) -> Bool { store.task(task)?.isPublished == true }

    /// How often a message to the scheduler was sent.
    func said(_ isMeant: (SchedulerUplink) -> Bool) -> Int { scheduler.said.count(where: isMeant) }

    /// Nothing is left of downloads, children and slots.
    func expectNothingLeft(_ location: SourceLocation = #_sourceLocation) {
        #expect(arena.usage.takenSlots == 0, "slots are out", sourceLocation: location)
        #expect(interpreter.downloads.isEmpty, "downloads are left", sourceLocation: location)
        #expect(interpreter.reads.isEmpty && interpreter.readsWaiting.isEmpty, sourceLocation: location)
        #expect(interpreter.grants.isEmpty, "grants are left", sourceLocation: location)
        #expect(interpreter.downloadOfLease.isEmpty, "leases are left", sourceLocation: location)
        #expect(interpreter.filesOfTask.isEmpty && interpreter.downloadOfModel.isEmpty, sourceLocation: location)
        #expect(interpreter.forgetting.isEmpty, sourceLocation: location)
    }

    /// Nothing is left of any child.
    func expectNoChildren(_ location: SourceLocation = #_sourceLocation) {
        #expect(interpreter.upload.usage.slotsTaken == 0, "upload slots are taken", sourceLocation: location)
        #expect(interpreter.upload.usage.sessions == 0, sourceLocation: location)
        #expect(interpreter.childTasks.isEmpty && interpreter.opening.isEmpty, sourceLocation: location)
        #expect(interpreter.served.isEmpty, "tasks are open for serving", sourceLocation: location)
        #expect(interpreter.exports.isEmpty && interpreter.exporting.isEmpty, sourceLocation: location)
    }
}
