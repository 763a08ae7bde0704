import System
import Transport
import Verbs

/// A port of an RDMA device as a rail would find it: what it is, the address it would send from, or why it cannot be
/// used.
public struct VerbsPort: Sendable, Hashable {
    /// Why a port cannot be used now.
    public struct Objection: Sendable, Hashable {
        /// What is wrong with which port, and what to do.
        public let sentence: String
        /// Whether it may be over in a moment: tables of addresses fill some time after a device appears.
        public let mayPass: Bool

        /// Describes what is wrong.
        public init(sentence: String, mayPass: Bool) {
            self.sentence = sentence
            self.mayPass = mayPass
        }
    }

    /// The device's name.
    public let device: String
    /// The port, counted from 1; 0 where the device could not be opened.
    public let number: Int
    /// How many ports the device has.
    public let portCount: Int
    /// What the device is; nil where it could not be opened.
    public let attributes: DeviceAttributes?
    /// The port's state; nil where it could not be asked.
    public let state: PortAttributes?
    /// The address a rail would send from; nil while there is none.
    public let gid: GIDEntry?
    /// Why it cannot be used; nil when it can.
    public let objection: Objection?

    /// Describes a port.
    public init(
        device: String, number: Int, portCount: Int = 1, attributes: DeviceAttributes? = nil,
        state: PortAttributes? = nil, gid: GIDEntry? = nil, objection: Objection? = nil
    ) {
        self.device = device
        self.number = number
        self.portCount = portCount
        self.attributes = attributes
        self.state = state
        self.gid = gid
        self.objection = objection
    }

    /// `mlx5_0`, or `mlx5_0-2` where the device has several ports.
    public var name: String { portCount > 1 ? "\(device)-\(number)" : device }

    /// Whether a rail can use it.
    public var isUsable: Bool { objection == nil }

    /// Looks at every port of every device. Opens each device for a moment; makes nothing on it.
    ///
    /// - Throws: `.noDevice` where the kernel has no RDMA support; an empty list: it has, but there is no device.
    public static func all(_ library: VerbsLibrary, gid choice: GIDSelection = .automatic) throws(VerbsError)
        -> [VerbsPort]
    {
        var ports: [VerbsPort] = []
        for device in try library.deviceNames() {
            guard device.wire == .infiniBand else {
                let sentence = "\(device.name) speaks \(device.wire.rawValue), not InfiniBand or RoCE; use tcp over it"
                ports.append(
                    VerbsPort(device: device.name, number: 0, objection: .init(sentence: sentence, mayPass: false)))
                continue
            }
            do throws(VerbsError) {
                ports += try all(of: library.open(device.name), choice)
            } catch {
                ports.append(
                    VerbsPort(
                        device: device.name, number: 0, objection: .init(sentence: error.description, mayPass: false)))
            }
        }
        return ports
    }

    private static func all(of device: borrowing Device, _ choice: GIDSelection) throws(VerbsError) -> [VerbsPort] {
        var ports: [VerbsPort] = []
        let count = max(1, device.attributes.portCount)
        for number in 1...count {
            let state = try device.port(number)
            var gid: GIDEntry?
            var objection: Objection?
            switch choice.choose(from: try device.gids(port: number)) {
            case .chosen(let entry), .provisional(let entry): gid = entry
            case .notYet(let why):
                objection = Objection(
                    sentence: "port \(number) of \(device.name) has \(why)", mayPass: state.isActive)
            }
            if !state.isActive {
                let sentence =
                    "port \(number) of \(device.name) is \(state.state.rawValue); check its cable or interface"
                objection = Objection(sentence: sentence, mayPass: false)
            }
            ports.append(
                VerbsPort(
                    device: device.name, number: number, portCount: count, attributes: device.attributes, state: state,
                    gid: gid, objection: objection))
        }
        return ports
    }

    /// Finds out by trying what the port's device enforces of a lease. Blocks for some tens of milliseconds.
    public func probeLeases(_ library: VerbsLibrary) throws(VerbsError) -> LeaseEnforcement {
        guard let state else {
            throw VerbsError(.invalid, "\(device) could not be opened: nothing can be tried on it")
        }
        return try LeaseProbe.run(try library.open(device), port: state, gid: gid)
    }

    /// Finds out by trying whether a file's pages can be registered, so that pieces are read where they lie: not every
    /// file system and kernel lets a device have them. The file has at least one byte.
    ///
    /// - Throws: why not, with what to do.
    public func probeFile(_ descriptor: CInt, _ library: VerbsLibrary) throws(VerbsError) {
        let mapping: FileMapping
        do throws(Errno) {
            mapping = try FileMapping(descriptor, offset: 0, lengthBytes: 1, isPopulated: true)
        } catch {
            throw VerbsError(.unsupported, "cannot map a file to register it with \(device)", cause: error)
        }
        try register(mapping, library)
    }

    /// Finds out by trying whether the port's device takes another's memory by its DMA-buf.
    ///
    /// - Returns: why not, with what to do; nil when it does.
    public func objection(
        toDMABuf descriptor: CInt, deviceAddress: UInt64, lengthBytes: Int, _ library: VerbsLibrary
    ) -> VerbsError? {
        do throws(VerbsError) {
            let domain = try ProtectionDomain(try library.open(device))
            let region = try MemoryRegion(
                in: domain, dmaBuf: descriptor, offsetBytes: 0, lengthBytes: lengthBytes, virtualAddress: deviceAddress,
                access: .localWrite)
            try region.close()
            return nil
        } catch {
            return error
        }
    }

    private func register(_ mapping: borrowing FileMapping, _ library: VerbsLibrary) throws(VerbsError) {
        let domain = try ProtectionDomain(try library.open(device))
        do throws(VerbsError) {
            let region = try MemoryRegion(
                in: domain, base: UnsafeMutableRawPointer(mutating: mapping.base), lengthBytes: mapping.lengthBytes,
                access: .remoteRead)
            try region.close()
        } catch {
            guard error.code == .invalid || error.code == .denied || error.code == .unsupported else { throw error }
            throw VerbsError(
                .unsupported,
                "\(device) cannot be given pages of files here: use a newer kernel (6.2), or keep peer.data_dir on another file system",
                cause: error.cause)
        }
    }
}
