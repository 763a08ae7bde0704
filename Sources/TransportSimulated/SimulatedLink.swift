import Artifacts
import System
import Transport

/// A read that was posted and not answered.
struct SimulatedRead {
    let target: UnsafeMutableRawPointer
    let lengthBytes: Int
    let tag: UInt64
}

/// One side of a simulated link.
final class SimulatedLink {
    let id: LinkID
    let inbound: Bool
    /// The far host's name.
    let remote: String
    /// Until when it has to be up.
    let deadlineNs: UInt64
    /// What the far side calls this link; nil before its welcome.
    var theirs: LinkID?
    var isUp = false
    var lastArrivalNs: UInt64 = 0
    /// Bytes of messages that the far side has not been handed yet.
    var unhandedBytes = 0
    var posted: [UInt64: SimulatedRead] = [:]
    var lastNumber: UInt64 = 0
    /// When a byte of a posted read last moved, or will have.
    var progressNs: UInt64 = 0
    var exports: Set<UInt64> = []
    var keys: [RemoteKey: ExportID] = [:]

    init(id: LinkID, inbound: Bool, remote: String, deadlineNs: UInt64) {
        self.id = id
        self.inbound = inbound
        self.remote = remote
        self.deadlineNs = deadlineNs
    }

    /// When the link is given up if nothing happens; nil for never.
    func dueNs(progressLimitNs: UInt64) -> UInt64? {
        guard isUp else { return deadlineNs == .max ? nil : deadlineNs }
        return posted.isEmpty ? nil : progressNs + progressLimitNs
    }
}

/// A range that one link may read.
final class SimulatedExport {
    let id: ExportID
    let link: LinkID
    let key: RemoteKey
    let lengthBytes: UInt64
    var isRevoked = false
    /// Reads whose last byte has not left.
    var readsActive = 0
    private let base: UnsafeRawPointer?
    private let file: FileDescriptor?
    private let descriptor: CInt
    private let fileOffset: UInt64

    init(
        id: ExportID, link: LinkID, key: RemoteKey, _ source: ExportSource, memory: (RegionID) -> RegionMemory
    ) throws(TransportError) {
        self.id = id
        self.link = link
        self.key = key
        switch source {
        case .memory(let region, let offset, let length):
            let memory = memory(region)
            guard length > 0, offset <= UInt64(memory.lengthBytes),
                length <= UInt64(memory.lengthBytes) - offset
            else {
                throw TransportError(
                    .sourceFailed,
                    "\(length) bytes at \(offset) are not in memory of \(memory.lengthBytes) bytes")
            }
            base = UnsafeRawPointer(memory.base + Int(offset))
            lengthBytes = length
            file = nil
            descriptor = -1
            fileOffset = 0
        case .file(let lent, let range):
            let own: FileDescriptor
            do throws(Errno) {
                let fileBytes = try FileSource.lengthBytes(of: lent)
                guard range.length > 0, range.offset <= fileBytes, range.length <= fileBytes - range.offset
                else {
                    throw Errno(0, "\(range.length) bytes at \(range.offset) of \(fileBytes)")
                }
                own = try FileDescriptor.duplicate(of: lent)
            } catch {
                throw TransportError(.sourceFailed, "cannot export a file's range: \(error)")
            }
            base = nil
            lengthBytes = range.length
            descriptor = own.raw
            file = consume own
            fileOffset = range.offset
        }
    }

    /// Copies from the range; false when the file cannot be read or has shrunk.
    func copy(offset: UInt64, to target: UnsafeMutableRawBufferPointer) -> Bool {
        if let base {
            target.copyMemory(from: UnsafeRawBufferPointer(start: base + Int(offset), count: target.count))
            return true
        }
        var done = 0
        while done < target.count {
            let count = try? FileSource.read(
                descriptor, offset: fileOffset + offset + UInt64(done),
                into: UnsafeMutableRawBufferPointer(rebasing: target[done...]))
            guard let count, count > 0 else { return false }
            done += count
        }
        return true
    }
}
