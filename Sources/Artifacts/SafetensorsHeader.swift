/// The header of a safetensors file: which tensor lies in which bytes.
///
/// The file starts with the header's length (8 bytes, little-endian), then the header (JSON), then the tensors' bytes.
/// The header is a stranger's text: at most 100 MB, at most 64 levels, every tensor inside the file and none over
/// another.
public struct SafetensorsHeader: Hashable, Sendable {
    /// One tensor.
    public struct Tensor: Hashable, Sendable {
        /// Its name, e.g. `model.layers.0.mlp.up_proj.weight`.
        public let name: String
        /// Its element type as written: `F32`, `BF16`, `F8_E4M3`, …
        public let dtype: String
        /// Its dimensions; none for a scalar.
        public let shape: [UInt64]
        /// Its first byte, counted from `dataOffset`.
        public let begin: UInt64
        /// The byte after its last, counted from `dataOffset`.
        public let end: UInt64
    }

    /// Why a header was refused: one sentence.
    public struct Fault: Error, Hashable, Sendable, CustomStringConvertible {
        /// The sentence.
        public let description: String
    }

    /// The tensors, in the order of their bytes.
    public let tensors: [Tensor]
    /// The `__metadata__` member.
    public let metadata: [String: String]
    /// Where the tensors' bytes start in the file.
    public let dataOffset: UInt64

    /// The bytes in front of the tensors (8 and the header), read from a file's first 8 bytes.
    public static func prefixBytes(first8: some Collection<UInt8>, fileBytes: UInt64) throws(Fault) -> UInt64 {
        guard first8.count >= 8, fileBytes >= 8 else {
            throw Fault(description: "no safetensors file: shorter than its 8 bytes of length")
        }
        let length = first8.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= Limits.safetensorsHeaderBytesMax else {
            throw Fault(
                description:
                    "no safetensors file: a header of \(length) bytes; the limit is \(Limits.safetensorsHeaderBytesMax)"
            )
        }
        guard length <= fileBytes - 8 else {
            throw Fault(
                description: "the safetensors file ends inside its header of \(length) bytes; fetch it again")
        }
        return 8 + length
    }

    /// Parses a header. `prefix` holds at least the bytes that `prefixBytes` names; `fileBytes` is the whole file's
    /// size.
    public init(prefix: [UInt8], fileBytes: UInt64) throws(Fault) {
        let dataOffset = try SafetensorsHeader.prefixBytes(first8: prefix, fileBytes: fileBytes)
        guard UInt64(prefix.count) >= dataOffset else {
            throw Fault(
                description: "only \(prefix.count) of the safetensors header's \(dataOffset) bytes were read")
        }
        var tensors: [Tensor] = []
        var metadata: [String: String] = [:]
        var names: Set<String> = []
        var twice: String? = nil
        do {
            var reader = JSONReader(Array(prefix[..<Int(dataOffset)]), from: 8)
            try reader.object { (name, reader) throws(JSONReader.Fault) in
                if !names.insert(name).inserted { twice = name }
                if name == "__metadata__" {
                    try reader.object { (key, reader) throws(JSONReader.Fault) in
                        metadata[key] = try reader.string()
                    }
                } else {
                    tensors.append(try SafetensorsHeader.tensor(name, &reader))
                }
            }
            try reader.end()
        } catch {
            throw Fault(description: "the safetensors header is malformed: \(error)")
        }
        if let twice { throw Fault(description: "the safetensors header names ‘\(twice)’ twice") }
        tensors.sort { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
        var reached: UInt64 = 0
        for tensor in tensors {
            guard tensor.begin <= tensor.end, tensor.end <= fileBytes - dataOffset else {
                throw Fault(description: "tensor ‘\(tensor.name)’ lies outside the safetensors file")
            }
            guard tensor.begin >= reached else {
                throw Fault(description: "tensor ‘\(tensor.name)’ lies over another in the safetensors file")
            }
            reached = tensor.end
            if let expected = SafetensorsHeader.bytes(tensor.dtype, tensor.shape),
                expected != tensor.end - tensor.begin
            {
                throw Fault(
                    description:
                        "tensor ‘\(tensor.name)’ has \(tensor.end - tensor.begin) bytes, its type and shape say otherwise"
                )
            }
        }
        self.tensors = tensors
        self.metadata = metadata
        self.dataOffset = dataOffset
    }

    private static func tensor(_ name: String, _ reader: inout JSONReader) throws(JSONReader.Fault) -> Tensor {
        var dtype = ""
        var shape: [UInt64] = []
        var offsets: [UInt64] = []
        try reader.object { (key, reader) throws(JSONReader.Fault) in
            switch key {
            case "dtype": dtype = try reader.string()
            case "shape":
                try reader.array { (reader) throws(JSONReader.Fault) in shape.append(try reader.unsigned()) }
            case "data_offsets":
                try reader.array { (reader) throws(JSONReader.Fault) in offsets.append(try reader.unsigned())
                }
            default: try reader.skip()
            }
        }
        guard !dtype.isEmpty, offsets.count == 2 else {
            throw JSONReader.Fault(expected: "dtype and two data_offsets of tensor ‘\(name)’", offset: 0)
        }
        return Tensor(name: name, dtype: dtype, shape: shape, begin: offsets[0], end: offsets[1])
    }

    /// The size a type and shape imply; nil for a type not known here. A product beyond 2⁶⁴ is given as the largest
    /// number.
    private static func bytes(_ dtype: String, _ shape: [UInt64]) -> UInt64? {
        let bits: [String: UInt64] = [
            "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I16": 16, "U16": 16,
            "F16": 16, "BF16": 16,
            "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64, "F4": 4,
            "F6_E2M3": 6, "F6_E3M2": 6,
        ]
        guard var product = bits[dtype] else { return nil }
        for dimension in shape {
            let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
            if overflow { return UInt64.max }
            product = next
        }
        return product / 8
    }
}
