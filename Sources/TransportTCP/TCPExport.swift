import System
import Transport

/// A range that one link may read, and where its bytes come from.
final class TCPExport {
    let id: ExportID
    let key: RandomNumber
    let link: LinkID
    let lengthBytes: UInt64

    /// First byte in memory; nil when the file is sent by sendfile.
    let base: UnsafeRawPointer?
    /// Holds `base` where it is a mapped file.
    private let mapping: FileMapping?
    private let file: FileDescriptor?
    /// Where the range begins in the file.
    let fileOffset: UInt64

    /// Reads of it that have begun to be answered or wait for that.
    var readsActive = 0
    var isRevoked = false
    /// sendfile lets the kernel keep pages of the file until the far side has acknowledged them: up to which byte of
    /// which stream that is.
    var lastSent: [(stream: TCPDataStream, sentBytes: UInt64)] = []

    /// The file to send from, lent; nil when the bytes are in memory.
    let fileDescriptor: CInt?

    /// A range of registered memory.
    init(id: ExportID, link: LinkID, memory base: UnsafeRawPointer, lengthBytes: UInt64) {
        self.id = id
        self.link = link
        key = RandomNumber.make()
        self.base = base
        self.lengthBytes = lengthBytes
        mapping = nil
        file = nil
        fileDescriptor = nil
        fileOffset = 0
    }

    /// A range of a file, mapped or kept open.
    init(id: ExportID, link: LinkID, file descriptor: CInt, offset: UInt64, lengthBytes: UInt64, mapped: Bool)
        throws(Errno)
    {
        self.id = id
        self.link = link
        key = RandomNumber.make()
        self.lengthBytes = lengthBytes
        fileOffset = offset
        if mapped {
            let mapping = try FileMapping(descriptor, offset: offset, lengthBytes: Int(lengthBytes))
            base = mapping.base
            self.mapping = consume mapping
            file = nil
            fileDescriptor = nil
        } else {
            base = nil
            mapping = nil
            let file = try FileDescriptor.duplicate(of: descriptor)
            fileDescriptor = file.raw
            self.file = consume file
        }
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
