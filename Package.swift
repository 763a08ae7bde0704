// swift-tools-version: 6.2
import PackageDescription

// Strict settings, in one place, for every Swift target.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    // One view of the C library: CLinux needs its GNU extensions, and the toolchain's Glibc module (which
    // Synchronization imports) must see the same declarations, or the two clash.
    .unsafeFlags(["-Xcc", "-D_GNU_SOURCE"]),
]

// C shims are on the data path: optimised in debug builds too.
let shim: [CSetting] = [
    .unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])
]

/// A Swift room of the house: `Sources/<name>`.
func room(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: strict)
}

/// A room's tests: `Tests/<name>Tests`.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: dependencies, path: "Tests/\(name)Tests",
        swiftSettings: strict)
}

/// A C shim: `CShims/<name>`, with the Debian libraries it links.
func shim(_ name: String, libraries: [String] = [], extra: [CSetting] = []) -> Target {
    .target(
        name: name, path: "CShims/\(name)", cSettings: shim + extra,
        linkerSettings: libraries.map { .linkedLibrary($0) })
}

let package = Package(
    name: "martlet",
    products: [.executable(name: "martlet", targets: ["martlet"])],
    targets: [
        // C
        shim("CLinux", libraries: ["numa"]),
        shim("CDigest", libraries: ["crypto"]),
        shim("CTLS", libraries: ["ssl", "crypto"]),
        shim("CGRPC", libraries: ["grpc", "gpr"]),
        shim("CCrypto", libraries: ["ssl", "crypto"]),
        shim("CCurl", libraries: ["curl"]),
        shim("CHTTPServer", libraries: ["microhttpd"]),
        shim("CSQLite", libraries: ["sqlite3"]),
        shim("CVerbs"),
        shim("CAccel"),

        // Pure core: standard library only.
        room("Artifacts"),
        room("Swarm", ["Artifacts"]),
        room("Scheduling", ["Artifacts"]),
        room("Registry", ["Artifacts"]),

        // The pure core as a whole fleet, in virtual time.
        room("Simulation", ["Swarm", "Scheduling", "Artifacts"]),

        // Movers: synchronous.
        room("System", ["CLinux"]),
        room("Memory", ["CAccel", "System"]),
        room("Digests", ["CDigest", "Artifacts"]),
        room("TLS", ["CTLS"]),
        room("Transport", ["Memory", "TLS", "System", "Artifacts"]),
        room("Verbs", ["CVerbs", "System"]),
        room("TransportTCP", ["Transport", "System"]),
        room("TransportVerbs", ["Transport", "Verbs", "System"]),
        room("TransportLocal", ["Transport", "System"]),
        room("TransportSimulated", ["Transport", "System"]),
        room("Storage", ["Memory", "System", "Digests", "Artifacts"]),
        room("Rails", ["Transport", "Swarm", "System"]),
        room("Workers", ["Digests", "Storage", "System"]),

        // Interpreter.
        room("Engine", ["Swarm", "Rails", "Workers", "Storage", "Memory", "Digests", "System"]),

        // Rim: asynchronous.
        room("Identity", ["CCrypto", "System"]),
        room("Protobuf"),
        room("RPC", ["CGRPC", "Protobuf"]),
        room("ControlAPI", ["RPC", "Protobuf", "Artifacts", "Identity", "System", "Observability"]),
        room("HTTP", ["CCurl", "CHTTPServer"]),
        room("Origins", ["HTTP", "Memory", "Digests", "Artifacts"]),
        room("Observability", ["HTTP", "System"]),
        room("Configuration", ["System", "Artifacts"]),
        room(
            "SchedulerService", ["ControlAPI", "Scheduling", "Observability", "Configuration", "Digests", "System"]),
        room(
            "ManagerService",
            ["ControlAPI", "Registry", "Scheduling", "CSQLite", "Observability", "Configuration", "System"]),
        room(
            "PeerService",
            [
                "Engine", "ControlAPI", "Origins", "TransportVerbs", "TransportTCP", "TransportLocal",
                "Configuration", "Observability",
            ]),
        // Measures what the movers reach.
        room(
            "Bandwidth",
            [
                "Rails", "Workers", "Digests", "Transport", "TransportTCP", "TransportLocal", "TransportVerbs",
                "Observability", "System",
            ]),
        room(
            "CLI",
            [
                "Bandwidth", "PeerService", "SchedulerService", "ManagerService", "Configuration",
                "Observability", "ControlAPI", "System", "Memory", "Transport", "TransportVerbs", "Verbs", "Storage",
                "HTTP", "Origins", "Simulation",
            ]),
        .executableTarget(name: "martlet", dependencies: ["CLI"], swiftSettings: strict),

        // Benchmarks.
        .target(
            name: "CAlternatives", path: "Bench/digests/CAlternatives", cSettings: shim,
            linkerSettings: [.linkedLibrary("dl")]),
        .executableTarget(
            name: "bench-digests", dependencies: ["Artifacts", "CAlternatives", "Digests", "Memory", "System"],
            path: "Bench/digests", exclude: ["CAlternatives"], swiftSettings: strict),

        // Benchmarks.
        .executableTarget(
            name: "bench-transport", dependencies: ["Rails", "TransportTCP", "TransportLocal", "Transport", "System"],
            path: "Bench/transport", swiftSettings: strict),
        .target(name: "CCount", path: "Bench/CCount", cSettings: shim),
        .executableTarget(
            name: "bench-rdma",
            dependencies: [
                "CCount", "Digests", "Rails", "Swarm", "System", "Transport", "TransportLocal", "TransportTCP",
                "TransportVerbs",
                "Verbs", "Workers",
            ],
            path: "Bench/rdma", exclude: ["compare.py"], swiftSettings: strict),

        .executableTarget(
            name: "bench-registrations",
            dependencies: ["SchedulerService", "ControlAPI", "RPC", "Scheduling", "Observability", "System"],
            path: "Bench/registrations", swiftSettings: strict),

        // Tests.
        tests("Artifacts", ["Artifacts"]),
        tests("Swarm", ["Swarm"]),
        tests("Scheduling", ["Scheduling"]),
        tests("Registry", ["Registry"]),
        tests("Simulation", ["Simulation"]),
        .target(name: "MadeTree", path: "Tests/MadeTree", swiftSettings: strict),
        tests("System", ["System", "MadeTree"]),
        .target(
            name: "AcceleratorDouble", dependencies: ["Memory", "System"], path: "Tests/AcceleratorDouble",
            exclude: ["cuda.c"], swiftSettings: strict),
        tests("Memory", ["AcceleratorDouble", "Memory", "System", "MadeTree"]),
        tests("Digests", ["Digests", "Artifacts"]),
        .target(name: "MadeCertificates", path: "Tests/MadeCertificates", swiftSettings: strict),
        tests("TLS", ["MadeCertificates", "TLS", "System"]),
        tests(
            "Transport",
            [
                "Transport", "TransportTCP", "TransportLocal", "TransportSimulated", "TransportVerbs", "VerbsDouble",
                "Rails", "System", "AcceleratorDouble", "Memory", "MadeCertificates", "TLS",
            ]
        ),
        .target(
            name: "VerbsDouble", dependencies: ["Verbs", "CVerbs", "System"], path: "Tests/VerbsDouble",
            swiftSettings: strict),
        tests("Verbs", ["Verbs", "VerbsDouble", "CVerbs", "System"]),
        .executableTarget(
            name: "rdma-hostile", dependencies: ["TransportVerbs", "Transport", "Verbs", "System", "Artifacts"],
            path: "Tests/HostileReader", swiftSettings: strict),
        tests("Storage", ["Storage", "Workers", "System"]),
        .target(
            name: "EchoService", dependencies: ["RPC", "Protobuf"], path: "Tests/EchoService",
            swiftSettings: strict),
        .executableTarget(
            name: "rpc-echo", dependencies: ["EchoService"], path: "Tests/EchoProgram",
            swiftSettings: strict),
        tests("Identity", ["Identity", "System"]),
        tests("RPC", ["RPC", "Protobuf", "ControlAPI", "EchoService", "rpc-echo"]),
        tests("Origins", ["HTTP", "Origins", "Digests", "Artifacts"]),
        tests("Configuration", ["Configuration", "Observability", "HTTP", "System"]),
        tests(
            "CLI",
            [
                "AcceleratorDouble", "CLI", "Configuration", "Memory", "Observability", "System", "TransportVerbs",
                "Verbs", "VerbsDouble",
            ]),
        tests(
            "Services",
            [
                "SchedulerService", "ManagerService", "PeerService", "ControlAPI", "Scheduling", "Registry", "Identity",
                "System",
            ]),
        tests("Bandwidth", ["Bandwidth", "Observability", "System", "Transport"]),
        tests("Engine", ["Engine", "PeerService", "TransportVerbs", "System"]),
        tests("Tidy", []),

        // Every parser of strangers' bytes, and what hands them made-up input.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "Artifacts", "Configuration", "ControlAPI", "Digests", "HTTP", "Origins", "Protobuf", "RPC", "Rails",
                "Storage", "Swarm", "System", "Transport", "TransportLocal", "TransportTCP", "TransportVerbs",
            ], path: "Tests/Fuzz/Targets", swiftSettings: strict),
        .executableTarget(
            name: "martlet-fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Program", swiftSettings: strict),
        tests("Fuzz", ["FuzzTargets", "martlet-fuzz"]),
    ]
)
