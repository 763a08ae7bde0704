import Transport

/// What the program was asked to do.
struct Options {
    /// What the program does.
    enum Role: String {
        /// Exports pieces and lets a reader have them.
        case serve
        /// Reads pieces from a server, and measures.
        case read
        /// Both in one process, to count allocations.
        case count
    }

    /// What a parent's permission to read lasts for.
    enum Lease: String {
        /// For the whole run: nothing but reads is measured, as ib_read_bw does it.
        case run
        /// For one piece: want, export, grant, read, release and revocation, as a download does it.
        case piece
    }

    var role = Role.count
    var transport = TransportKind.tcp
    /// Where to listen or to connect; the meaning is the transport's.
    var address = "127.0.0.1:0"
    var device = ""
    /// Bytes of a piece, which is what ib_read_bw calls a message.
    var messageBytes = 1 << 20
    /// Bytes of the reads that a piece is cut into; nil for what the transport prefers.
    var readBytes: UInt32?
    /// Bytes of the READs that a verbs transport cuts a read into; nil for its own choice.
    var workRequestBytes: UInt32?
    /// Whether a verbs transport leases exports by windows, whatever the device was found to enforce of them.
    var leasesByWindow = false
    /// Pieces on their way at a time.
    var depth = 16
    /// Places in memory that the pieces share; 0: each piece on its way has its own. ib_read_bw has one a queue pair,
    /// which stays in the processor's cache.
    var places = 0
    /// Queue pairs, or TCP data streams, of the link.
    var queuePairs = 2
    var pieces = 2_000
    /// Pieces before the measured ones.
    var warmUpPieces = 100
    var lease = Lease.run
    var verifies = false
    /// How long the whole run may take.
    var limitSeconds = 120

    /// Bytes of all places.
    var memoryBytes: Int { (places == 0 ? depth : min(places, depth)) * messageBytes }
    /// Where a piece lies.
    func offset(of place: Int) -> Int { place * messageBytes % memoryBytes }

    static let usage = """
        bench-rdma serve [--transport tcp|local|rdma] [--device NAME] [--address PLACE] and the reader's sizes
        bench-rdma read --address KIND:PLACE [--device NAME] [--message-bytes N] [--depth N] [--queue-pairs N]
                        [--places N] [--read-bytes N] [--pieces N] [--warm-up N] [--lease run|piece] [--verify] [--limit-seconds N]
                        [--work-request-bytes N] [--windows]
        bench-rdma count [--pieces N] [--message-bytes N] [--depth N]
        """

    /// Reads the command line; the text of what is wrong with it otherwise.
    static func parse(_ arguments: [String]) throws(OptionError) -> Options {
        var options = Options()
        var rest = arguments[...]
        guard let role = rest.popFirst().flatMap({ Role(rawValue: $0) }) else {
            throw OptionError("say what to do\n" + usage)
        }
        options.role = role
        if role == .count {
            // Pieces of several reads, more than a link may have posted: waiting in line is counted too.
            options.messageBytes = 256 << 10
            options.readBytes = 64 << 10
            options.depth = 32
            options.pieces = 5_000
            options.warmUpPieces = 500
            options.lease = .piece
        }
        while let option = rest.popFirst() {
            switch option {
            case "--verify":
                options.verifies = true
                continue
            case "--windows":
                options.leasesByWindow = true
                continue
            default: break
            }
            guard let value = rest.popFirst() else { throw OptionError("\(option) needs a value") }
            try options.set(option, value)
        }
        guard options.messageBytes <= 16 << 20 else { throw OptionError("a message has at most 16 MiB") }
        guard !options.verifies || options.places == 0 else {
            throw OptionError("--verify needs a place for each piece: leave out --places")
        }
        return options
    }

    private mutating func set(_ option: String, _ value: String) throws(OptionError) {
        func number() throws(OptionError) -> Int {
            guard let number = Int(value), number > 0 else { throw OptionError("\(option): \(value) is no count") }
            return number
        }
        switch option {
        case "--transport":
            guard let kind = TransportKind.allCases.first(where: { $0.description == value }) else {
                throw OptionError("--transport: \(value) is none of tcp, local, rdma")
            }
            transport = kind
        case "--address":
            guard role == .read else {
                address = value
                break
            }
            guard let place = TransportAddress(text: value) else {
                throw OptionError("--address: \(value) is no KIND:PLACE")
            }
            (transport, address) = (place.kind, place.location)
        case "--device": device = value
        case "--message-bytes": messageBytes = try number()
        case "--read-bytes": readBytes = UInt32(clamping: try number())
        case "--work-request-bytes": workRequestBytes = UInt32(clamping: try number())
        case "--depth": depth = try number()
        case "--places": places = try number()
        case "--queue-pairs": queuePairs = try number()
        case "--pieces": pieces = try number()
        case "--warm-up": warmUpPieces = try number()
        case "--limit-seconds": limitSeconds = try number()
        case "--lease":
            guard let lease = Lease(rawValue: value) else { throw OptionError("--lease: run or piece, not \(value)") }
            self.lease = lease
        default: throw OptionError("\(option) is no option\n" + Self.usage)
        }
    }
}

/// A command line that cannot be followed, or a run that failed.
struct OptionError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
