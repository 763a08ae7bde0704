import Glibc
import Testing

@testable import Configuration

/// A made-up machine: nothing of the one that runs the tests.
func surroundings(_ environment: [String: String] = [:], isRoot: Bool = false) -> Surroundings {
    Surroundings(isRoot: isRoot, home: "/home/ada", hostName: "node-7", environment: environment)
}

/// A file in a directory of its own, gone when the closure ends.
func withFile<Result>(_ text: String, _ body: (String) throws -> Result) throws -> Result {
    let template = Array("/tmp/martlet-configuration-XXXXXX".utf8CString)
    let directory = try #require(
        template.withUnsafeBufferPointer { pointer -> String? in
            var copy = Array(pointer)
            return copy.withUnsafeMutableBufferPointer {
                mkdtemp($0.baseAddress!).map { String(cString: $0) }
            }
        })
    let path = "\(directory)/martlet.toml"
    defer {
        unlink(path)
        rmdir(directory)
    }
    let file = try #require(fopen(path, "w"))
    fputs(text, file)
    fclose(file)
    return try body(path)
}

/// The sentence with which a configuration is refused.
func refusal(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "(accepted)"
    } catch {
        return "\(error)"
    }
}

@Suite struct ConfigurationTests {
    private func load(
        file: String? = nil, flags: [ConfigurationSources.FlagValue] = [],
        _ environment: [String: String] = [:]
    ) throws -> Configuration {
        try Configuration.load(.init(file: file, flags: flags, surroundings: surroundings(environment)))
    }

