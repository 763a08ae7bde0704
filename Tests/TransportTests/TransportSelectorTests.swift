import Testing
import Transport

private let second: UInt64 = 1_000_000_000
private let rdma = TransportPath(rail: 2, address: TransportAddress(text: "rdma:h:1")!)
private let tcp = TransportPath(rail: 1, address: TransportAddress(text: "tcp:h:1")!)

/// Which way to a host, as scripts of what happened.
@Suite struct TransportSelectorTests {
    private func selector(_ change: (inout SelectorSettings) -> Void = { _ in }) -> TransportSelector {
        var settings = SelectorSettings()
        change(&settings)
        var selector = TransportSelector(settings)
        selector.offer([rdma, tcp])
        return selector
    }

    // MARK: candidates

    @Test func theSameMachineComesFirstThenRDMAThenTCPAndOnlyWhatBothHave() {
        let addresses = ["tcp:h:1", "rdma:h:1", "local:/s"].map { TransportAddress(text: $0)! }
        func kinds(_ rails: [TransportKind: [Int]], isSameHost: Bool) -> [TransportKind] {
            TransportPath.candidates(rails: rails, addresses: addresses, isSameHost: isSameHost).map(\.kind)
        }
        #expect(kinds([.tcp: [1], .local: [3], .rdma: [5]], isSameHost: true) == [.local, .rdma, .tcp])
        #expect(kinds([.tcp: [1], .local: [3], .rdma: [5]], isSameHost: false) == [.rdma, .tcp])
        #expect(kinds([.tcp: [1]], isSameHost: true) == [.tcp])
        #expect(kinds([.simulated: [1]], isSameHost: true).isEmpty)
    }

