import Configuration
import Testing

/// What others are told of a server.
struct AdvertisedAddressTests {
    private let everywhere = NetworkAddress(host: "0.0.0.0", port: 7620)

    private func advertised(
        _ configured: NetworkAddress? = nil, _ bound: NetworkAddress, toward others: [NetworkAddress] = []
    ) throws(ConfigurationError) -> NetworkAddress {
        try NetworkAddress.advertised(configured, listening: bound, toward: others, key: "peer.advertise")
    }

    @Test func whatIsConfiguredCounts() throws {
        let named = NetworkAddress(host: "192.0.2.7", port: 0)
        #expect(try advertised(named, everywhere) == NetworkAddress(host: "192.0.2.7", port: 7620))
        let whole = NetworkAddress(host: "192.0.2.7", port: 9)
        #expect(try advertised(whole, everywhere) == whole)
    }

    @Test func oneInterfaceIsItself() throws {
        let bound = NetworkAddress(host: "192.0.2.1", port: 7620)
        #expect(try advertised(nil, bound) == bound)
    }

    @Test func everyInterfaceIsTheOneTowardTheOthers() throws {
        let unknown = NetworkAddress(host: "no-such-host.invalid", port: 1)
        let manager = NetworkAddress(host: "127.0.0.1", port: 7600)
        #expect(
            try advertised(nil, everywhere, toward: [unknown, manager]) == NetworkAddress(host: "127.0.0.1", port: 7620)
        )
    }

    @Test func everyInterfaceWithNobodyToLookTowardIsRefused() {
        let error = #expect(throws: ConfigurationError.self) { try advertised(nil, everywhere) }
        #expect(error?.code == .conflict)
        #expect(error?.description.contains("peer.advertise = \"HOST:7620\"") == true)
    }
}
