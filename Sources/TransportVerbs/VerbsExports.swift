import Artifacts
import System
import Transport
import Verbs

/// A range that one link may READ, from its making until nobody reads it any more.
///
/// ```
///  alive → stopping (the reader is asked to finish) → ending (the device is told to refuse) → gone
/// ```
/// A reader that keeps the rules answers `stopped`, and nothing of its link breaks. One that does not is cut off after
/// a limit: its next READ fails at its device and costs it the link.
final class VerbsExport {
    enum State {
        case alive
        /// Asked at `sinceNs` (0: not noted yet).
        case stopping(sinceNs: UInt64)
        /// The window's end waits for room on its queue pair.
        case waiting
        /// The window's end is posted.
        case ending
    }

    var id = ExportID(0)
    var lengthBytes: UInt64 = 0
    var state = State.alive
    /// An exact region of its own; or the mapping and region of a file.
    var region: MemoryRegion?
    var mapping: FileMapping?
    /// A window on registered memory, and the lane it is bound to.
    var window: LeaseWindow?
    var lane: VerbsLane?
    var isBound = false

    /// Lists the binding of a window to its own region.
    func appendBind(
        _ window: borrowing MemoryWindow, newKey: UInt32, address: UInt64, lengthBytes: UInt64, id: UInt64,
        to list: inout SendList
    ) {
        switch region {
        case .some(let region):
            list.appendBind(
                window, newKey: newKey, region: region, address: address, lengthBytes: lengthBytes, id: id,
                isSignaled: true)
        case .none:
            preconditionFailure("an export without a region cannot bind a window to it")
        }
    }

    /// Lets go of what it holds on the device: from here on no READ of it succeeds.
    func release() {
        window = nil
        region = nil
        mapping = nil
        lane = nil
        isBound = false
        state = .alive
    }
}

