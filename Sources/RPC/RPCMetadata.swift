import CGRPC

/// Names and values that travel before (initial metadata) or behind (trailers) the messages of a call.
///
/// Names are lower-case ASCII letters, digits, `_`, `-` and `.`; those that end in `-bin` have bytes as values, all
/// others printable ASCII. A name may stand several times. All of it together is limited to 8 KiB by the other side.
public struct RPCMetadata: Sendable, Hashable, ExpressibleByDictionaryLiteral {
    /// One name and its value.
    public struct Pair: Sendable, Hashable {
        /// The name.
        public let name: String
        /// The value's bytes.
        public let value: [UInt8]
    }

    /// All pairs, in the order they were added or received.
    public private(set) var pairs: [Pair] = []

    /// Nothing.
    public init() {}

    /// Text values; traps when a name or value is malformed, so for literals only.
    public init(dictionaryLiteral elements: (String, String)...) {
        for (name, value) in elements {
            do throws(RPCError) {
                try add(name, value)
            } catch {
                preconditionFailure("RPCMetadata: \(error)")
            }
        }
    }

    /// The first value of a name, as text; nil where there is none.
    public subscript(name: String) -> String? {
        pairs.first { $0.name == name }.map { String(decoding: $0.value, as: UTF8.self) }
    }

    /// The first value of a name, as bytes; nil where there is none.
    public func bytes(_ name: String) -> [UInt8]? { pairs.first { $0.name == name }?.value }

    /// Adds a text value. Throws `invalidArgument` when the name or the value cannot travel.
    public mutating func add(_ name: String, _ value: String) throws(RPCError) {
        try add(name, Array(value.utf8))
    }

    /// Adds a value: any bytes where the name ends in `-bin`, else printable ASCII.
    public mutating func add(_ name: String, _ value: [UInt8]) throws(RPCError) {
        guard Self.isName(name) else {
            throw RPCError(
                .invalidArgument, "metadata name '\(name)' has characters other than a-z 0-9 _ - .")
        }
        guard name.hasSuffix("-bin") || value.allSatisfy({ (0x20...0x7E).contains($0) }) else {
            throw RPCError(
                .invalidArgument,
                "metadata '\(name)' has a value beyond printable ASCII; let the name end in -bin")
        }
        pairs.append(Pair(name: name, value: value))
    }

    /// Names that begin with `grpc-` belong to gRPC.
    private static func isName(_ name: String) -> Bool {
        !name.isEmpty && !name.hasPrefix("grpc-")
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
                    UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."):
                    true
                default: false
                }
            }
    }

    mutating func addReceived(_ name: String, _ value: [UInt8]) {
        pairs.append(Pair(name: name, value: value))
    }
}
