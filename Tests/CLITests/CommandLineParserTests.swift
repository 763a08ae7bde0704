import Configuration
import Testing

@testable import CLI

@Suite struct CommandLineParserTests {
    private let parser = CommandLineParser(commands: MartletCommandLine.commands)

    private func run(_ words: String...) throws -> (
        command: String, input: Command.Input, file: String?, flags: [ConfigurationSources.FlagValue]
    ) {
        guard case .run(let command, let input, let file, let flags) = try parser.parse(words) else {
            throw CommandFailure(.failure, "not run")
        }
        return (command.name, input, file, flags)
    }

    private func refusal(_ words: String...) -> String {
        do {
            _ = try parser.parse(words)
            return "(accepted)"
        } catch {
            #expect(error.code == .usage)
            return error.description
        }
    }

    @Test func takesFlagsAnywhere() throws {
        let got = try run(
            "get", "--to", "/x", "hf://a/b", "--json", "--data-dir=/d", "--config", "f", "hf://c/d")
        #expect(got.command == "get" && got.file == "f" && got.input.arguments == ["hf://a/b", "hf://c/d"])
        #expect(got.input.values == ["--to": "/x"] && got.input.switches == ["--json"])
        #expect(got.flags == [.init(keyName: "peer.data_dir", text: "/d", spelled: "--data-dir")])
    }

    @Test func takesSwitchesOfTheSchema() throws {
        #expect(try run("manager", "--insecure").flags[0].text == "true")
        #expect(try run("manager", "--insecure=false").flags[0].text == "false")
        #expect(
            try run("peer", "--set", "peer.rack=a=b").flags[0]
                == .init(keyName: "peer.rack", text: "a=b", spelled: "--set"))
    }

    @Test func doubleDashEndsFlags() throws {
        #expect(try run("get", "--", "--odd", "--").input.arguments == ["--odd", "--"])
        #expect(try run("get", "-").input.arguments == ["-"])
    }

    @Test func asksForHelpAndVersion() throws {
        for words in [["--help"], ["-h"], ["help"]] {
            guard case .overview(isError: false) = try parser.parse(words) else {
                Issue.record("\(words) is no overview")
                continue
            }
        }
        guard case .overview(isError: true) = try parser.parse([]) else { return #expect(Bool(false)) }
        guard case .version = try parser.parse(["--version"]) else { return #expect(Bool(false)) }
        // Help is given even when the rest is wrong.
        for words in [["get", "--help"], ["help", "get"], ["get", "x", "-h", "--nonsense"]] {
            guard case .help(let command) = try parser.parse(words) else { return #expect(Bool(false)) }
            #expect(command.name == "get")
        }
    }

    @Test func refusesWithTheNearest() {
        #expect(refusal("gte") == "unknown command gte; did you mean get?")
        #expect(refusal("frobnicate") == "unknown command frobnicate; see martlet --help")
        #expect(
            refusal("peer", "--data-dri", "x")
                == "unknown flag --data-dri for martlet peer; did you mean --data-dir?")
        #expect(refusal("ls", "--listen", "x").hasPrefix("unknown flag --listen for martlet ls"))
        #expect(refusal("--json", "ls").hasPrefix("unknown flag --json before a command"))
        #expect(refusal("get", "x", "--to") == "--to needs a value: --to DIR")
        #expect(refusal("peer", "--rack", "--zone", "a") == "--rack needs a value: --rack TEXT")
        #expect(refusal("ls", "--json=1") == "--json takes no value")
        #expect(refusal("ls", "x") == "ls takes no argument, and was given x")
        #expect(refusal("get").hasPrefix("get needs REF, e.g. martlet get hf://"))
        #expect(refusal("config", "print", "x").contains("was also given x"))
        #expect(refusal("ls", "--set", "x") == "--set x: write --set KEY=VALUE, e.g. --set peer.rack=r12")
    }

    @Test func ownFlagsDoNotHideTheSchemas() {
        for command in MartletCommandLine.commands {
            let own = (command.options + Command.commonOptions).map(\.name)
            let all = own + command.schemaFlags.map(\.flag)
            #expect(Set(all).count == all.count, "martlet \(command.name) has a flag twice")
        }
    }
}

@Suite struct HelpTextTests {
    @Test func overviewNamesEverything() {
        let text = HelpText.overview(MartletCommandLine.commands)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(lines[0] == "martlet: model weights, from peer to peer, to every node of a cluster")
        let names = lines.drop { $0 != "Commands:" }.dropFirst().prefix { !$0.isEmpty }.map {
            $0.split(separator: " ")[0]
        }
        #expect(
            names == [
                "get", "ls", "pin", "unpin", "rm", "up", "peer", "seed", "scheduler", "manager", "token",
                "settings", "simulate", "bench", "info", "config", "version",
            ])
        #expect(lines.contains("  130         stopped by Ctrl-C; what was verified is kept"))
    }

    @Test func everyCommandTeachesByExample() {
        for command in MartletCommandLine.commands {
            let lines = HelpText.text(command).split(separator: "\n", omittingEmptySubsequences: false)
            #expect(lines[0] == "martlet \(command.name): \(command.summary)" && lines[2] == "Examples:")
            #expect(
                !command.examples.isEmpty
                    && command.examples.allSatisfy { $0.line.contains("martlet \(command.name)") })
            #expect(lines.contains { $0.hasPrefix("Usage: martlet \(command.name) [FLAGS]") })
            #expect(
                lines.allSatisfy { $0.count <= 110 },
                "martlet \(command.name) --help has a line that is too long")
        }
    }

    @Test func examplesAreTrue() throws {
        // What help shows must be taken by the parser.
        let parser = CommandLineParser(commands: MartletCommandLine.commands)
        for command in MartletCommandLine.commands {
            for example in command.examples {
                let words = example.line.split(separator: " ").map(String.init).drop { $0.contains("=") }
                #expect(words.first == "martlet")
                _ = try parser.parse(Array(words.dropFirst()))
            }
        }
    }

    @Test func flagsShowTheirDefaults() {
        #expect(HelpText.text(.peer).contains("--slots-bytes BYTES"))
        #expect(HelpText.text(.peer).contains("[256MiB]"))
        #expect(!HelpText.text(.peer).contains("hf-token"))
    }
}
