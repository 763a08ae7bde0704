import CVerbs
import Synchronization

/// A device that a list shows.
struct Listed: @unchecked Sendable {
    // Safety: the device itself is used under its fabric's lock; its address and name never change.
    let device: Device

    init(_ device: Device) { self.device = device }
}

/// Which devices the lists that are out show: they live as long as a list does.
enum ListedDevices {
    private static let held = Mutex<[UInt: [Listed]]>([:])

    static func hold(_ devices: [Listed], for list: DeviceLists.List) {
        let place = UInt(bitPattern: list)
        held.withLock { $0[place] = devices }
    }

    static func drop(_ list: DeviceLists.List) {
        let place = UInt(bitPattern: list)
        held.withLock { $0[place] = nil }
    }

    static func device(_ raw: UnsafeMutablePointer<ibv_device>) -> Device? {
        let wanted = UInt(bitPattern: raw)
        return held.withLock { held in
            held.values.joined().first { UInt(bitPattern: $0.device.raw) == wanted }
        }?.device
    }
}