    @Test func railsGoToDifferentPortsFirstAndToTheOthersAfter() {
        let addresses = ["rdma:a:1", "rdma:b:1"].map { TransportAddress(text: $0)! }
        let paths = TransportPath.candidates(rails: [.rdma: [4, 5, 6]], addresses: addresses, isSameHost: false)
        #expect(
            paths.map { "\($0.rail) \($0.address.location)" } == ["4 a:1", "5 b:1", "6 a:1", "4 b:1", "5 a:1", "6 b:1"])
        let many = (0..<100).map { TransportAddress(text: "rdma:h:\($0)")! }
        let bounded = TransportPath.candidates(rails: [.rdma: [1, 2]], addresses: many, isSameHost: false)
        #expect(bounded.count == TransportPath.perKindMax && Set(bounded).count == bounded.count)
    }

    @Test func eachFurtherLinkToAHostHasARailOfItsOwn() {
        let addresses = ["rdma:a:1", "rdma:b:1", "tcp:h:1", "local:/s"].map { TransportAddress(text: $0)! }
        let rails: [TransportKind: [Int]] = [.rdma: [4, 5, 6], .tcp: [1], .local: [2]]
        func lanes(_ rails: [TransportKind: [Int]], _ addresses: [TransportAddress], isSameHost: Bool = false) -> Int {
            TransportPath.lanes(rails: rails, addresses: addresses, isSameHost: isSameHost)
        }
        #expect(lanes(rails, addresses) == 3 && lanes(rails, [addresses[2]]) == 1)
        #expect(lanes(rails, addresses, isSameHost: true) == 1, "the same machine's own transport needs no second")
        #expect(lanes([.rdma: [4, 5]], addresses, isSameHost: true) == 2)
        #expect(lanes([.tcp: [1]], addresses) == 1 && lanes([:], []) == 1)
        func paths(_ lane: Int) -> [String] {
            TransportPath.candidates(rails: rails, addresses: addresses, isSameHost: false, lane: lane).map {
                "\($0.rail) \($0.address.location)"
            }
        }
        #expect(paths(0).last == "1 h:1")
        #expect(paths(1) == ["5 b:1", "5 a:1"] && paths(2) == ["6 a:1", "6 b:1"] && paths(3) == [])
    }

    @Test func anAddressSaidTwiceIsOneWay() {
        let addresses = ["rdma:h:1", "tcp:h:1", "rdma:h:1"].map { TransportAddress(text: $0)! }
        for lane in 0...1 {
            let paths = TransportPath.candidates(
                rails: [.rdma: [1, 2], .tcp: [3]], addresses: addresses, isSameHost: false, lane: lane)
            #expect(Set(paths).count == paths.count && !paths.isEmpty)
        }
    }

    // MARK: failures

    @Test func aFailedPathRestsLongerEachTimeUpToItsMost() {
        var selector = selector()
        #expect(selector.choice(nowNs: 0) == rdma)
        var nowNs: UInt64 = 0
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] as [UInt64] {
            selector.failed(rdma, why: "gone", nowNs: nowNs)
            #expect(selector.isResting(rdma, nowNs: nowNs + seconds * second - 1))
            #expect(selector.choice(nowNs: nowNs + seconds * second - 1) == tcp)
            #expect(selector.better(than: tcp, nowNs: nowNs + seconds * second - 1) == nil)
            #expect(selector.betterAtNs(than: tcp, nowNs: nowNs) == nowNs + seconds * second)
            nowNs += seconds * second
            #expect(selector.better(than: tcp, nowNs: nowNs) == rdma && selector.choice(nowNs: nowNs) == rdma)
        }
        #expect(selector.passedOver(for: .tcp, nowNs: nowNs)?.why == "gone")
    }

    @Test func aFailureIsForgivenByWorkAndNotByOneSuccess() {
        var selector = selector()
        for _ in 0..<4 { selector.failed(rdma, why: "gone", nowNs: 0) }
        // Up again, and down at once: the next rest is twice the last.
        selector.carried(rdma, bytes: 1, busyNs: 1, nowNs: 8 * second)
        selector.failed(rdma, why: "gone", nowNs: 9 * second)
        #expect(selector.betterAtNs(than: tcp, nowNs: 9 * second) == 25 * second)
        // Three times ten seconds of work take three of five off.
        for step in 0..<40 as Range<UInt64> {
            selector.carried(rdma, bytes: 1, busyNs: 1, nowNs: (25 + step) * second)
        }
        selector.failed(rdma, why: "gone", nowNs: 64 * second)
        #expect(selector.betterAtNs(than: tcp, nowNs: 64 * second) == 64 * second + 2 * second)
    }

    @Test func whenAllRestTheOneThatRestsShortestIsTheLastResort() {
        var selector = selector()
        selector.failed(rdma, why: "a", nowNs: 0)
        selector.failed(rdma, why: "a", nowNs: 0)
        selector.failed(tcp, why: "b", nowNs: 0)
        #expect(selector.choice(nowNs: 1) == nil && selector.lastResort == tcp)
        selector.forgetAll()
        #expect(selector.choice(nowNs: 1) == rdma && selector.passedOver(for: .tcp, nowNs: 1) == nil)
    }

    @Test func newsOfAddressesKeepTheMemoryOfThoseThatStay() {
        var selector = selector()
        selector.failed(rdma, why: "gone", nowNs: 0)
        let other = TransportPath(rail: 2, address: TransportAddress(text: "rdma:h:2")!)
        selector.offer([rdma, other, tcp])
        #expect(selector.choice(nowNs: 1) == other)
        selector.offer([tcp])
        #expect(selector.choice(nowNs: 1) == tcp && selector.better(than: tcp, nowNs: 1) == nil)
        // One that was withdrawn and comes back begins anew.
        selector.offer([rdma, tcp])
        #expect(selector.choice(nowNs: 1) == rdma)
    }

    @Test func aWayThatIsNotAnnouncedAnyMoreIsLeftForABetterKindOnly() {
        var selector = selector()
        selector.offer([tcp])
        #expect(selector.better(than: rdma, nowNs: 0) == nil)
        selector.offer([rdma])
        #expect(selector.better(than: tcp, nowNs: 0) == rdma)
    }

    // MARK: speed

    @Test func onlyAPathSeveralTimesSlowerThanAnotherIsDemotedAndOnlyForAWhile() {
        var selector = selector()
        let enough = SelectorSettings().measuredBytesMin
        selector.carried(tcp, bytes: enough, busyNs: second, nowNs: second)
        selector.carried(rdma, bytes: enough, busyNs: 7 * second, nowNs: second)
        #expect(selector.choice(nowNs: second) == rdma, "seven times slower is no reason")
        for _ in 0..<64 { selector.carried(rdma, bytes: enough, busyNs: 9 * second, nowNs: second) }
        #expect(selector.choice(nowNs: second) == tcp && selector.better(than: rdma, nowNs: second) == tcp)
        #expect(selector.passedOver(for: .tcp, nowNs: second)?.kind == .rdma)
        // Measurements grow old: then it has its turn again.
        let oldNs = second + SelectorSettings().measuredForNs
        #expect(selector.betterAtNs(than: tcp, nowNs: second) == oldNs)
        #expect(selector.choice(nowNs: oldNs + 1) == rdma)
        #expect(selector.bytesPerSecond(of: rdma, nowNs: oldNs + 1) == nil)
    }

    @Test func aSlowPathStaysWhereSpeedDoesNotDecideOrTooLittleIsKnown() {
        let enough = SelectorSettings().measuredBytesMin
        var demanded = selector { $0.demotesSlow = false }
        demanded.carried(tcp, bytes: enough, busyNs: second, nowNs: 0)
        demanded.carried(rdma, bytes: enough, busyNs: 100 * second, nowNs: 0)
        #expect(demanded.choice(nowNs: 0) == rdma)
        var unmeasured = selector()
        unmeasured.carried(tcp, bytes: enough, busyNs: second, nowNs: 0)
        unmeasured.carried(rdma, bytes: enough - 1, busyNs: 100 * second, nowNs: 0)
        #expect(unmeasured.choice(nowNs: 0) == rdma)
        // The fast one rests: slow is better than none.
        unmeasured.carried(rdma, bytes: 1, busyNs: second, nowNs: 0)
        #expect(unmeasured.choice(nowNs: 0) == tcp)
        unmeasured.failed(tcp, why: "gone", nowNs: 0)
        #expect(unmeasured.choice(nowNs: 0) == rdma)
    }
}
