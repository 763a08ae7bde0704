import Testing

@testable import Artifacts

@Suite struct SafetensorsHeaderTests {
    private func prefix(_ json: String) -> [UInt8] {
        let length = UInt64(json.utf8.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) } + Array(json.utf8)
    }

    private func header(_ json: String, dataBytes: UInt64) throws(SafetensorsHeader.Fault)
        -> SafetensorsHeader
    {
        let bytes = prefix(json)
        return try SafetensorsHeader(prefix: bytes, fileBytes: UInt64(bytes.count) + dataBytes)
    }

    @Test func tensorsComeInTheOrderOfTheirBytes() throws {
        let json =
            #"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}   "#
        let header = try header(json, dataBytes: 20)
        #expect(header.tensors.map(\.name) == ["a", "b"])
        #expect(
            header.tensors[1]
                == SafetensorsHeader.Tensor(name: "b", dtype: "F32", shape: [2, 2], begin: 4, end: 20))
        #expect(header.metadata == ["format": "pt"])
        #expect(header.dataOffset == UInt64(8 + json.utf8.count))
    }

    @Test func scalarsEmptyTensorsAndUnknownTypesPass() throws {
        let header = try header(
            #"{"s":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"e":{"dtype":"F16","shape":[0,3],"data_offsets":[8,8]},"u":{"dtype":"NEW","shape":[9],"data_offsets":[8,11]}}"#,
            dataBytes: 11)
        #expect(header.tensors.count == 3)
    }

    @Test(arguments: [
        (#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#, "outside"),
        (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}"#, "outside"),
        (
            #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[3,7]}}"#,
            "over another"
        ),
        (#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,4]}}"#, "type and shape"),
        (#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, "type and shape"),
        (
            #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#,
            "twice"
        ),
        (#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,4]}}"#, "malformed"),
        (#"{"a":{"shape":[4],"data_offsets":[0,4]}}"#, "malformed"),
        (#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0]}}"#, "malformed"),
        (#"{"a":[]}"#, "malformed"), ("{", "malformed"), ("", "malformed"), ("{} {}", "malformed"),
    ]) func faultyHeadersAreRefused(_ json: String, _ word: String) {
        let fault = #expect(throws: SafetensorsHeader.Fault.self) { try header(json, dataBytes: 8) }
        #expect(fault?.description.contains(word) == true, "\(fault?.description ?? "")")
    }

    @Test func lengthsAreChecked() {
        #expect(throws: SafetensorsHeader.Fault.self) { try SafetensorsHeader(prefix: [1, 2], fileBytes: 2) }
        #expect(throws: SafetensorsHeader.Fault.self) {
            try SafetensorsHeader.prefixBytes(first8: [1, 0xe1, 0xf5, 5, 0, 0, 0, 0], fileBytes: 1 << 40)
        }
        #expect(throws: SafetensorsHeader.Fault.self) {
            try SafetensorsHeader.prefixBytes(first8: [UInt8](repeating: 0xff, count: 8), fileBytes: 1 << 40)
        }
        #expect(throws: SafetensorsHeader.Fault.self) {
            try SafetensorsHeader(prefix: prefix("{}"), fileBytes: 9)
        }
        #expect(throws: SafetensorsHeader.Fault.self) {
            try SafetensorsHeader(prefix: Array(prefix("{}").dropLast()), fileBytes: 100)
        }
    }
}
