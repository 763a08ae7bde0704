import Artifacts
import System
import Transport

/// Exports from their making until nobody reads them any more.
extension TCPTransport {
    /// Lets one link read exactly this range until `revoke`.
    public func export(_ source: ExportSource, to link: LinkID) throws(TransportError) -> Export {
        guard let target = links[link], target.state == .up else {
            throw TransportError(.linkClosed, "\(link) is not up; nothing can be exported to it")
        }
        guard target.exports.count < configuration.exportsPerLinkMax else {
            throw TransportError(
                .limit, "\(target.name) has \(target.exports.count) exports already; revoke one first")
        }
        lastExport += 1
        let id = ExportID(lastExport)
        let export = try makeExport(id, source, for: target)
        exports[export.key] = export
        exportKeys[id] = export.key
        target.exports[id.value] = export
        return Export(id: id, key: export.key.key)
    }

    private func makeExport(_ id: ExportID, _ source: ExportSource, for link: TCPLink) throws(TransportError)
        -> TCPExport
    {
        switch source {
        case .memory(let region, let offset, let length):
            let memory = memory(of: region)
            guard length > 0, offset <= UInt64(memory.lengthBytes),
                length <= UInt64(memory.lengthBytes) - offset
            else {
                throw TransportError(
                    .sourceFailed,
                    "\(length) bytes at \(offset) are not in memory of \(memory.lengthBytes) bytes")
            }
            let export = spareExports.popLast() ?? TCPExport()
            export.begin(id, link: link.id, memory: memory.base + Int(offset), lengthBytes: length)
            return export
        case .file(let descriptor, let range):
            let fileBytes: UInt64
            do throws(Errno) {
                fileBytes = try FileSource.lengthBytes(of: descriptor)
            } catch {
                throw TransportError(.sourceFailed, "cannot export a file: \(error)")
            }
            guard range.length > 0, range.offset <= fileBytes, range.length <= fileBytes - range.offset else {
                throw TransportError(
                    .sourceFailed,
                    "\(range.length) bytes at \(range.offset) are not in a file of \(fileBytes) bytes")
            }
            do throws(Errno) {
                let export = spareExports.popLast() ?? TCPExport()
                try export.begin(
                    id, link: link.id, file: descriptor, offset: range.offset, lengthBytes: range.length,
                    mapped: sendsMapped(to: link))
                return export
            } catch {
                throw TransportError(.sourceFailed, "cannot export a file: \(error)")
            }
        }
    }

    private func sendsMapped(to link: TCPLink) -> Bool {
        switch configuration.fileSending {
        case .mmap: true
        case .sendfile: false
        case .auto: Sockets.isLoopback(link.control.socket.descriptor.raw)
        }
    }

    /// Ends an export; `exportRetired` follows.
    public func revoke(_ export: ExportID) {
        guard let key = exportKeys.removeValue(forKey: export), let entry = exports.removeValue(forKey: key)
        else { return }
        entry.isRevoked = true
        retireWhenUnused(entry)
    }

    /// Reports a revoked export as retired as soon as neither we nor the kernel read it.
    func retireWhenUnused(_ export: TCPExport) {
        guard export.isRevoked, export.readsActive == 0 else { return }
        if export.isHeldByKernel() {
            if draining.isEmpty { scheduleScan(atNs: 0) }
            return draining.append(export)
        }
        retire(export)
    }

    /// Nothing reads a revoked export any more, and no list holds it.
    private func retire(_ export: TCPExport) {
        links[export.link]?.exports[export.id.value] = nil
        happenings.append(.exportRetired(export.id))
        export.end()
        if spareExports.count < configuration.exportsPerLinkMax { spareExports.append(export) }
    }

    func checkDraining(_ nowNs: UInt64) {
        draining.removeAll { export in
            guard links[export.link] != nil else { return true }
            guard !export.isHeldByKernel() else { return false }
            retire(export)
            return true
        }
        if !draining.isEmpty { scheduleScan(atNs: nowNs + Self.drainIntervalNs) }
    }
}
