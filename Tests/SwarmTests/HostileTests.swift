import Artifacts
import Testing

@testable import Swarm

/// Words in any order from parents and children that keep to no rule, with an interpreter that does: nothing traps, the
/// sums hold after every event, and a cancel ends it all.
@Suite struct HostileTests {
    /// What the interpreter owes the download.
    struct Debts {
        var reads: [(peer: PeerNumber, address: PieceAddress)] = []
        var keeps: [PieceAddress] = []
        var publishes: [FileIndex] = []
        var origins: [(lease: LeaseID, pieces: [PieceAddress])] = []

        /// What decent parents would answer to.
        var connects: [PeerNumber] = []
        var opens: [(peer: PeerNumber, file: FileIndex)] = []
        var wants: [(peer: PeerNumber, address: PieceAddress)] = []

        mutating func take(_ actions: [DownloadAction]) {
            for action in actions {
                switch action {
                case .connect(let peer): connects.append(peer)
                case .open(let peer, let file): opens.append((peer, file))
                case .want(let peer, let address): wants.append((peer, address))
                case .read(let peer, let address, _): reads.append((peer, address))
                case .keep(let address, let expected, let source):
                    if case .peer = source { #expect(expected != nil, "\(address) would be kept unverified") }
                    keeps.append(address)
                case .publish(let file): publishes.append(file)
                case .fetchOrigin(let lease, let file, let range, _):
                    #expect(!origins.contains { $0.lease == lease })
                    origins.append((lease, range.map { PieceAddress(file: file, piece: PieceIndex($0)) }))
                default: break
                }
            }
        }

        var areNone: Bool { reads.isEmpty && keeps.isEmpty && publishes.isEmpty && origins.isEmpty }
    }

    /// Pays one debt, well or badly.
    private func pay(_ debts: inout Debts, _ random: inout SeededGenerator) -> DownloadEvent? {
        let isGood = Int.random(in: 0..<4, using: &random) > 0
        switch Int.random(in: 0..<4, using: &random) {
        case 0 where !debts.reads.isEmpty:
            let (peer, address) = debts.reads.remove(
                at: Int.random(in: 0..<debts.reads.count, using: &random))
            return .readEnded(peer, address, ok: isGood)
        case 1 where !debts.keeps.isEmpty:
            let address = debts.keeps.remove(at: Int.random(in: 0..<debts.keeps.count, using: &random))
            if !isGood { return .mismatched(address) }
            return .kept(address, digest: Fixtures.digest(Int(address.file.value), Int(address.piece.value)))
        case 2 where !debts.publishes.isEmpty:
            let file = debts.publishes.removeLast()
            return isGood ? .filePublished(file) : .fileMismatched(file)
        case 3 where !debts.origins.isEmpty:
            let index = Int.random(in: 0..<debts.origins.count, using: &random)
            if isGood, let piece = debts.origins[index].pieces.first {
                debts.origins[index].pieces.removeFirst()
                return .originPiece(debts.origins[index].lease, piece)
            }
            let lease = debts.origins.remove(at: index).lease
            return .originEnded(lease, failure: isGood ? nil : "503", retryable: true)
        default: return nil
        }
    }

    /// What a decent parent says, perhaps too late.
    private func answer(
        _ debts: inout Debts, _ script: Script, _ random: inout SeededGenerator
    ) -> DownloadEvent? {
        switch Int.random(in: 0..<4, using: &random) {
        case 0 where !debts.connects.isEmpty: return .linkUp(debts.connects.removeFirst())
        case 1 where !debts.opens.isEmpty:
            let (peer, file) = debts.opens.removeFirst()
            let count = script.download.manifest.files[Int(file.value)].layout.count
            return .map(peer, file, .full(capacity: count))
        case 2, 3:
            guard !debts.wants.isEmpty else { return nil }
            let (peer, address) = debts.wants.removeFirst()
            return .granted(
                peer, address, GrantID(1), leaseUntilNs: script.nowNs + 1 + random.next() % 60_000_000_000)
        default: return nil
        }
    }

    private func anything(_ script: Script, _ random: inout SeededGenerator) -> DownloadEvent {
        let peer = PeerNumber(Int.random(in: 1...5, using: &random))
        let file = FileIndex(Int.random(in: 0..<3, using: &random))
        let count = script.download.manifest.files[Int(file.value)].layout.count
        let piece = PieceIndex(Int.random(in: 0..<count + 1, using: &random))
        let address = PieceAddress(file: file, piece: piece)
        switch Int.random(in: 0..<17, using: &random) {
        case 0:
            let offers = (1...5).filter { _ in Bool.random(using: &random) }
            return .neighbourhood(
                offers.map { ParentOffer(peer: PeerNumber($0), isSeed: $0 == 1, distance: 1) })
        case 1, 2: return .linkUp(peer)
        case 3: return .linkDown(peer)
        case 4, 5:
            return .map(
                peer, file, .full(capacity: Int.random(in: 0..<20, using: &random) == 0 ? count + 1 : count))
        case 6: return .have(peer, file, [piece])
        case 7: return .unknown(peer, file)
        case 8, 9, 10:
            return .granted(
                peer, address, GrantID(1), leaseUntilNs: script.nowNs + random.next() % 60_000_000_000)
        case 11: return .busy(peer, address, retryAfterNs: random.next())
        case 12: return .absent(peer, address)
        case 13: return .digests(file, Fixtures.digests(Int(file.value), count))
        case 14: return Bool.random(using: &random) ? .digestsWithdrawn(file) : .tick
        case 15:
            let whole = Bool.random(using: &random)
            return .originLease(LeaseID(random.next() % 6), file, 0..<UInt32(count), whole: whole)
        default: return .leaseEnded(LeaseID(random.next() % 6))
        }
    }

