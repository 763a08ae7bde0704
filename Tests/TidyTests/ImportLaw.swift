/// Which room may know which: the arrows of the architecture, one line a room.
///
/// A room may import what is named here and nothing else; to add an arrow, add it here and say why in the change.
enum ImportLaw {
    /// Decisions: the standard library and each other, downwards. No clock, socket, lock or thread can get in.
    static let pureCore: Set<String> = ["Artifacts", "Swarm", "Scheduling", "Registry", "Simulation"]

    /// What any room outside the pure core may use of the toolchain. Foundation is not among them: it doubles the
    /// program's size and start-up time.
    static let toolchain: Set<String> = ["Swift", "Synchronization", "Glibc", "Dispatch"]

    /// The C modules: only the room named may touch them.
    static let shims: [String: String] = [
        "CLinux": "System", "CDigest": "Digests", "CGRPC": "RPC", "CCurl": "HTTP", "CHTTPServer": "HTTP",
        "CSQLite": "ManagerService", "CCrypto": "Identity", "CVerbs": "Verbs", "CAccel": "Memory", "CTLS": "TLS",
    ]

    /// Arrows between our own rooms.
    static let arrows: [String: Set<String>] = [
        // Pure core.
        "Artifacts": [],
        "Swarm": ["Artifacts"],
        "Scheduling": ["Artifacts"],
        "Registry": ["Artifacts"],
        // Whole fleets of the above in virtual time: as free of clocks and threads as they are.
        "Simulation": ["Swarm", "Scheduling", "Artifacts"],
        // Movers.
        "System": [],
        "Memory": ["System"],
        "Digests": ["Artifacts"],
        // On sockets that others own: the links' secured connections.
        "TLS": [],
        "Transport": ["Memory", "TLS", "Artifacts", "System"],
        "Verbs": ["System"],
        "TransportVerbs": ["Transport", "TLS", "Verbs", "System", "Memory", "Artifacts"],
        "TransportTCP": ["Transport", "TLS", "System", "Memory", "Artifacts"],
        "TransportLocal": ["Transport", "System", "Memory", "Artifacts"],
        "TransportSimulated": ["Transport", "System", "Memory", "Artifacts"],
        "Storage": ["Memory", "System", "Digests", "Artifacts"],
        "Rails": ["Transport", "Swarm", "System", "Memory", "Artifacts"],
        "Workers": ["Digests", "Storage", "System", "Artifacts"],
        // Interpreter.
        "Engine": [
            "Swarm", "Rails", "Workers", "Storage", "Memory", "Digests", "Transport", "System", "Artifacts",
        ],
        // Rim.
        "Protobuf": [],
        "RPC": ["Protobuf"],
        // Keys, certificates and tokens: small files and no network but one handshake.
        "Identity": ["System"],
        // Who may call what is decided where calls are defined.
        "ControlAPI": ["RPC", "Protobuf", "Artifacts", "Identity", "System", "Observability"],
        "HTTP": [],
        "Origins": ["HTTP", "Memory", "Digests", "Artifacts"],
        "Observability": ["HTTP", "System"],
        "Configuration": ["System", "Artifacts"],
        "SchedulerService": [
            "ControlAPI", "RPC", "Identity", "Scheduling", "Configuration", "Observability", "Digests", "System",
            "Artifacts",
        ],
        // Scheduling: the table of settings that schedulers know, against which changes are checked.
        "ManagerService": [
            "ControlAPI", "RPC", "Registry", "Scheduling", "Identity", "Configuration", "Observability", "System",
            "Artifacts",
        ],
        "PeerService": [
            "Engine", "ControlAPI", "Identity", "RPC", "Origins", "HTTP", "TransportVerbs", "Verbs", "TransportTCP",
            "TransportLocal",
            "Transport", "TLS", "Rails", "Workers",
            "Storage", "Memory", "Digests", "Swarm", "Configuration", "Observability", "System", "Artifacts",
        ],
        // Measures what the movers reach, and says what holds them back.
        "Bandwidth": [
            "Rails", "Workers", "Digests", "Swarm", "Transport", "TransportTCP", "TransportLocal", "TransportVerbs",
            "Verbs", "Observability", "System", "Artifacts",
        ],
        "CLI": [
            "Bandwidth", "Identity",
            "PeerService", "SchedulerService", "ManagerService", "Configuration", "Observability",
            "ControlAPI", "RPC", "HTTP",
            "System", "Memory", "Storage", "Origins", "Transport", "TransportVerbs", "Verbs", "Artifacts",
            "Simulation",
        ],
        "martlet": ["CLI"],
    ]

    /// Why a room may not import a module; nil when it may.
    static func objection(to module: String, in room: String) -> String? {
        guard let allowed = arrows[room] else {
            return "\(room) is not in the table of arrows; add it with what it may know"
        }
        if allowed.contains(module) { return nil }
        if let owner = shims[module] {
            return owner == room
                ? nil : "\(module) is the business of \(owner) alone; use what \(owner) exports"
        }
        if toolchain.contains(module), !pureCore.contains(room) { return nil }
        if pureCore.contains(room) {
            return
                "\(room) decides and nothing else: it may know the standard library and \(allowed.sorted())"
        }
        return "there is no arrow from \(room) to \(module)"
    }
}
