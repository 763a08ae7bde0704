import CVerbs

/// libibverbs, loaded at run time: the list of devices, and the way to open one.
///
/// Safe from any thread. Opened devices keep it alive.
public struct VerbsLibrary: Sendable {
    let calls: VerbsCalls

    /// Takes the calls from a table: a test's, in place of the library's.
    public init(table: martlet_verbs_table) { calls = VerbsCalls(table) }

    /// Loads libibverbs.so.1. Throws `noLibrary` with the remedy where it is missing or too old.
    public static func load() throws(VerbsError) -> VerbsLibrary {
        let table = UnsafeMutablePointer<martlet_verbs_table>.allocate(capacity: 1)
        defer { table.deallocate() }
        var why = [CChar](repeating: 0, count: 256)
        guard martlet_verbs_load(table, &why, why.count) == 0 else {
            let reason = String(decoding: why.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw VerbsError(
                .noLibrary,
                "cannot load libibverbs (\(reason)); install rdma-core 32 or newer (libibverbs1, ibverbs-providers)")
        }
        return VerbsLibrary(table: table.pointee)
    }

    /// An RDMA device as the library lists it, not opened.
    public struct DeviceDescription: Hashable, Sendable {
        /// How its packets travel.
        public enum Wire: String, Hashable, Sendable {
            /// InfiniBand or RoCE: the port's link layer tells which.
            case infiniBand
            /// iWARP, over TCP.
            case iWARP
            /// Something Martlet has no use for.
            case other
        }

        /// Its name, e.g. `mlx5_0`.
        public let name: String
        /// How its packets travel.
        public let wire: Wire
        /// The device's number in the world.
        public let guid: UInt64
    }

    /// The devices there are now. Throws `noDevice` where the kernel has no RDMA support; an empty list: it has, but
    /// there is no device (ibv_get_device_list(3)).
    public func deviceNames() throws(VerbsError) -> [DeviceDescription] {
        try withDevices { devices in
            devices.map { device in
                let wire: DeviceDescription.Wire =
                    switch device.pointee.transport_type {
                    case IBV_TRANSPORT_IB: .infiniBand
                    case IBV_TRANSPORT_IWARP: .iWARP
                    default: .other
                    }
                return DeviceDescription(
                    name: name(device), wire: wire,
                    guid: UInt64(bigEndian: UInt64(calls.table.get_device_guid(device))))
            }
        }
    }

    /// Opens a device by name. Throws `noDevice` with the names there are, or `denied`.
    public func open(_ name: String) throws(VerbsError) -> Device {
        var names: [String] = []
        let context = try withDevices { (devices) throws(VerbsError) -> UnsafeMutablePointer<ibv_context>? in
            names = devices.map { self.name($0) }
            guard let device = devices.first(where: { self.name($0) == name }) else { return nil }
            guard let context = calls.table.open_device(device) else {
                throw VerbsError.failed("cannot open \(name)", "ibv_open_device", errno: martlet_verbs_errno())
            }
            return context
        }
        guard let context else {
            let present = names.isEmpty ? "there is none" : "there are: \(names.joined(separator: ", "))"
            throw VerbsError(.noDevice, "there is no RDMA device \(name); \(present)")
        }
        return try Device(context, name: name, calls: calls)
    }

    private func withDevices<Result>(
        _ body: ([UnsafeMutablePointer<ibv_device>]) throws(VerbsError) -> Result
    ) throws(VerbsError) -> Result {
        var count: CInt = 0
        guard let list = calls.table.get_device_list(&count) else {
            let number = martlet_verbs_errno()
            if number == ENOSYS {
                throw VerbsError(
                    .noDevice, "the kernel has no RDMA support; load ib_uverbs and a driver (modprobe)",
                    cause: .init(number, "ibv_get_device_list"))
            }
            throw VerbsError.failed("cannot list RDMA devices", "ibv_get_device_list", errno: number)
        }
        defer { calls.table.free_device_list(list) }
        return try body((0..<Int(count)).compactMap { list[$0] })
    }

    private func name(_ device: UnsafeMutablePointer<ibv_device>) -> String {
        calls.table.get_device_name(device).map { String(cString: $0) } ?? ""
    }
}

/// The table of calls, shared by everything that was made through it.
final class VerbsCalls: @unchecked Sendable {
    // Safety: function pointers that never change.
    let table: martlet_verbs_table

    init(_ table: martlet_verbs_table) { self.table = table }
}
