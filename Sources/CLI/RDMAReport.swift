import Glibc
import Observability
import System
import TransportVerbs
import Verbs

/// What `martlet info` says of RDMA: what was looked for, what each port can do, and what stands in the way.
struct RDMAReport: Sendable {
    /// One port, with what was found out by trying.
    struct Port: Sendable {
        let port: VerbsPort
        /// What the device enforces of leases; nil where that could not be tried.
        var lease: LeaseEnforcement?
        /// Why it could not be tried, or the device cannot be given pages of files; nil where both went well.
        var objection: String?

        /// Whether a peer could use it, but for the memlock limit.
        var isUsable: Bool { port.isUsable && objection == nil && lease?.mechanism != nil }

        /// Why not; nil where it could.
        var whyNot: String? {
            if let objection = port.objection?.sentence ?? objection { return objection }
            guard let lease, lease.mechanism == nil else { return nil }
            return "\(port.device) cannot keep a reader to its lease (\(lease))"
        }
    }

    /// Why nothing could be asked: no library, no support in the kernel; nil where something could.
    var absence: String?
    /// Whether libibverbs is there.
    var hasLibrary = false
    var ports: [Port] = []
    /// How much may be pinned, and how much a peer of this configuration would pin with each port.
    var memoryLock = MemoryLockLimit(limitBytes: nil, isLifted: false, pinnedBytes: 0)
    var slotsBytes: UInt64 = 0

    /// Looks at this machine, and tries on each usable port what its device enforces. Blocks for some tens of
    /// milliseconds a port.
    static func ofThisMachine(gid: GIDSelection, slotsBytes: UInt64) -> RDMAReport {
        // As far as a peer would raise it.
        _ = try? ResourceLimit.lockedMemory.raise()
        do throws(VerbsError) {
            return of(try VerbsLibrary.load(), gid: gid, slotsBytes: slotsBytes, memoryLock: .current())
        } catch {
            return RDMAReport(absence: error.description, memoryLock: .current(), slotsBytes: slotsBytes)
        }
    }

    /// What is to be said of a library's devices.
    static func of(
        _ library: VerbsLibrary, gid: GIDSelection, slotsBytes: UInt64, memoryLock: MemoryLockLimit
    ) -> RDMAReport {
        var report = RDMAReport(hasLibrary: true, memoryLock: memoryLock, slotsBytes: slotsBytes)
        do throws(VerbsError) {
            report.ports = try VerbsPort.all(library, gid: gid).map { tried($0, library) }
        } catch {
            report.absence = error.description
        }
        return report
    }

    private static func tried(_ port: VerbsPort, _ library: VerbsLibrary) -> Port {
        guard port.isUsable else { return Port(port: port) }
        do throws(VerbsError) {
            let lease = try port.probeLeases(library)
            // Any file will do, and this one is there: the program itself.
            let program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
            guard program >= 0 else { return Port(port: port, lease: lease) }
            defer { close(program) }
            do throws(VerbsError) {
                try port.probeFile(program, library)
            } catch {
                return Port(port: port, lease: lease, objection: error.description)
            }
            return Port(port: port, lease: lease)
        } catch {
            return Port(port: port, objection: error.description)
        }
    }

    /// What was found of a port; nil where libibverbs does not show it.
    func port(_ device: String, _ number: Int) -> Port? {
        ports.first { $0.port.device == device && $0.port.number == number }
    }

    /// Why a peer could not pin its slots; nil when it could.
    var memoryLockObjection: String? {
        let device = ports.first { $0.isUsable }?.port.device ?? "an RDMA device"
        return memoryLock.objection(toPinning: slotsBytes + 2 << 20, on: device)?.sentence
    }

    /// Whether a peer would use RDMA here, and what over or why not.
    var transport: MachineReport.Transport {
        func unavailable(_ reason: String) -> MachineReport.Transport {
            MachineReport.Transport(name: "rdma", isAvailable: false, reason: reason)
        }
        if let absence { return unavailable(absence) }
        guard !ports.isEmpty else { return unavailable("libibverbs finds no device") }
        let usable = ports.filter(\.isUsable)
        guard !usable.isEmpty else { return unavailable(ports.compactMap(\.whyNot).joined(separator: "; ")) }
        if let memoryLockObjection { return unavailable(memoryLockObjection) }
        let shown = usable.map { entry in
            let place = [entry.port.gid?.networkDevice, entry.port.gid?.gid.description].compactMap { $0 }
            return place.isEmpty ? entry.port.name : "\(entry.port.name) (\(place.joined(separator: " ")))"
        }
        return MachineReport.Transport(
            name: "rdma", isAvailable: true, reason: "over \(shown.joined(separator: ", "))")
    }

    /// Findings below the table of devices, a line each.
    var findings: [String] {
        var lines: [String] = []
        for entry in ports {
            if let lease = entry.lease { lines.append("\(entry.port.name): \(lease)") }
            if entry.isUsable { lines.append("\(entry.port.name): files are read where they lie in the page cache") }
            if let why = entry.whyNot { lines.append("\(entry.port.name): not used: \(why)") }
        }
        return lines
    }

    /// The remedy for a limit on locked memory that is too low for a peer; empty where it is not.
    var memoryLockAdvice: String {
        guard let limit = memoryLock.limitBytes, limit < max(slotsBytes, 1 << 30) else { return "" }
        if memoryLock.isLifted { return "; no hindrance: this process has CAP_IPC_LOCK" }
        return "; slots beyond it are not pinned, and RDMA cannot use them: raise it (ulimit -l unlimited, "
            + "LimitMEMLOCK=infinity, docker --ulimit memlock=-1; an added IPC_LOCK capability helps root alone)"
    }
}

extension RDMAReport.Port {
    /// The fields of a port that libibverbs knows.
    var json: [(String, JSONValue)] {
        [
            ("usable", .bool(isUsable)), ("why_not", .optional(whyNot)),
            ("mtu_bytes", .count(port.state?.activeMTU.bytes)),
            ("gid", .optional(port.gid?.gid.description)), ("gid_index", .count(port.gid?.index)),
            ("gid_kind", .optional(port.gid?.kind.rawValue)),
            ("gid_network_device", .optional(port.gid?.networkDevice)),
            ("lease", lease.map(RDMAReport.Port.json) ?? .null),
        ]
    }

    private static func json(_ lease: LeaseEnforcement) -> JSONValue {
        [
            "mechanism": .optional(lease.mechanism?.rawValue), "windows": lease.windows.map(json) ?? .null,
            "windows_absence": lease.windowsAbsence.isEmpty ? .null : .string(lease.windowsAbsence),
            "regions": json(lease.regions),
        ]
    }

    private static func json(_ found: LeaseEnforcement.Enforcement) -> JSONValue {
        [
            "binds_to_reader": .bool(found.bindsToReader), "refuses_writes": .bool(found.refusesWrites),
            "bounds_range": .bool(found.boundsRange), "revokes": .bool(found.revokes),
        ]
    }
}
