import Artifacts

/// The ways bytes can move, as shown to people and counted in metrics.
public enum TransportKind: UInt8, Sendable, Hashable, CaseIterable, CustomStringConvertible {
    case rdma = 1
    case tcp = 2
    case local = 3
    case simulated = 4

    /// The text form.
    public var description: String {
        switch self {
        case .rdma: "rdma"
        case .tcp: "tcp"
        case .local: "local"
        case .simulated: "simulated"
        }
    }
}

/// Where a transport's exports are best taken from.
public enum ServingSource: Sendable, Hashable {
    /// From files as they are: the kernel sends what is in the page cache.
    case files
    /// From registered memory: the far side's NIC reads what lies there, and this host's processors do nothing.
    case memory
}

/// What a transport can do, discovered once, tested to equal what works, and printed by `martlet info`.
public struct TransportCapabilities: Sendable, Hashable {
    /// Which transport this is.
    public var kind: TransportKind
    /// The largest single read.
    public var readBytesMax: UInt32
    /// The reads a rail best cuts a piece into; `readBytesMax` where the transport cuts and spreads pieces itself.
    public var readBytesPreferred: UInt32
    /// Reads posted and not yet completed, per link.
    public var readsPerLinkMax: Int
    /// Exports alive, per link.
    public var exportsPerLinkMax: Int
    /// The largest message.
    public var messageBytesMax: Int
    /// Links alive, inbound and outbound together.
    public var linksMax: Int
    /// Whether a file can be exported as it is, or must first be read into registered memory.
    public var exportsFiles: Bool
    /// Where exports are best taken from.
    public var servesFrom: ServingSource
    /// How often the receiving CPU copies each byte.
    public var receiveCopies: Int

    /// Describes a transport. One that cannot export files serves from memory; any other from files, unless it says
    /// otherwise.
    public init(
        kind: TransportKind, readBytesMax: UInt32, readBytesPreferred: UInt32 = 1 << 20, readsPerLinkMax: Int,
        exportsPerLinkMax: Int, messageBytesMax: Int, linksMax: Int, exportsFiles: Bool,
        servesFrom: ServingSource = .files, receiveCopies: Int
    ) {
        self.kind = kind
        self.readBytesMax = readBytesMax
        self.readBytesPreferred = min(readBytesPreferred, readBytesMax)
        self.readsPerLinkMax = readsPerLinkMax
        self.exportsPerLinkMax = exportsPerLinkMax
        self.messageBytesMax = messageBytesMax
        self.linksMax = linksMax
        self.exportsFiles = exportsFiles
        self.servesFrom = exportsFiles ? servesFrom : .memory
        self.receiveCopies = receiveCopies
    }
}

/// A link of one transport: a place in its table and the generation living there. A late event of an earlier generation
/// never matches a later link.
public struct LinkID: Hashable, Sendable, CustomStringConvertible {
    /// The place in the transport's table.
    public let index: UInt32
    /// Which link has lived there: never reused within a process.
    public let generation: UInt32
    /// Names a link.
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }
    /// The text form.
    public var description: String { "link \(index).\(generation)" }
}

/// Memory registered with one transport.
public struct RegionID: Hashable, Sendable {
    /// The place in the transport's table.
    public let index: UInt32
    /// Names a region.
    public init(index: UInt32) { self.index = index }
}

/// An export alive at its source.
public struct ExportID: Hashable, Sendable {
    /// Unique within a transport for the life of the process.
    public let value: UInt64
    /// Names an export.
    public init(_ value: UInt64) { self.value = value }
}

/// An export and the key that lets the link's far side read it.
public struct Export: Sendable {
    /// What the source revokes.
    public let id: ExportID
    /// What the reader presents.
    public let key: RemoteKey
    /// Pairs them.
    public init(id: ExportID, key: RemoteKey) {
        self.id = id
        self.key = key
    }
}

/// A capability to read one exported range over one link: opaque to everyone but the transport that made it.
///
/// Up to 48 bytes inline (verbs: address, length, rkey, generation; sockets: an unguessable number).
public struct RemoteKey: Hashable, Sendable {
    /// The largest key.
    public static let bytesMax = 48
    /// How many bytes count.
    public let count: UInt8
    private let words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64)

    /// Wraps a key's bytes; nil when there are more than `bytesMax`.
    public init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count <= RemoteKey.bytesMax else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
        self.words = words
        count = UInt8(bytes.count)
    }

    /// Lends the key's bytes.
    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeBytes(of: words) { body(UnsafeRawBufferPointer(rebasing: $0[..<Int(count)])) }
    }

    /// Equal bytes.
    public static func == (left: RemoteKey, right: RemoteKey) -> Bool {
        left.count == right.count && left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3 && left.words.4 == right.words.4
            && left.words.5 == right.words.5
    }

    /// Hashes the bytes that count.
    public func hash(into hasher: inout Hasher) {
        hasher.combine(count)
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
        hasher.combine(words.4)
        hasher.combine(words.5)
    }
}

