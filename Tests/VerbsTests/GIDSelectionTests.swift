import Testing
import Verbs

@Suite struct GIDSelectionTests {
    static func address(_ text: [UInt8]) -> GID { GID(text)! }
    static let linkLocal = address([0xFE, 0x80] + Array(repeating: 0, count: 13) + [1])
    static let global = address([0x20, 0x01] + Array(repeating: 0, count: 13) + [1])
    static let ipv4 = GID(ipv4: 10, 9, 0, 1)

    /// As a RoCE card's table stands: each address as v1 and as v2.
    static let table = [
        GIDEntry(index: 0, gid: linkLocal, kind: .roceV1, networkDevice: "eth0"),
        GIDEntry(index: 1, gid: linkLocal, kind: .roceV2, networkDevice: "eth0"),
        GIDEntry(index: 2, gid: global, kind: .roceV1, networkDevice: "eth0"),
        GIDEntry(index: 3, gid: global, kind: .roceV2, networkDevice: "eth0"),
        GIDEntry(index: 4, gid: ipv4, kind: .roceV1, networkDevice: "eth0"),
        GIDEntry(index: 5, gid: ipv4, kind: .roceV2, networkDevice: "eth0"),
        GIDEntry(index: 6, gid: GID(ipv4: 10, 9, 1, 1), kind: .roceV2, networkDevice: "eth0.7"),
    ]

    @Test func automaticPrefersV2WithIPv4() {
        #expect(GIDSelection.automatic.choose(from: Self.table) == .chosen(Self.table[5]))
        #expect(GIDSelection.automatic.choose(from: Array(Self.table[0...4])) == .chosen(Self.table[3]))
    }

    @Test func whatMayGetBetterIsProvisional() {
        #expect(GIDSelection.automatic.choose(from: Array(Self.table[0...1])) == .provisional(Self.table[1]))
        #expect(GIDSelection.automatic.choose(from: [Self.table[4], Self.table[0]]) == .provisional(Self.table[4]))
    }

    @Test func wishesAreFollowed() {
        #expect(GIDSelection.index(4).choose(from: Self.table) == .chosen(Self.table[4]))
        #expect(GIDSelection.address(Self.linkLocal).choose(from: Self.table) == .chosen(Self.table[1]))
        #expect(GIDSelection.networkDevice("eth0.7").choose(from: Self.table) == .chosen(Self.table[6]))
    }

    @Test func whatIsMissingIsSaid() {
        guard case .notYet(let empty) = GIDSelection.automatic.choose(from: []) else {
            Issue.record("an empty table has nothing to choose")
            return
        }
        #expect(empty.contains("no address yet"))
        guard case .notYet(let other) = GIDSelection.address(GID(ipv4: 1, 2, 3, 4)).choose(from: Self.table) else {
            Issue.record("1.2.3.4 is not in the table")
            return
        }
        #expect(other.contains("1.2.3.4") && other.contains("10.9.0.1"))
        // Places that are not set are no addresses.
        let unset = GIDEntry(index: 0, gid: Self.address(Array(repeating: 0, count: 16)), kind: .roceV2)
        guard case .notYet = GIDSelection.automatic.choose(from: [unset]) else {
            Issue.record("a place without an address was chosen")
            return
        }
    }

    @Test func infiniBandHasOneKind() {
        let entry = GIDEntry(index: 0, gid: Self.linkLocal, kind: .infiniBand)
        #expect(GIDSelection.automatic.choose(from: [entry]) == .chosen(entry))
    }

    @Test func addressesAreBytesAndText() {
        #expect(Self.ipv4.bytes == Array(repeating: 0, count: 10) + [0xFF, 0xFF, 10, 9, 0, 1])
        #expect(GID(Self.global.bytes) == Self.global)
        #expect(GID([1, 2, 3]) == nil)
        #expect("\(Self.ipv4)" == "10.9.0.1")
        #expect("\(Self.linkLocal)" == "fe80:0:0:0:0:0:0:1")
        #expect(Self.ipv4.isIPv4 && !Self.ipv4.isLinkLocal && !Self.global.isLinkLocal && Self.linkLocal.isLinkLocal)
    }
}