    @Test func builtInValuesAreAllValid() throws {
        for isRoot in [false, true] {
            let configuration = try Configuration.load(.init(surroundings: surroundings(isRoot: isRoot)))
            #expect(configuration.entries.count == Schema.all.count)
            #expect(configuration.entries.allSatisfy { $0.origin == .builtIn })
            #expect(
                configuration[Schema.Peer.dataDirectory]
                    == (isRoot ? "/var/lib/martlet" : "/home/ada/.local/share/martlet"))
        }
    }

    @Test func everySettingReadsItsType() throws {
        let configuration = try load()
        #expect(configuration[Schema.Cluster.name] == "default")
        #expect(configuration[Schema.Manager.listen] == NetworkAddress(host: "127.0.0.1", port: 7600))
        #expect(configuration[Schema.Manager.addresses] == [])
        #expect(configuration[Schema.Scheduler.advertise] == nil)
        #expect(configuration[Schema.Scheduler.leasePieces] == 16)
        #expect(configuration[Schema.Peer.name] == "node-7")
        #expect(configuration[Schema.Peer.transport] == .auto)
        #expect(configuration[Schema.Peer.slotsBytes] == 256 << 20)
        #expect(configuration[Schema.Peer.diskBudget] == nil)
        #expect(configuration[Schema.Peer.zone] == nil)
        #expect(configuration[Schema.Peer.originPolicy] == .seeds)
        #expect(configuration[Schema.Swarm.pieceTimeout] == .seconds(10))
        #expect(configuration[Schema.Swarm.pieceTimeout].clampedNs == 10_000_000_000)
        #expect(configuration[Schema.Log.level] == .info)
        #expect(!configuration[Schema.TLS.insecure])
    }

    @Test func everyMemberOfEverySectionIsListedAndReadable() throws {
        // A setting left out of its section's list would trap at its first use: read each by its row.
        let names = Schema.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(
            names.contains("tls.key") && names.contains("origin.hf_token")
                && names.contains("scheduler.host_timeout"))
        for key in Schema.all {
            #expect(key.doc.hasSuffix(".") && !key.leaf.isEmpty && !key.commands.isEmpty)
        }
    }

    @Test func laterSourcesWin() throws {
        let text = """
            # a comment
            [peer]
            rack = "from-file"   # another
            zone = 'from-file'
            name = "from-file"
            streams = 8
            """
        try withFile(
            text,
            { path in
                let configuration = try load(
                    file: path, flags: [.init(keyName: "peer.name", text: "from-flag", spelled: "--name")],
                    ["MARTLET_PEER_ZONE": "from-env", "MARTLET_PEER_NAME": "from-env"])
                #expect(configuration[Schema.Peer.streams] == 8)
                #expect(configuration[Schema.Peer.rack] == "from-file")
                #expect(configuration[Schema.Peer.zone] == "from-env")
                #expect(configuration[Schema.Peer.name] == "from-flag")
                #expect(configuration.origin(of: Schema.Peer.rack.key) == .file(path: path, line: 3))
                #expect(configuration.origin(of: Schema.Peer.zone.key).description == "MARTLET_PEER_ZONE")
                #expect(configuration.origin(of: Schema.Peer.name.key).description == "--name")
                #expect(configuration.origin(of: Schema.Peer.workers.key) == .builtIn)
            })
    }

    @Test func theFileIsFoundByItsVariable() throws {
        try withFile("[cluster]\nname = \"blue\"\n") { path in
            let configuration = try load(["MARTLET_CONFIG": path])
            #expect(configuration[Schema.Cluster.name] == "blue")
        }
        #expect(
            refusal { _ = try load(["MARTLET_CONFIG": "/nonexistent/x.toml"]) }.contains(
                "there is no such file"))
    }

    @Test func unknownNamesNameTheNearest() throws {
        try withFile("[peer]\n\ndata_dri = \"/x\"\n") { path in
            #expect(
                refusal { _ = try load(file: path) }
                    == "unknown key peer.data_dri in \(path):3; did you mean peer.data_dir?")
        }
        try withFile("[per]\n") { path in
            #expect(
                refusal { _ = try load(file: path) }
                    == "unknown section [per] in \(path):1; did you mean peer?")
        }
        #expect(
            refusal { _ = try load(["MARTLET_PEER_DATA_DRI": "/x"]) }
                == "unknown variable MARTLET_PEER_DATA_DRI in the environment; did you mean MARTLET_PEER_DATA_DIR?"
        )
        #expect(
            refusal { _ = try load(flags: [.init(keyName: "swarm.parent", text: "1", spelled: "--set")]) }
                == "unknown key swarm.parent in --set; did you mean swarm.parents?")
        #expect(refusal { _ = try load(["MARTLET_XYZZY_PLUGH_FROTZ": ""]) }.hasSuffix("in the environment"))
    }

    @Test func foreignVariablesAreLeftAlone() throws {
        _ = try load([
            "MARTLET_MANAGER_SERVICE_HOST": "10.0.0.1", "MARTLET_MANAGER_SERVICE_PORT": "7600",
            "MARTLET_MANAGER_SERVICE_PORT_GRPC": "7600", "MARTLET_MANAGER_PORT": "tcp://10.0.0.1:7600",
            "MARTLET_MANAGER_PORT_7600_TCP_ADDR": "10.0.0.1", "MARTLET_FAULT_DISK_FULL_AFTER": "1",
            "PATH": "/bin",
        ])
    }

    @Test func badValuesSayWhatIsRight() {
        func set(_ key: String, _ text: String) -> String {
            refusal { _ = try load(flags: [.init(keyName: key, text: text, spelled: "--set")]) }
        }
        #expect(
            set("peer.slots_bytes", "256MB").contains(
                "(--set): \"256MB\" is no amount of bytes; write e.g. 256MiB"))
        #expect(set("peer.slots_bytes", "1MiB").contains("it may be 32MiB to"))
        #expect(set("swarm.piece_timeout", "10").contains("is no time; write e.g. 10s"))
        #expect(set("peer.streams", "0").contains("it may be 1 to 16"))
        #expect(set("peer.streams", "four").contains("is no whole number"))
        #expect(set("tls.insecure", "maybe").contains("neither true nor false"))
        #expect(set("peer.listen", "7620").contains("write HOST:PORT"))
        #expect(set("manager.addresses", "a:1,b").contains("write HOST:PORT,HOST:PORT"))
        #expect(set("peer.transport", "tpc").contains("not one of auto, rdma, tcp, local; did you mean tcp?"))
        #expect(set("peer.name", "a\u{1B}b").contains("control character"))
        #expect(set("peer.name", String(repeating: "x", count: 5000)).contains("too long"))
    }

    @Test func rdmaSettingsAreReadCheckedAndShown() throws {
        let unset = try load()
        #expect(unset[Schema.Peer.rdmaDevices] == [])
        #expect(unset[Schema.Peer.rdmaGIDIndex] == nil && unset[Schema.Peer.rdmaQueuePairs] == 2)
        #expect(unset[Schema.Peer.rdmaLease] == .probed && unset[Schema.Peer.rdmaMTU] == .auto)
        #expect(unset.entries.first { $0.key.name == "peer.rdma_devices" }?.shownText == "auto")
        let text = """
            [peer]
            rdma_devices = ["mlx5_0", "mlx5_1:2"]
            rdma_gid_index = 3
            rdma_lease = "window"
            rdma_mtu = 4096
            """
        try withFile(text) { path in
            let set = try load(file: path, ["MARTLET_PEER_RDMA_TRAFFIC_CLASS": "106"])
            #expect(
                set[Schema.Peer.rdmaDevices] == [
                    RDMAPortName(device: "mlx5_0"), RDMAPortName(device: "mlx5_1", port: 2),
                ])
            #expect(set[Schema.Peer.rdmaGIDIndex] == 3 && set[Schema.Peer.rdmaTrafficClass] == 106)
            #expect(set[Schema.Peer.rdmaLease] == .window && set[Schema.Peer.rdmaMTU] == .bytes4096)
            #expect(set.entries.first { $0.key.name == "peer.rdma_devices" }?.shownText == "mlx5_0,mlx5_1:2")
        }
        func set(_ key: String, _ text: String) -> String {
            refusal { _ = try load(flags: [.init(keyName: key, text: text, spelled: "--set")]) }
        }
        for wrong in ["", "mlx5_0:0", "mlx5_0:x", "mlx5_0:1:2", "a/b", "mlx5_0,mlx5_0", "auto,mlx5_0:"] {
            #expect(set("peer.rdma_devices", wrong).contains("write e.g. mlx5_0,mlx5_1:2"), "\(wrong)")
        }
        #expect(set("peer.rdma_service_level", "16").contains("it may be 0 to 15"))
        #expect(set("peer.rdma_mtu", "9000").contains("auto, 256, 512, 1024, 2048, 4096"))
        #expect(set("peer.rdma_queue_pairs", "9").contains("it may be 1 to 8"))
    }

    @Test func rdmaListensBesideTCPUnlessToldOtherwise() throws {
        func listeners(_ environment: [String: String]) throws -> [String] {
            try load(environment).pieceListeners.map(\.description)
        }
        #expect(try listeners([:]) == ["127.0.0.1:7620", "127.0.0.1:7622"])
        let wide = ["MARTLET_PEER_LISTEN": "0.0.0.0:9000", "MARTLET_PEER_TRANSPORT": "rdma"]
        #expect(try listeners(wide) == ["0.0.0.0:9002"])
        #expect(try listeners(wide.merging(["MARTLET_PEER_RDMA_LISTEN": "[::1]:7"]) { $1 }) == ["[::1]:7"])
        #expect(try listeners(["MARTLET_PEER_LISTEN": "127.0.0.1:0"]) == ["127.0.0.1:0", "127.0.0.1:0"])
        #expect(try listeners(["MARTLET_PEER_LISTEN": "127.0.0.1:65535"]) == ["127.0.0.1:65535", "127.0.0.1:0"])
        #expect(try listeners(["MARTLET_PEER_TRANSPORT": "tcp"]) == ["127.0.0.1:7620"])
        #expect(try listeners(["MARTLET_PEER_TRANSPORT": "local"]) == [])
        // What is open to others is no place to do without TLS, whatever it carries.
        #expect(
            refusal {
                let configuration = try load([
                    "MARTLET_PEER_RDMA_LISTEN": "10.0.0.1:7622", "MARTLET_TLS_INSECURE": "true",
                ])
                _ = try configuration.credentials(listening: configuration.pieceListeners)
            }.contains("10.0.0.1:7622 is beyond this machine"))
    }

    @Test func secretsHaveNoFlagAndAreNotShown() throws {
        let key = Schema.Origin.hfToken.key
        let configuration = try load(["HF_TOKEN": "hf_abcdef"])
        #expect(configuration[Schema.Origin.hfToken] == "hf_abcdef")
        #expect(configuration.entries.first { $0.key.name == key.name }?.shownText == "***")
        #expect(configuration.origin(of: key).description == "HF_TOKEN")
        #expect(CommandName.allCases.allSatisfy { key.flag(in: $0) == nil })
        let sentence = refusal {
            _ = try load(flags: [.init(keyName: key.name, text: "hf_abcdef", spelled: "--set")])
        }
        #expect(sentence.contains("MARTLET_ORIGIN_HF_TOKEN") && !sentence.contains("hf_abcdef"))
        #expect(!refusal { _ = try load(["HF_TOKEN": "bad\nhf_abcdef"]) }.contains("hf_abcdef"))
        // Our own name wins over the field's.
        let both = try load(["HF_TOKEN": "field", "MARTLET_ORIGIN_HF_TOKEN": "ours"])
        #expect(both[Schema.Origin.hfToken] == "ours")
    }

    @Test func flagsAreUniqueInEveryCommand() {
        for command in CommandName.allCases {
            let flags = Schema.keys(of: command).compactMap { $0.flag(in: command) }
            #expect(Set(flags).count == flags.count, "\(command) has a flag twice")
            #expect(
                Set(flags).isDisjoint(with: [
                    "--config", "--set", "--help", "--json", "--to", "--pin", "--quiet",
                ]))
        }
        #expect(Schema.Peer.dataDirectory.key.flag(in: .peer) == "--data-dir")
        #expect(Schema.Manager.listen.key.flag(in: .manager) == "--listen")
        #expect(Schema.Manager.listen.key.flag(in: .up) == "--manager-listen")
        #expect(Schema.Manager.addresses.key.flag(in: .peer) == "--manager")
        #expect(Schema.Peer.dataDirectory.key.flag(in: .manager) == nil)
        #expect(Schema.Peer.dataDirectory.key.environmentName == "MARTLET_PEER_DATA_DIR")
    }

    @Test func aProgramChangesACopy() throws {
        let configuration = try load()
        let changed = try configuration.setting("peer.name", to: "seed-a", because: "martlet up")
        #expect(changed[Schema.Peer.name] == "seed-a" && configuration[Schema.Peer.name] == "node-7")
        #expect(changed.origin(of: Schema.Peer.name.key).description == "martlet up")
        #expect(
            refusal { _ = try configuration.setting("peer.nam", to: "x", because: "martlet up") }.contains(
                "peer.name?"))
    }

    @Test func homeIsExpandedInPathsOnly() throws {
        let configuration = try load(["MARTLET_PEER_DATA_DIR": "~/data", "MARTLET_PEER_RACK": "~/data"])
        #expect(configuration[Schema.Peer.dataDirectory] == "/home/ada/data")
        #expect(configuration[Schema.Peer.rack] == "~/data")
    }

    @Test func credentialsAreWholeOrNone() throws {
        let everywhere = NetworkAddress(host: "0.0.0.0", port: 1)
        let loopback = NetworkAddress(host: "127.0.0.2", port: 1)
        #expect(try load().credentials(listening: [loopback, everywhere]) == .joined)
        let insecure = ["MARTLET_TLS_INSECURE": "true"]
        #expect(try load(insecure).credentials(listening: [loopback]) == .plaintext)
        #expect(
            refusal { _ = try load(insecure).credentials(listening: [loopback, everywhere]) }.contains("--insecure"))
        let toward = insecure.merging(["MARTLET_MANAGER_ADDRESSES": "10.0.0.1:1"]) { $1 }
        #expect(refusal { _ = try load(toward).credentials(listening: [loopback]) }.contains("10.0.0.1:1"))
        #expect(
            refusal { _ = try load(["MARTLET_TLS_CA": "/ca"]).credentials(listening: []) }
                == "tls.cert and tls.key is missing; mutual TLS needs tls.ca, tls.cert and tls.key")
        let whole = ["MARTLET_TLS_CA": "/ca", "MARTLET_TLS_CERT": "/cert", "MARTLET_TLS_KEY": "/key"]
        let files = CredentialFiles(caPath: "/ca", certificatePath: "/cert", keyPath: "/key")
        #expect(try load(whole).credentials(listening: [everywhere]) == .mutualTLS(files))
    }
}
