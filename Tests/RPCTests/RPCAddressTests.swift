import RPC
import Testing

@Suite struct RPCAddressTests {
    /// Found by fuzzing: brackets in brackets were taken off one by one, each time it was written and read.
    @Test(arguments: ["[[31]]:7", "[]:7", "[x]:7", "x]:7", "[x:7", "[::1]]:7"])
    func bracketsStandAroundIPv6Alone(_ text: String) { #expect(RPCAddress(text) == nil) }

    @Test(arguments: ["[::1]:7610", "10.0.0.7:7610", "scheduler.example:1", "unix:/run/x.sock"])
    func addressesAreReadAsWritten(_ text: String) { #expect(RPCAddress(text)?.description == text) }
}
