import Configuration
import Observability
import System
import TransportVerbs
import Verbs

/// The RDMA ports that a host's pieces shall travel over: found out before its memory is placed near them.
struct RDMAPorts {
    /// Rails over RDMA at most: eight NICs with two ports each.
    static let portsMax = 16
    /// A table of addresses fills some time after its device appears.
    private static let patienceNs: UInt64 = 3_000_000_000

    let library: VerbsLibrary
    /// Each is usable.
    let ports: [VerbsPort]

    /// The ports the configuration asks for; nil where it asks for none, or leaves the choice and there is none, which
    /// is then said in the log.
    ///
    /// Blocks for some milliseconds; for seconds while an active port has no address yet.
    /// - Throws: `.conflict` where RDMA is demanded, or a port of it, and cannot be had.
    static func find(_ configuration: Configuration, log: Logger) throws(ConfigurationError) -> RDMAPorts? {
        let choice = configuration[Schema.Peer.transport]
        guard choice == .auto || choice == .rdma else { return nil }
        let wanted = configuration[Schema.Peer.rdmaDevices]
        let found: (library: VerbsLibrary, ports: [VerbsPort])
        do throws(VerbsError) {
            found = try look(configuration, for: wanted)
        } catch {
            return try nothing(choice, [error.description], log)
        }
        let ports = found.ports
        guard !ports.isEmpty || !wanted.isEmpty else {
            return try nothing(
                choice,
                [
                    "there is no RDMA device; load the NIC's driver, or make a soft one "
                        + "(modprobe rdma_rxe; rdma link add rxe0 type rxe netdev …)"
                ], log)
        }
        let chosen = choose(wanted, from: ports)
        let usable = Array(chosen.ports.prefix(portsMax))
        guard !usable.isEmpty, choice == .auto || wanted.isEmpty || chosen.objections.isEmpty else {
            return try nothing(choice, chosen.objections, log)
        }
        if !chosen.objections.isEmpty {
            log.info("not every RDMA port is used", ["reason": .text(chosen.objections.joined(separator: "; "))])
        }
        return RDMAPorts(library: found.library, ports: usable)
    }

    /// Those of the ports that are wanted and usable, and why the others are not.
    static func choose(_ wanted: [RDMAPortName], from ports: [VerbsPort]) -> (ports: [VerbsPort], objections: [String])
    {
        guard !wanted.isEmpty else {
            return (ports.filter(\.isUsable), ports.compactMap { $0.objection?.sentence })
        }
        var chosen: [VerbsPort] = []
        var objections: [String] = []
        for name in wanted {
            let own = ports.filter { $0.device == name.device && (name.port == nil || $0.number == name.port) }
            let usable = own.filter(\.isUsable)
            for port in usable where !chosen.contains(port) { chosen.append(port) }
            guard usable.isEmpty else { continue }
            let present = Set(ports.map(\.device)).sorted().joined(separator: ", ")
            objections += own.compactMap { $0.objection?.sentence }
            if own.isEmpty {
                objections.append("there is no RDMA device \(name); there is \(present.isEmpty ? "none" : present)")
            }
        }
        return (chosen, objections)
    }

    private static func look(_ configuration: Configuration, for wanted: [RDMAPortName]) throws(VerbsError) -> (
        VerbsLibrary, [VerbsPort]
    ) {
        let library = try VerbsLibrary.load()
        let untilNs = MonotonicClock.nowNs() + patienceNs
        while true {
            let ports = try VerbsPort.all(library, gid: GIDSelection(configuration))
            let asked = ports.filter { port in
                wanted.isEmpty
                    || wanted.contains { $0.device == port.device && ($0.port ?? port.number) == port.number }
            }
            let mayGetBetter = asked.contains { $0.objection?.mayPass == true }
            if !mayGetBetter || MonotonicClock.nowNs() >= untilNs { return (library, ports) }
            MonotonicClock.sleep(ns: 50_000_000)
        }
    }

    private static func nothing(
        _ choice: Schema.Peer.TransportChoice, _ objections: [String], _ log: Logger
    ) throws(ConfigurationError) -> RDMAPorts? {
        let reason = objections.joined(separator: "; ")
        if choice == .rdma { throw .noRDMA(reason) }
        log.info("no rdma transport", ["reason": .text(reason)])
        return nil
    }
}

extension ConfigurationError {
    /// RDMA is demanded and cannot be had.
    static func noRDMA(_ reason: String) -> ConfigurationError {
        ConfigurationError(.conflict, "peer.transport = rdma, but \(reason); with auto, other transports are used")
    }
}

extension GIDSelection {
    /// As the configuration says.
    init(_ configuration: Configuration) {
        self = configuration[Schema.Peer.rdmaGIDIndex].map { .index($0) } ?? .automatic
    }
}
