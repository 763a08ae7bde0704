import CVerbs

/// What belongs together on a device: a queue pair reaches the regions and windows of its own domain alone.
public struct ProtectionDomain: ~Copyable, Sendable {
    let handle: Handle<ibv_pd>
    let calls: VerbsCalls
    let deviceName: String

    /// Makes one (ibv_alloc_pd(3)).
    public init(_ device: borrowing Device) throws(VerbsError) {
        guard let raw = device.calls.table.alloc_pd(device.handle.raw) else {
            throw VerbsError.failed(
                "cannot make a protection domain on \(device.name)", "ibv_alloc_pd", errno: martlet_verbs_errno())
        }
        let calls = device.calls
        self.calls = calls
        deviceName = device.name
        handle = Handle(
            raw, name: "a protection domain of \(device.name)", parents: [device.handle], call: "ibv_dealloc_pd"
        ) { calls.table.dealloc_pd($0) }
    }

    /// Releases it. Throws `invalid` while a queue pair, region or window of it is open: it is then released after
    /// that.
    public consuming func close() throws(VerbsError) { try handle.close() }
}