/// Memory offered for registration.
///
/// Safety: the caller keeps the bytes mapped until the transport has shut down; the pointer is only carried here.
public struct RegionMemory: @unchecked Sendable {
    /// First byte.
    public let base: UnsafeMutableRawPointer
    /// How many bytes.
    public let lengthBytes: Int
    /// The memfd behind it and the offset therein, where there is one (same-host hand-over, sendfile).
    public let backing: (descriptor: CInt, offset: UInt64)?
    /// The DMA-buf behind it and the offset therein, where it is memory of another device, such as a GPU: then `base`
    /// is that device's address of it, which the processor must not touch. Open until the transport has shut down.
    public let dmaBuf: (descriptor: CInt, offset: UInt64)?

    /// Describes memory.
    public init(
        base: UnsafeMutableRawPointer, lengthBytes: Int, backing: (descriptor: CInt, offset: UInt64)? = nil
    ) {
        self.base = base
        self.lengthBytes = lengthBytes
        self.backing = backing
        dmaBuf = nil
    }

    /// Describes memory of another device by its DMA-buf. `deviceAddress` is not 0, and lies in its page where `offset`
    /// lies in its own.
    public init(deviceAddress: UInt64, lengthBytes: Int, dmaBuf descriptor: CInt, offset: UInt64 = 0) {
        guard let base = UnsafeMutableRawPointer(bitPattern: UInt(deviceAddress)) else {
            preconditionFailure("memory of a device is not at address 0")
        }
        self.base = base
        self.lengthBytes = lengthBytes
        backing = nil
        dmaBuf = (descriptor, offset)
    }

    /// Throws `.system` for memory that the processor cannot touch: what a transport says that copies.
    public func requireMapped(by kind: TransportKind) throws(TransportError) {
        guard dmaBuf != nil else { return }
        throw TransportError(
            .system, "\(kind) cannot move bytes into memory of a device, such as a GPU; use rdma, or host memory")
    }
}

/// What is exported.
public enum ExportSource: Sendable {
    /// A range of a file. The transport duplicates the descriptor; the caller may close its own after `export` returns.
    case file(descriptor: CInt, range: ByteRange)
    /// A range of registered memory, which must not change before `exportRetired`.
    case memory(region: RegionID, offset: UInt64, lengthBytes: UInt64)
}

/// Who is at the far side of a link.
public struct LinkIdentity: Hashable, Sendable {
    /// The host's name.
    public let host: HostID
    /// Which life of it.
    public let incarnation: Incarnation
    /// The cluster it belongs to; links between clusters are refused.
    public let cluster: String
    /// Names a host.
    public init(host: HostID, incarnation: Incarnation, cluster: String) {
        self.host = host
        self.incarnation = incarnation
        self.cluster = cluster
    }
}

/// Where a transport listens: `tcp:192.0.2.7:7701`, `local:/run/martlet/peer.sock`, `simulated:h3`.
public struct TransportAddress: Hashable, Sendable, CustomStringConvertible {
    /// The transport that understands the rest.
    public let kind: TransportKind
    /// Host and port (IPv6 in brackets), path, or name.
    public let location: String

    /// Names a place.
    public init(kind: TransportKind, location: String) {
        self.kind = kind
        self.location = location
    }

    /// Parses `kind:location`; nil for an unknown kind or no location.
    public init?(text: String) {
        guard let colon = text.firstIndex(of: ":"),
            let kind = TransportKind.allCases.first(where: { $0.description == text[..<colon] })
        else { return nil }
        let location = String(text[text.index(after: colon)...])
        guard !location.isEmpty, location.utf8.count <= 256 else { return nil }
        self.init(kind: kind, location: location)
    }

    /// The text form.
    public var description: String { "\(kind):\(location)" }
}

/// Why a link or a transport could not do as asked.
public struct TransportError: Error, Sendable, CustomStringConvertible {
    /// The closed set of reasons.
    public enum Code: UInt8, Sendable, Hashable {
        /// We closed the link, or the transport is shutting down.
        case linkClosed
        /// The far side closed the link or its process died.
        case peerClosed
        /// Nobody listens there.
        case refused
        /// No answer, or no progress, within the limit.
        case timedOut
        /// The far side belongs to another cluster.
        case wrongCluster
        /// The far side speaks another version or breaks the protocol.
        case protocolBroken
        /// The key is unknown, revoked, or does not cover the range (an RDMA remote access error).
        case accessDenied
        /// The source could not read its file.
        case sourceFailed
        /// A bound of ours is reached.
        case limit
        /// The address cannot be used.
        case badAddress
        /// The kernel refused (no memory, no more descriptors, …), or a setting is impossible.
        case system
        /// Another process listens there.
        case addressInUse
        /// Links have to be secured here, and the far side began without.
        case unproved
    }

    /// Which reason.
    public let code: Code
    /// One sentence with place and remedy.
    public let description: String
    /// Describes a failure.
    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }
}
