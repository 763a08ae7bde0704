import ControlAPI
import Testing

@testable import CLI

/// What `martlet get` says at its end.
@Suite struct GetReportTests {
    @Test func aFallbackIsSaidWithItsReasonToPeopleAndPrograms() throws {
        var result = Wire.GetResult(model: "m", revision: "1", files: 1)
        #expect(!GetReport.lines(result).contains { $0.hasPrefix("transport:") })
        result.traffic = Wire.Traffic(
            byTransport: [Wire.TransportBytes(transport: "rdma", bytes: 5)],
            fallbacks: [Wire.TransportFallback(from: "rdma", to: "tcp", bytes: 2_500_000, reason: "no answer from h")])
        #expect(GetReport.lines(result).contains("transport: 2.50 MB by tcp instead of rdma: no answer from h"))
        let text = GetReport.json(result).text(pretty: false)
        #expect(text.contains(#""transport":"rdma""#) && text.contains(#""reason":"no answer from h""#))
    }
}
