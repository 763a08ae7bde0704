/// Finds out what a device enforces of a lease, by breaking leases over loop-back connections and looking at what
/// happens.
///
/// Every break is tried on a queue pair of its own, since being refused ends a connection, and counts as refused only
/// when the serving side says so: a lost packet proves nothing. A control READ that must succeed comes first.
public enum LeaseProbe {
    /// Probes a port that is active. Blocks: some milliseconds as a rule, at most about a minute on a device that
    /// answers nothing. Uses some 64 KiB of memory and gives everything back.
    ///
    /// `gid`: the address to send from; nil on InfiniBand without one. Throws `unreachable` when the port cannot reach
    /// itself, and what the device throws when it has no resources left.
    public static func run(
        _ device: borrowing Device, port: PortAttributes, gid: GIDEntry?
    ) throws(VerbsError) -> LeaseEnforcement {
        guard port.isActive else {
            throw VerbsError(
                .notActive, "\(device.name) port \(port.number) is \(port.state.rawValue); check its cable or interface"
            )
        }
        let bench = try ProbeBench(device, port: port, gid: gid)
        let regions = try regions(device, bench)
        do {
            let windows = try windows(device, bench)
            return LeaseEnforcement(windows: windows, regions: regions)
        } catch  where error.code == .unsupported || error.code == .exhausted || error.code == .invalid {
            return LeaseEnforcement(windows: nil, windowsAbsence: error.description, regions: regions)
        }
    }

    /// An exact read-only region, in a protection domain of one reader.
    private static func regions(
        _ device: borrowing Device, _ bench: borrowing ProbeBench
    ) throws(VerbsError) -> LeaseEnforcement.Enforcement {
        let domain = try ProtectionDomain(device)
        let other = try ProtectionDomain(device)
        let base = bench.source.base + ProbeMemory.leaseOffset
        let region = try MemoryRegion(
            in: domain, base: base, lengthBytes: ProbeMemory.leaseBytes, access: .remoteRead)
        let key = region.remoteKey

        let control = try bench.attempt(.read(offset: 0, key: key), servedBy: bench.connect(in: domain))
        guard control == .success else { throw bench.unreachable(control) }
        let stolen = try bench.attempt(.read(offset: 0, key: key), servedBy: bench.connect(in: other))
        let write = try bench.attempt(.write(offset: 0, key: key), servedBy: bench.connect(in: domain))
        let isUnchanged = bench.source.isUnchanged
        var boundsRange = true
        for offset in ProbeMemory.outsideOffsets {
            let outside = try bench.attempt(.read(offset: offset, key: key), servedBy: bench.connect(in: domain))
            boundsRange = boundsRange && outside.isRefusal
        }
        try region.close()
        let late = try bench.attempt(.read(offset: 0, key: key), servedBy: bench.connect(in: domain))
        return .init(
            bindsToReader: stolen.isRefusal, refusesWrites: write.isRefusal && isUnchanged,
            boundsRange: boundsRange, revokes: late.isRefusal)
    }

    /// A window on a larger region, bound to one reader's serving queue pair.
    private static func windows(
        _ device: borrowing Device, _ bench: borrowing ProbeBench
    ) throws(VerbsError) -> LeaseEnforcement.Enforcement {
        let domain = try ProtectionDomain(device)
        let region = try MemoryRegion(
            in: domain, base: bench.source.base, lengthBytes: ProbeMemory.lengthBytes,
            access: [.localWrite, .windowBind])

        // Each try has a window of its own, bound to the serving queue pair that it is made on.
        let control = try bench.onWindow(domain, region) { (pair, key, bench) throws(VerbsError) in
            try bench.attempt(.read(offset: 0, key: key), servedBy: pair)
        }
        guard control == .success else {
            throw VerbsError(.unsupported, "a READ through a bound window ended with \(control)")
        }
        let stolen = try bench.onWindow(domain, region) { (_, key, bench) throws(VerbsError) in
            try bench.attempt(.read(offset: 0, key: key), servedBy: bench.connect(in: domain))
        }
        let write = try bench.onWindow(domain, region) { (pair, key, bench) throws(VerbsError) in
            try bench.attempt(.write(offset: 0, key: key), servedBy: pair)
        }
        let isUnchanged = bench.source.isUnchanged
        var boundsRange = true
        for offset in ProbeMemory.outsideOffsets {
            let outside = try bench.onWindow(domain, region) { (pair, key, bench) throws(VerbsError) in
                try bench.attempt(.read(offset: offset, key: key), servedBy: pair)
            }
            boundsRange = boundsRange && outside.isRefusal
        }
        let late = try bench.onWindow(domain, region) { (pair, key, bench) throws(VerbsError) in
            let revoked = try bench.post(on: pair.server) {
                $0.appendInvalidate(remoteKey: key, id: $1, isSignaled: true)
            }
            return revoked == .success ? try bench.attempt(.read(offset: 0, key: key), servedBy: pair) : .success
        }
        return .init(
            bindsToReader: stolen.isRefusal, refusesWrites: write.isRefusal && isUnchanged,
            boundsRange: boundsRange, revokes: late.isRefusal)
    }
}

extension CompletionStatus {
    /// Whether the other end said no. Silence (retries exceeded) is no answer.
    fileprivate var isRefusal: Bool {
        switch self {
        case .remoteAccess, .remoteInvalidRequest, .remoteOperation: true
        default: false
        }
    }
}