    @Test func nothingAParentSaysBreaksADownload() {
        var overEarly = 0
        var history: [DownloadAction] = []
        for seed in UInt64(0)..<150 {
            var random = SeededGenerator(seed: seed)
            var settings = Script.settings
            settings.budgetBytes = 5 * Fixtures.pieceBytes
            var script = Script(
                pieces: [5, 1, 12], held: [2], digests: [3, 1, 6], settings: settings, seed: seed)
            var debts = Debts()
            debts.take(script.start())
            for _ in 0..<250 where !script.download.isOver {
                let isDecent = Int.random(in: 0..<8, using: &random) > 0
                let event =
                    pay(&debts, &random) ?? (isDecent ? answer(&debts, script, &random) : nil)
                    ?? (isDecent && script.download.parents.count > 2 ? .tick : anything(script, &random))
                script.nowNs += random.next() % 200_000_000
                debts.take(script.send(event))
                let peersBytes = script.download.inFlightBytes - script.download.originSlotBytes
                #expect(peersBytes <= settings.budgetBytes, "seed \(seed)")
            }
            if script.download.isOver { overEarly += 1 }
            if !script.download.isOver { debts.take(script.send(.cancel)) }
            for _ in 0..<10_000 where !debts.areNone {
                if let event = pay(&debts, &random) { debts.take(script.send(event)) }
            }
            #expect(script.download.isOver && debts.areNone, "seed \(seed)")
            #expect(script.download.inFlightBytes == 0)
            history += script.history
        }
        // The storm reaches every corner worth reaching.
        func count(_ isMeant: (DownloadAction) -> Bool) -> Int {
            history.reduce(0) { $0 + (isMeant($1) ? 1 : 0) }
        }
        #expect(count { if case .read = $0 { true } else { false } } > 500)
        #expect(count { if case .keep(_, _, from: .peer) = $0 { true } else { false } } > 200)
        #expect(count { if case .keep(_, _, from: .origin) = $0 { true } else { false } } > 50)
        #expect(count { if case .discard = $0 { true } else { false } } > 20)
        #expect(count { if case .blame = $0 { true } else { false } } > 50)
        #expect(count { if case .forget = $0 { true } else { false } } > 50)
        #expect(count { if case .drop = $0 { true } else { false } } > 50)
        #expect(count { if case .publish = $0 { true } else { false } } > 50)
        #expect(overEarly < 120, "most runs must reach the cancel to mean anything, \(overEarly) did not")
    }

    @Test func nothingAChildSaysBreaksTheUploadSide() {
        for seed in UInt64(0)..<100 {
            var random = SeededGenerator(seed: seed)
            var settings = seed % 2 == 0 ? UploadSettings.seed : UploadSettings.peer
            settings.slotsMax = 3
            settings.leaseNs = 2_000_000_000
            var upload = Upload(settings: settings)
            var exporting: [(UploadSessionID, PieceIndex)] = []
            var live: [UploadSessionID: [PieceIndex]] = [:]
            var nowNs: UInt64 = 0
            func take(_ actions: [UploadAction]) {
                for action in actions {
                    switch action {
                    case .export(let session, _, let piece): exporting.append((session, piece))
                    case .revoke(let session, let piece):
                        let index = live[session]?.firstIndex(of: piece)
                        #expect(index != nil, "revoked without an export, seed \(seed)")
                        if let index { live[session]!.remove(at: index) }
                    default: break
                    }
                }
            }
            for _ in 0..<400 {
                nowNs += random.next() % 100_000_000
                let session = UploadSessionID(
                    link: random.next() % 3, session: UInt32(Int.random(in: 0..<3, using: &random)))
                let task = TaskID(Fixtures.digest(UInt64(session.session)))
                let piece = PieceIndex(Int.random(in: 0..<9, using: &random))
                var event: UploadEvent
                switch Int.random(in: 0..<14, using: &random) {
                case 0:
                    event = .opened(
                        session, task, held: Bool.random(using: &random) ? PieceSet(capacity: 8) : nil)
                case 1, 2, 3, 4: event = .wanted(session, piece)
                case 5, 6: event = .released(session, piece)
                case 7: event = .closed(session)
                case 8: event = .linkDown(link: session.link)
                case 9, 10: event = .kept(task, PieceIndex(Int(piece.value) % 8))
                case 11: event = Int.random(in: 0..<8, using: &random) == 0 ? .forgot(task) : .tick
                default: event = .tick
                }
                if !exporting.isEmpty, Bool.random(using: &random) {
                    let (session, piece) = exporting.removeFirst()
                    let ok = Int.random(in: 0..<5, using: &random) > 0
                    if ok { live[session, default: []].append(piece) }
                    event = .exported(session, piece, ok: ok)
                }
                take(upload.handle(event, nowNs: nowNs))
                upload.checkInvariants()
                if let wake = upload.wakeAtNs {
                    #expect(wake > nowNs, "asks to wake in the past, seed \(seed)")
                }
            }
            for link in UInt64(0)..<3 { take(upload.handle(.linkDown(link: link), nowNs: nowNs)) }
            while !exporting.isEmpty {
                let (session, piece) = exporting.removeFirst()
                live[session, default: []].append(piece)
                take(upload.handle(.exported(session, piece, ok: true), nowNs: nowNs))
            }
            #expect(live.values.allSatisfy { $0.isEmpty }, "exports outlived their links, seed \(seed)")
            #expect(upload.usage.slotsTaken == 0 && upload.usage.sessions == 0 && upload.wakeAtNs == nil)
        }
    }
}
