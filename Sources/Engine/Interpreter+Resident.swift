import Artifacts
import Memory
import Rails
import Storage
import Swarm
import Transport

/// Serving from memory: a piece lies in a slot while rails export it there, and as long after as nobody needs the slot.
extension Interpreter {
    /// A slot for whatever arrives; pieces that only lie ready make room for it.
    func takeSlot(lengthBytes: Int) -> Slot? {
        repeat {
            if let slot = arena.take(lengthBytes: lengthBytes) { return slot }
        } while evictOne()
        return nil
    }

    private func evictOne() -> Bool {
        guard let slot = resident.evict() else { return false }
        arena.give(back: slot)
        return true
    }

    /// A slot for a piece that is to lie ready, within the share of the arena that is for those.
    private func takeResidentSlot(lengthBytes: Int) -> Slot? {
        while !resident.hasRoom(for: lengthBytes) { guard evictOne() else { return nil } }
        return takeSlot(lengthBytes: lengthBytes)
    }

    /// The origin's reader waits: pieces that only lie ready make room, several at a time.
    func evictForOrigin() {
        var freed = 0
        while freed < max(arena.slotBytes, arena.lengthBytes / 16), let slot = resident.evict() {
            arena.give(back: slot)
            freed += slot.capacityBytes
        }
        if freed > 0 { slotsFreed() }
    }

    // MARK: exports

    /// The upload side wants a piece exported by a rail that serves from memory.
    func exportFromMemory(_ export: MemoryExport) {
        // In order: whoever waits for memory was first.
        if exportsWaiting.isEmpty, start(export) { return }
        guard exportsWaiting.count < configuration.exportsWaitingMax else {
            uploadEvent(.exportDeferred(export.key.session, export.key.piece))
            return
        }
        exportsWaiting.append(export)
    }

    /// Starts exports that waited for memory, in order.
    func startWaitingExports() {
        while let first = exportsWaiting.first, start(first) { exportsWaiting.removeFirst() }
    }

    /// Exports that waited too long: their children hear that we are busy.
    func expireExports() {
        while let first = exportsWaiting.first, first.untilNs <= nowNs {
            exportsWaiting.removeFirst()
            uploadEvent(.exportDeferred(first.key.session, first.key.piece))
        }
        if !exportsWaiting.isEmpty { startWaitingExports() }
    }

    /// - Returns: false when there is no memory now.
    private func start(_ export: MemoryExport) -> Bool {
        let piece = export.key.piece
        // What is being thrown away, or went with its link, is not read for anybody.
        guard links[export.key.session.link] != nil, served[export.task] != nil, stopAtNs == nil else {
            uploadEvent(.exported(export.key.session, piece, ok: false))
            return true
        }
        if let (number, isLoading) = resident.find(export.task, piece) {
            if isLoading {
                loading[number]!.append(export)
            } else {
                ended.residentHits += 1
                ask(for: export, from: number)
            }
            return true
        }
        let range = export.served.file.layout.range(of: piece)
        guard let slot = takeResidentSlot(lengthBytes: Int(range.length)) else { return false }
        let number = resident.insert(export.task, piece, slot, isLoading: true)
        loading[number] = [export]
        ended.residentLoaded += 1
        let (arena, post, source) = (arena, post, export.served.source)
        work {
            do throws(StorageError) {
                try source.read(range, into: arena.bytes(of: slot))
                post(.pieceLoaded(number, nil))
            } catch {
                post(.pieceLoaded(number, error))
            }
        }
        return true
    }

    /// A worker has read a piece into memory, or could not.
    func pieceLoaded(_ number: ResidentNumber, _ error: StorageError?) {
        let waiting = loading.removeValue(forKey: number) ?? []
        if let error { log("a stored piece cannot be served: \(error)") }
        let (isReady, slot) = resident.loaded(number, ok: error == nil)
        for export in waiting {
            if isReady, links[export.key.session.link] != nil {
                ask(for: export, from: number)
            } else {
                uploadEvent(.exported(export.key.session, export.key.piece, ok: false))
            }
        }
        if let slot { free(slot) } else { becameEvictable() }
    }

    /// Has a rail export a piece that lies ready.
    private func ask(for export: MemoryExport, from number: ResidentNumber) {
        guard let link = links[export.key.session.link] else {
            preconditionFailure("an export for \(export.key.session), whose link is gone")
        }
        let slot = resident.use(number)
        let lengthBytes = export.served.file.layout.range(of: export.key.piece).length
        let token = self.number()
        exporting[token] = PendingExport(key: export.key, served: export.served, resident: number)
        let source = ExportSource.memory(
            region: rails[link.rail].regions[0], offset: UInt64(slot.offset), lengthBytes: lengthBytes)
        command(.export(token: token, source, to: link.id), on: link.rail)
    }

    /// Nobody reads an export any more.
    func exportRetired(_ export: RailExport) {
        guard let number = residentExports.removeValue(forKey: export) else { return }
        releaseResident(number)
    }

    /// An export of a piece in memory is over, or was never made.
    func releaseResident(_ number: ResidentNumber) {
        if let slot = resident.release(number) { free(slot) } else { becameEvictable() }
    }

    /// Something lies ready that nobody reads: whoever waits for a slot may have it.
    private func becameEvictable() {
        if originIsShort {
            evictForOrigin()
        } else if !exportsWaiting.isEmpty || !readsWaiting.isEmpty {
            startWaitingExports()
            startWaitingReads()
        }
    }

    // MARK: what lies ready

    /// A piece was verified and stored: its slot serves it on, unless somebody needs the slot more.
    func keepResident(_ task: TaskID, _ piece: PieceIndex, _ slot: Slot) {
        // An older one under this name may have other bytes.
        if let old = resident.detach(task, piece) { arena.give(back: old) }
        let isNeeded = !readsWaiting.isEmpty || originIsShort || stopAtNs != nil || forgetting[task] != nil
        guard servesFromMemory, !isNeeded else { return free(slot) }
        while !resident.hasRoom(for: slot.capacityBytes) { guard evictOne() else { return free(slot) } }
        _ = resident.insert(task, piece, slot, isLoading: false)
        ended.residentKept += 1
        startWaitingExports()
    }

    /// What is stored of a task is thrown away: it is not exported anew any more.
    func forgetResident(_ task: TaskID) {
        for slot in resident.forget(task) { free(slot) }
    }

    /// The engine is to stop: slots come back, those in use when their rail has ended.
    func endResident() {
        for slot in resident.forget(nil) { arena.give(back: slot) }
        let waiting = exportsWaiting
        exportsWaiting = []
        for export in waiting { uploadEvent(.exported(export.key.session, export.key.piece, ok: false)) }
    }
}