/// Exports and their leases.
///
/// By window: a type-2 window bound to one queue pair of the link, over the arena's region; a posted request makes it
/// and another ends it, and the device checks queue pair, range and permission. By region: a memory region of exactly
/// the range in a protection domain of the link alone, where the device's windows do not hold what they promise.
extension VerbsTransport {
    /// Lets one link read exactly this range until `revoke`.
    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        guard let target = links[link], target.state == .up, let domain = target.domain else {
            throw TransportError(.linkClosed, "\(link) is not up; nothing can be exported to it")
        }
        guard target.exports.count < configuration.exportsPerLinkMax else {
            throw TransportError(
                .limit, "\(target.name) has \(target.exports.count) exports already; revoke one first")
        }
        lastExport += 1
        let export = idleExports.popLast() ?? VerbsExport()
        export.id = ExportID(lastExport)
        do throws(TransportError) {
            let key =
                switch source {
                case .memory(let region, let offset, let length):
                    try lease(region, offset, length, to: export, target, domain)
                case .file(let descriptor, let range):
                    try lease(descriptor, range, to: export, target, domain)
                }
            guard target.state == .up else {
                throw TransportError(.linkClosed, "the link to \(target.name) has just ended")
            }
            target.exports[export.id.value] = export
            exportLinks[export.id] = link
            export.lengthBytes = key.lengthBytes
            return Export(id: export.id, key: key.key)
        } catch {
            export.release()
            idleExports.append(export)
            throw error
        }
    }

    private func lease(
        _ region: RegionID, _ offset: UInt64, _ length: UInt64, to export: VerbsExport, _ link: VerbsLink,
        _ domain: LeaseDomain
    ) throws(TransportError) -> VerbsKey {
        let memory = memory(of: region)
        guard length > 0, offset <= UInt64(memory.lengthBytes), length <= UInt64(memory.lengthBytes) - offset else {
            throw TransportError(
                .sourceFailed, "\(length) bytes at \(offset) are not in memory of \(memory.lengthBytes) bytes")
        }
        let base = memory.base + Int(offset)
        let address = UInt64(UInt(bitPattern: base))
        guard leasesByWindow, let session else {
            return try lease(address, length, to: export, link) { () throws(VerbsError) in
                try memory.region(
                    in: domain.domain, offset: Int(offset), lengthBytes: Int(length), access: .remoteRead)
            }
        }
        let chunk = UInt64(session.chunkBytes)
        guard offset / chunk == (offset + length - 1) / chunk else {
            throw TransportError(.sourceFailed, "\(length) bytes at \(offset) cross a registered region's end")
        }
        guard memory.dmaBuf == nil else {
            // Links share one domain here: an exact region of it would be anybody's who learns its key.
            throw TransportError(
                .sourceFailed, "memory of a GPU cannot be leased by windows; lease by regions (peer.rdma_lease)")
        }
        return try bind(to: export, link, domain, address, length) { window, newKey, id, list in
            session.appendBind(
                window, newKey: newKey, region: region, offset: offset, address: address, lengthBytes: length, id: id,
                to: &list)
        }
    }

    /// Binds a window to a queue pair of the link; `append` says to what.
    private func bind(
        to export: VerbsExport, _ link: VerbsLink, _ domain: LeaseDomain, _ address: UInt64, _ length: UInt64,
        append: (borrowing MemoryWindow, UInt32, UInt64, inout SendList) -> Void
    ) throws(TransportError) -> VerbsKey {
        guard let lane = link.serveLanes.max(by: { $0.room < $1.room }), lane.room > 1, let session,
            requestsOutstanding < session.completionsMax
        else {
            throw TransportError(.limit, "\(link.name) has too many leases on their way; revoke one first")
        }
        if export.window == nil {
            do throws(VerbsError) {
                if let idle = link.idleWindows.popLast() {
                    export.window = idle
                } else {
                    export.window = LeaseWindow(try MemoryWindow(in: domain.domain))
                }
            } catch {
                throw TransportError(.limit, "no lease for \(link.name): \(error)")
            }
        }
        let newKey = export.window!.window.nextKey
        if lane.isListFull { ring(lane) }
        append(export.window!.window, newKey, lane.nextMark(), &lane.list)
        lane.note(.bind(export.id))
        requestsOutstanding += 1
        link.bindsPending += 1
        export.lane = lane
        export.isBound = true
        // At once: the key is good from here on.
        ring(lane)
        return VerbsKey(
            tag: link.ownTag, export: export.id.value, address: address, lengthBytes: length, remoteKey: newKey,
            lane: UInt8(lane.index))
    }

    private func lease(
        _ descriptor: CInt, _ range: ByteRange, to export: VerbsExport, _ link: VerbsLink, _ domain: LeaseDomain
    ) throws(TransportError) -> VerbsKey {
        let base: UnsafeMutableRawPointer
        let fileBytes: UInt64
        do throws(Errno) {
            fileBytes = try FileSource.lengthBytes(of: descriptor)
        } catch {
            throw TransportError(.sourceFailed, "cannot export a file: \(error)")
        }
        guard range.length > 0, range.offset <= fileBytes, range.length <= fileBytes - range.offset else {
            throw TransportError(
                .sourceFailed, "\(range.length) bytes at \(range.offset) are not in a file of \(fileBytes) bytes")
        }
        do throws(Errno) {
            let mapping = try FileMapping(
                descriptor, offset: range.offset, lengthBytes: Int(range.length), isPopulated: true)
            base = UnsafeMutableRawPointer(mutating: mapping.base)
            export.mapping = consume mapping
        } catch {
            throw TransportError(.sourceFailed, "cannot export a file: \(error)")
        }
        let address = UInt64(UInt(bitPattern: base))
        guard leasesByWindow else {
            return try lease(address, range.length, to: export, link) { () throws(VerbsError) in
                try MemoryRegion(in: domain.domain, base: base, lengthBytes: Int(range.length), access: .remoteRead)
            }
        }
        // Links share one domain: the region itself grants nothing, the window on it is one queue pair's.
        do throws(VerbsError) {
            export.region = try MemoryRegion(
                in: domain.domain, base: base, lengthBytes: Int(range.length), access: .windowBind)
        } catch {
            throw TransportError(.sourceFailed, "no lease for \(link.name): \(error)")
        }
        return try bind(to: export, link, domain, address, range.length) { window, newKey, id, list in
            export.appendBind(window, newKey: newKey, address: address, lengthBytes: range.length, id: id, to: &list)
        }
    }

    /// An exact region, in the domain of this link's queue pairs alone.
    private func lease(
        _ address: UInt64, _ length: UInt64, to export: VerbsExport, _ link: VerbsLink,
        _ register: () throws(VerbsError) -> MemoryRegion
    ) throws(TransportError) -> VerbsKey {
        do throws(VerbsError) {
            let region = try register()
            let key = VerbsKey(
                tag: link.ownTag, export: export.id.value, address: address,
                lengthBytes: length, remoteKey: region.remoteKey, lane: VerbsKey.anyLane)
            export.region = consume region
            return key
        } catch {
            throw TransportError(.sourceFailed, "no lease for \(link.name): \(error)")
        }
    }

    // MARK: Ends

    /// Ends an export: the reader is asked to stop, and after a limit made to. `exportRetired` follows.
    public func revoke(_ export: ExportID) {
        guard let link = exportLinks[export].flatMap({ links[$0] }), let entry = link.exports[export.value],
            case .alive = entry.state
        else { return }
        entry.state = .stopping(sinceNs: 0)
        guard link.state == .up, let control = link.control else { return }
        control.queue(VerbsFrame.revokeKind, export.value)
        markDirty(link)
        scheduleScan(atNs: nowNs + configuration.revokeLimitNs)
    }

    /// The reader has stopped, or says so.
    func stopped(_ export: UInt64, readBytes: UInt64, _ link: VerbsLink) {
        guard let entry = link.exports[export], case .stopping = entry.state else { return }
        // As the reader tells it, within reason: this side's device reads without a word.
        counters.sentBytes += min(readBytes, entry.lengthBytes)
        if readBytes > 0 { counters.readsServed += 1 }
        end(entry, link)
    }

    /// Has the device refuse what may still come.
    func end(_ entry: VerbsExport, _ link: VerbsLink) {
        guard entry.window != nil, entry.isBound, let lane = entry.lane else { return retire(entry, link) }
        guard lane.room > 0, let session, requestsOutstanding < session.completionsMax else {
            entry.state = .waiting
            return scheduleScan(atNs: nowNs + Self.roomIntervalNs)
        }
        entry.state = .ending
        if lane.isListFull { ring(lane) }
        guard link.state == .up else { return }
        if !lane.hasListed { ringable.append(lane) }
        lane.list.appendInvalidate(remoteKey: entry.window!.window.remoteKey, id: lane.nextMark(), isSignaled: true)
        lane.note(.invalidate(entry.id))
        requestsOutstanding += 1
    }

    /// The device refuses a window's key from now on.
    func windowEnded(_ entry: VerbsExport, _ link: VerbsLink) {
        if let window = entry.window { link.idleWindows.append(window) }
        entry.window = nil
        retire(entry, link)
    }

    private func retire(_ entry: VerbsExport, _ link: VerbsLink) {
        let id = entry.id
        entry.release()
        link.exports[id.value] = nil
        exportLinks[id] = nil
        idleExports.append(entry)
        happenings.append(.exportRetired(id))
    }

    /// Readers that were asked to stop and did not are made to; when the next one is due.
    func enforceRevocations(_ link: VerbsLink) -> UInt64? {
        var next: UInt64?
        for entry in link.exports.values {
            if case .waiting = entry.state { end(entry, link) }
            guard case .stopping(let sinceNs) = entry.state else { continue }
            if sinceNs == 0 {
                entry.state = .stopping(sinceNs: nowNs)
            } else if nowNs - sinceNs >= configuration.revokeLimitNs {
                end(entry, link)
                continue
            }
            next = min(next ?? .max, (sinceNs == 0 ? nowNs : sinceNs) + configuration.revokeLimitNs)
        }
        return next
    }
}

/// A window, bound or waiting to be bound again.
final class LeaseWindow {
    let window: MemoryWindow
    init(_ window: consuming MemoryWindow) { self.window = window }
}
