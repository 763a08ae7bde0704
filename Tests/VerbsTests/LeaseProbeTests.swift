import Testing
import Verbs
import VerbsDouble

@Suite struct LeaseProbeTests {
    func probe(_ change: (inout DoubleDevice) -> Void) throws -> LeaseEnforcement {
        var settings = DoubleDevice("probe0", host: 1)
        change(&settings)
        let double = VerbsDouble([settings])
        let found: LeaseEnforcement
        do {
            let device = try double.library.open("probe0")
            found = try LeaseProbe.run(device, port: try device.port(1), gid: try device.gids(port: 1)[0])
            // Reading what a test did to an event queue is all that is left.
            while try device.nextAsyncEvent() != nil {}
        }
        #expect(double.census("probe0").isEmpty, "the probe left something open")
        return found
    }

    let all = LeaseEnforcement.Enforcement(
        bindsToReader: true, refusesWrites: true, boundsRange: true, revokes: true)

    @Test func aStrictDeviceLeasesByWindow() throws {
        let found = try probe { _ in }
        #expect(found == LeaseEnforcement(windows: all, regions: all))
        #expect(found.mechanism == .window)
        #expect(found.description.hasPrefix("leases by window"))
    }

    @Test func windowsThatDoNotBoundLeaveExactRegions() throws {
        let found = try probe { $0.windowsBoundRange = false }
        #expect(found.windows?.boundsRange == false && found.windows?.bindsToReader == true)
        #expect(found.windows?.refusesWrites == true && found.windows?.revokes == true)
        #expect(found.mechanism == .exactRegion)
        #expect(found.description.contains("not range"))
    }

    @Test func windowsThatOthersCanUseLeaveExactRegions() throws {
        let found = try probe { $0.windowsBindToPair = false }
        #expect(found.windows?.bindsToReader == false && found.windows?.boundsRange == true)
        #expect(found.mechanism == .exactRegion)
    }

    @Test func withoutWindowsThereAreRegions() throws {
        let found = try probe { $0.hasWindows = false }
        #expect(found.windows == nil && found.mechanism == .exactRegion)
        #expect(found.windowsAbsence.contains("probe0"))
    }

    @Test func aDeviceThatLetsOthersWriteMayNotServe() throws {
        let found = try probe {
            $0.regionsRefuseWrites = false
            $0.hasWindows = false
        }
        #expect(!found.regions.refusesWrites)
        #expect(found.mechanism == nil)
        #expect(found.description.contains("may not serve"))
    }

    @Test func aPortThatIsDownIsSaid() throws {
        let double = VerbsDouble([DoubleDevice("probe0", host: 1)])
        double.setPort("probe0", isUp: false)
        let device = try double.library.open("probe0")
        do {
            _ = try LeaseProbe.run(device, port: try device.port(1), gid: try device.gids(port: 1)[0])
            Issue.record("a port that is down cannot be probed")
        } catch { #expect(error.code == .notActive) }
    }

    @Test func aPortThatDoesNotReachItselfIsSaid() throws {
        let double = VerbsDouble([DoubleDevice("probe0", host: 1)])
        double.setSilent("probe0", true)
        do {
            let device = try double.library.open("probe0")
            _ = try LeaseProbe.run(device, port: try device.port(1), gid: try device.gids(port: 1)[0])
            Issue.record("a silent port cannot be probed")
        } catch { #expect(error.code == .unreachable) }
        #expect(double.census("probe0").isEmpty)
    }
}
