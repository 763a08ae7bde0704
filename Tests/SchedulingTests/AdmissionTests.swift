import Testing

@testable import Scheduling

@Suite struct AdmissionTests {
    private func settings(rate: Int = 100, burst: Int = 10, reporting: Int = 1_000, maxMs: UInt64 = 5_000)
        -> SchedulingSettings
    {
        var settings = SchedulingSettings()
        settings.admissionsPerSecond = rate
        settings.admissionBurst = burst
        settings.reportingMax = reporting
        settings.retryAfterMsMax = maxMs
        return settings
    }

    @Test func burstIsAdmittedAndTheRestSpreadOverTheRate() {
        var admission = Admission(seed: 1)
        let settings = settings()
        let decisions = (0..<110).map { _ in
            admission.ask(isPreferred: false, reporting: 0, settings: settings, nowNs: 1_000_000_000)
        }
        #expect(decisions.prefix(10).allSatisfy { $0 == .admit })
        let waits = decisions.dropFirst(10).compactMap { if case .later(let ms) = $0 { ms } else { nil } }
        // A hundred a second: each ten milliseconds after the one before.
        #expect(waits == (1...100).map { UInt64($0) * 10 })
        #expect(admission.counts.admitted == 10)
        #expect(admission.counts.deferredByRate == 100)
        #expect(admission.counts.retryAfterMsMax == 1_000)
    }

    @Test func whoComesBackWhenToldIsAdmitted() {
        var admission = Admission(seed: 1)
        let settings = settings(burst: 1)
        var due: [(ms: UInt64, host: Int)] = (0..<1_000).map { (0, $0) }
        var admitted: Set<Int> = []
        var rounds = 0
        while !due.isEmpty, rounds < 20_000 {
            due.sort { ($0.ms, $0.host) < ($1.ms, $1.host) }
            let (nowMs, host) = due.removeFirst()
            switch admission.ask(
                isPreferred: false, reporting: 0, settings: settings, nowNs: 1_000_000_000 + nowMs * 1_000_000)
            {
            case .admit: admitted.insert(host)
            case .later(let ms): due.append((nowMs + ms, host))
            }
            rounds += 1
        }
        #expect(admitted.count == 1_000, "some never came in")
        // Ten seconds' worth of hosts, of which at most five can be told an exact time.
        #expect(rounds < 5_000)
    }

    @Test func noWaitIsLongerThanTheLongest() {
        var admission = Admission(seed: 1)
        let settings = settings(burst: 1, maxMs: 300)
        for _ in 0..<1_000 {
            let decision = admission.ask(isPreferred: false, reporting: 0, settings: settings, nowNs: 5)
            if case .later(let ms) = decision { #expect((1...300).contains(ms)) }
        }
    }

    @Test func seedsAndReadersAreAlwaysLetIn() {
        var admission = Admission(seed: 1)
        let settings = settings(burst: 1, reporting: 1)
        for _ in 0..<50 {
            #expect(admission.ask(isPreferred: true, reporting: 900, settings: settings, nowNs: 5) == .admit)
        }
        #expect(admission.counts.preferred == 50)
    }

    @Test func inventoriesOnTheirWayAreBounded() {
        var admission = Admission(seed: 1)
        let settings = settings(reporting: 3)
        #expect(admission.ask(isPreferred: false, reporting: 2, settings: settings, nowNs: 5) == .admit)
        #expect(admission.ask(isPreferred: false, reporting: 3, settings: settings, nowNs: 5) != .admit)
        #expect(admission.counts.deferredByReports == 1)
    }

    @Test func bucketFillsAgainAndNoFurther() {
        var admission = Admission(seed: 1)
        let settings = settings()
        for _ in 0..<10 { _ = admission.ask(isPreferred: false, reporting: 0, settings: settings, nowNs: 0) }
        // A week later ten may come at once again, and not more.
        let nowNs: UInt64 = 7 * 86_400 * 1_000_000_000
        let decisions = (0..<11).map { _ in
            admission.ask(isPreferred: false, reporting: 0, settings: settings, nowNs: nowNs)
        }
        #expect(decisions.count { $0 == .admit } == 10)
    }
}
