import System
import Transport

/// A range that one link may read, and where its bytes come from; once it has retired, room for another.
final class TCPExport {
    private(set) var id = ExportID(0)
    private(set) var key = RandomNumber(high: 0, low: 0)
    private(set) var link = LinkID(index: 0, generation: 0)
    private(set) var lengthBytes: UInt64 = 0

    /// First byte in memory; nil when the file is sent by sendfile.
    private(set) var base: UnsafeRawPointer?
    /// Holds `base` where it is a mapped file.
    private var mapping: FileMapping?
    private var file: FileDescriptor?
    /// The file to send from, lent; nil when the bytes are in memory.
    private(set) var fileDescriptor: CInt?
    /// Where the range begins in the file.
    private(set) var fileOffset: UInt64 = 0

    /// Reads of it that have begun to be answered or wait for that.
    var readsActive = 0
    var isRevoked = false
    /// sendfile lets the kernel keep pages of the file until the far side has acknowledged them: up to which byte of
    /// which stream that is.
    var lastSent: [(stream: TCPDataStream, sentBytes: UInt64)] = []

    /// Becomes a range of registered memory.
    func begin(_ id: ExportID, link: LinkID, memory base: UnsafeRawPointer, lengthBytes: UInt64) {
        begin(id, link: link, lengthBytes: lengthBytes)
        self.base = base
    }

    /// Becomes a range of a file, mapped or kept open.
    func begin(
        _ id: ExportID, link: LinkID, file descriptor: CInt, offset: UInt64, lengthBytes: UInt64, mapped: Bool
    ) throws(Errno) {
        begin(id, link: link, lengthBytes: lengthBytes)
        fileOffset = offset
        if mapped {
            let mapping = try FileMapping(descriptor, offset: offset, lengthBytes: Int(lengthBytes))
            base = mapping.base
            self.mapping = consume mapping
        } else {
            let file = try FileDescriptor.duplicate(of: descriptor)
            fileDescriptor = file.raw
            self.file = consume file
        }
    }

    private func begin(_ id: ExportID, link: LinkID, lengthBytes: UInt64) {
        self.id = id
        self.link = link
        self.lengthBytes = lengthBytes
        key = RandomNumber.make()
    }

    /// Lets go of the bytes: nobody reads them any more, and nothing refers to this export.
    func end() {
        base = nil
        mapping = nil
        file = nil
        fileDescriptor = nil
        fileOffset = 0
        readsActive = 0
        isRevoked = false
        lastSent.removeAll(keepingCapacity: true)
    }

    /// Remembers that a stream has given the kernel pages of the file.
    func noteSent(on stream: TCPDataStream) {
        guard fileDescriptor != nil else { return }
        if let place = lastSent.firstIndex(where: { $0.stream === stream }) {
            lastSent[place].sentBytes = stream.sentBytes
        } else {
            lastSent.append((stream, stream.sentBytes))
        }
    }

    /// Whether the kernel may still hold pages of the file for a stream of the link.
    func isHeldByKernel() -> Bool {
        lastSent.removeAll { entry in
            guard let waiting = Sockets.unacknowledgedBytes(of: entry.stream.socket.descriptor.raw) else {
                return true
            }
            return entry.sentBytes + UInt64(waiting) <= entry.stream.sentBytes
        }
        return !lastSent.isEmpty
    }
}
