import Simulation
import Testing

@testable import CLI

@Suite struct SimulateTests {
    private func request(_ words: String...) throws -> SimulationRequest {
        let parser = CommandLineParser(commands: MartletCommandLine.commands)
        guard case .run(_, let input, _, _) = try parser.parse(["simulate"] + words) else {
            throw CommandFailure(.failure, "not run")
        }
        return try SimulationRequest(input)
    }

    private func refusal(_ words: String...) -> String {
        let parser = CommandLineParser(commands: MartletCommandLine.commands)
        do {
            guard case .run(_, let input, _, _) = try parser.parse(["simulate"] + words) else { return "(not run)" }
            _ = try SimulationRequest(input)
            return "(accepted)"
        } catch let failure as CommandFailure {
            #expect(failure.code == .usage)
            return failure.description
        } catch { return "(another error)" }
    }

    @Test func optionsDescribeAFleet() throws {
        let request = try request(
            "--nodes", "16", "--seeds", "1", "--size", "512MB", "--files", "2", "--models", "3", "--nic", "200Mbps",
            "--origin", "1Gbps", "--latency", "400", "--rack", "0", "--uplink", "8:1", "--seed", "9", "--workload",
            "flash", "--faults", "crash=2,loss=10", "--trace", "3", "--svg", "x.svg", "--json")
        let scenario = request.scenario
        #expect(scenario.peers == 16 && scenario.seedPeers == 1 && scenario.models == 3 && scenario.files == 2)
        #expect(scenario.sizeBytes == 512_000_000 && scenario.nicBytesPerSecond == 25_000_000)
        #expect(scenario.originBytesPerSecond == 125_000_000 && scenario.latencyNs == 400_000)
        #expect(scenario.rackHosts == 0 && scenario.oversubscription == 8 && scenario.seed == 9)
        #expect(scenario.workload == .flash && scenario.faults.crashes == 2 && scenario.faults.lossPerMillion == 10)
        #expect(scenario.traced == 3 && request.svgPath == "x.svg" && request.wantsJSON && request.extent == .once)
    }

    @Test func extentsAreRunsOrSizes() throws {
        #expect(try request("--runs", "7").extent == .runs(7))
        #expect(try request("--scale", "10,200").extent == .scale([10, 200]))
        #expect(refusal("--runs", "2", "--scale", "10").contains("exclude each other"))
        #expect(refusal("--scale", "10,,20").contains("write numbers of peers as"))
        #expect(refusal("--scale", "10", "--faults", "random").contains("not with --faults random"))
        #expect(refusal("--runs", "2", "--trace", "1").contains("single run"))
        #expect(refusal("--runs", "2", "--svg", "x").contains("single run"))
        #expect(refusal("--runs", "0").contains("from 1 to"))
    }

    @Test func aFailingSeedComesWithItsCommand() throws {
        let request = try request("--runs", "7", "--faults", "random", "--nodes", "40", "--seed", "5")
        #expect(request.command(ofSeed: 6) == "martlet simulate --nodes 40 --faults random --seed 6")
        #expect(request.scenario(ofSeed: 6) == Scenario.random(seed: 6, peersMax: 40))
        let single = try self.request("--nodes", "40", "--faults", "random", "--seed", "6")
        #expect(single.scenario == request.scenario(ofSeed: 6))
    }

    @Test func whatMakesNoSenseIsRefusedWithARemedy() {
        #expect(refusal("--faults", "earthquake").contains("crash, stale, seed-loss"))
        #expect(refusal("--workload", "weekly").contains("together, flash, late, rolling"))
        #expect(refusal("--uplink", "4").contains("write it as 4:1"))
        #expect(refusal("--size", "big").contains("write it as 100GB"))
        #expect(refusal("--nic", "100").contains("write it as 100Gbps"))
        #expect(refusal("--nodes", "0").contains("from 1 to 20000"))
        #expect(refusal("--faults", "random", "--nodes", "2").contains("3 peers or more"))
    }

    @Test func theHelpNamesEveryFaultAndWorkload() {
        let help = Command.simulate.about.joined(separator: " ")
        for word in FaultPlan.words { #expect(help.contains("\(word.name) (\(word.meaning))")) }
        for workload in Scenario.Workload.allCases { #expect(help.contains(workload.rawValue)) }
    }
}
