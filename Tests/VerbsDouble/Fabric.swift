import CVerbs
import Glibc
import Synchronization
import System
import Verbs

/// Every device of a double and everything opened on them. Its members are used under its lock.
final class Fabric: @unchecked Sendable {
    // Safety: everything that changes is read and written inside `locked`.
    private let lock = Mutex<Void>(())
    private var devices: [Device] = []
    /// Devices that were pulled out while something was open on them.
    private var removed: [Device] = []
    var contexts: [UnsafeMutablePointer<ibv_context>: Context] = [:]
    var domains: [UnsafeMutablePointer<ibv_pd>: Domain] = [:]
    var channels: [UnsafeMutablePointer<ibv_comp_channel>: Channel] = [:]
    var queues: [UnsafeMutablePointer<ibv_cq>: Queue] = [:]
    var pairs: [UInt32: Pair] = [:]
    /// By index: the upper 24 bits of their keys.
    var regions: [UInt32: Region] = [:]
    var windows: [UInt32: Window] = [:]
    private var lastNumber: UInt32 = 16
    private var lastIndex: UInt32 = 0

    func locked<Result>(_ body: () -> Result) -> Result { lock.withLock { _ in body() } }

    func nextNumber() -> UInt32 {
        lastNumber += 1
        return lastNumber
    }

    func nextIndex() -> UInt32 {
        lastIndex += 1
        return lastIndex
    }

    // MARK: Devices

    func plug(_ settings: DoubleDevice) {
        precondition(device(settings.name) == nil, "there is a device \(settings.name)")
        devices.append(Device(settings, self))
    }

    func unplug(_ name: String) {
        guard let device = device(name) else { return }
        devices.removeAll { $0 === device }
        removed.append(device)
        device.isRemoved = true
        device.announce(IBV_EVENT_DEVICE_FATAL)
        for pair in pairs(of: device) { fail(pair) }
    }

    func device(_ name: String) -> Device? { devices.first { $0.settings.name == name } }

    /// Those of a name, pulled out ones included.
    func all(_ name: String) -> [Device] { (devices + removed).filter { $0.settings.name == name } }

    var present: [Device] { devices }

    func pairs(of name: String) -> [Pair] { all(name).flatMap { pairs(of: $0) } }

    func pairs(of device: Device) -> [Pair] {
        pairs.values.filter { $0.device === device }.sorted { $0.number < $1.number }
    }

    func census(_ name: String) -> VerbsDouble.Census {
        var sum = VerbsDouble.Census()
        for device in all(name) {
            sum.contexts += contexts.values.count { $0.device === device }
            sum.domains += domains.values.count { $0.context.device === device }
            sum.queues += queues.values.count { $0.context.device === device }
            sum.pairs += pairs.values.count { $0.device === device }
            sum.regions += regions.values.count { $0.domain.context.device === device }
            sum.windows += windows.values.count { $0.domain.context.device === device }
            sum.doorbells += device.doorbells
            sum.requests += device.requests
            sum.bytesRead += device.bytesRead
            sum.forgotten += device.forgotten
            sum.overruns += device.overruns
        }
        return sum
    }

    /// The device's wish that a call fail, if there is one: its error number.
    func refusal(_ call: VerbsDouble.Call, _ device: Device) -> CInt? {
        if device.isRemoved, call != .destroyPair, call != .poll { return EIO }
        guard var wishes = device.failures[call], !wishes.isEmpty else { return nil }
        if wishes[0].skip > 0 {
            wishes[0].skip -= 1
            device.failures[call] = wishes
            return nil
        }
        let number = wishes[0].errorNumber
        wishes[0].times -= 1
        if wishes[0].times == 0 { wishes.removeFirst() }
        device.failures[call] = wishes
        return number
    }
}

/// A call that is to fail: after how many, how often, how.
struct Failure {
    var skip: Int
    var times: Int
    let errorNumber: CInt
}

/// A device on the fabric.
final class Device {
    let settings: DoubleDevice
    unowned let fabric: Fabric
    /// What the list shows; as long as the double lives.
    let raw: UnsafeMutablePointer<ibv_device>
    private let name: UnsafeMutablePointer<CChar>
    var gids: [GIDEntry]
    var isUp: Bool
    var isSilent = false
    var isRemoved = false
    var isHolding = false
    var keepsQueuePairs = false
    var failures: [VerbsDouble.Call: [Failure]] = [:]
    var partialPosts: [(taken: Int, errorNumber: CInt)] = []
    var doorbells = 0
    var requests = 0
    var bytesRead = 0
    var forgotten = 0
    var overruns = 0

    init(_ settings: DoubleDevice, _ fabric: Fabric) {
        self.settings = settings
        self.fabric = fabric
        gids = settings.gids
        isUp = settings.isUp
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_device())
        raw.pointee.node_type = IBV_NODE_CA
        raw.pointee.transport_type = IBV_TRANSPORT_IB
        let bytes = Array(settings.name.utf8CString)
        name = .allocate(capacity: bytes.count)
        name.initialize(from: bytes, count: bytes.count)
    }

    deinit {
        raw.deallocate()
        name.deallocate()
    }

    var rawName: UnsafePointer<CChar> { UnsafePointer(name) }

    /// Tells everybody who has the device open about its port, or itself.
    func announce(_ type: ibv_event_type) {
        var event = ibv_async_event()
        event.event_type = type
        martlet_event_set_port(&event, 1)
        for context in fabric.contexts.values where context.device === self { context.push(event) }
    }
}

/// An opened device.
final class Context {
    let device: Device
    let fabric: Fabric
    let raw: UnsafeMutablePointer<ibv_context>
    private let counter: EventCounter
    private var events: [ibv_async_event] = []
    var unacknowledged = 0

    init(_ device: Device, _ fabric: Fabric) {
        self.device = device
        self.fabric = fabric
        counter = Self.makeCounter()
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_context())
        raw.pointee.device = device.raw
        raw.pointee.async_fd = counter.raw
        raw.pointee.cmd_fd = -1
        raw.pointee.num_comp_vectors = 1
        // Safety: the context's entry in the fabric is removed before the fabric's owner lets go of it.
        raw.pointee.abi_compat = Unmanaged.passUnretained(fabric).toOpaque()
        DoubleTable.setOperations(raw)
    }

    deinit { raw.deallocate() }

    static func makeCounter() -> EventCounter {
        do { return try EventCounter() } catch { preconditionFailure("no descriptor left for the double: \(error)") }
    }

    func push(_ event: ibv_async_event) {
        events.append(event)
        counter.signal()
    }

    func pop() -> ibv_async_event? {
        guard !events.isEmpty else { return nil }
        let event = events.removeFirst()
        if events.isEmpty { counter.clear() }
        unacknowledged += 1
        return event
    }
}

/// A protection domain.
final class Domain {
    let context: Context
    let raw: UnsafeMutablePointer<ibv_pd>

    init(_ context: Context) {
        self.context = context
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_pd())
        raw.pointee.context = context.raw
    }

    deinit { raw.deallocate() }
}

/// Registered memory.
final class Region {
    let domain: Domain
    let raw: UnsafeMutablePointer<ibv_mr>
    let access: UInt32
    let key: UInt32
    let begin: UInt64
    let lengthBytes: UInt64
    /// Where the bytes are in this process.
    private let base: UnsafeMutableRawPointer
    /// What a DMA-buf is mapped as; nil for memory of the process.
    private let mapping: UnsafeMutableRawBufferPointer?

    /// `address`: what requests name the first byte by.
    init(
        _ domain: Domain, _ base: UnsafeMutableRawPointer, _ lengthBytes: Int, _ access: UInt32, index: UInt32,
        address: UInt64, mapping: UnsafeMutableRawBufferPointer? = nil
    ) {
        self.domain = domain
        self.access = access
        key = index << 8 | 0x5A
        begin = address
        self.lengthBytes = UInt64(lengthBytes)
        self.base = base
        self.mapping = mapping
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_mr())
        raw.pointee.context = domain.context.raw
        raw.pointee.pd = domain.raw
        raw.pointee.addr = base
        raw.pointee.length = lengthBytes
        raw.pointee.lkey = key
        raw.pointee.rkey = key
    }

    deinit {
        raw.deallocate()
        if let mapping { munmap(mapping.baseAddress, mapping.count) }
    }

    /// Where a byte that it holds is in this process.
    func place(of address: UInt64) -> UnsafeMutableRawPointer { base + Int(address - begin) }

    func holds(_ address: UInt64, _ length: UInt64) -> Bool {
        address >= begin && length <= lengthBytes && address - begin <= lengthBytes - length
    }
}

/// A type-2 window.
final class Window {
    let domain: Domain
    let raw: UnsafeMutablePointer<ibv_mw>
    let index: UInt32
    var key: UInt32
    /// What it is bound to; nil: nothing.
    var binding: Binding?

    struct Binding {
        let pair: Pair
        let region: Region
        let begin: UInt64
        let lengthBytes: UInt64
        let access: UInt32
    }

    init(_ domain: Domain, index: UInt32) {
        self.domain = domain
        self.index = index
        key = index << 8
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_mw())
        raw.pointee.context = domain.context.raw
        raw.pointee.pd = domain.raw
        raw.pointee.rkey = key
        raw.pointee.type = IBV_MW_TYPE_2
    }

    deinit { raw.deallocate() }
}

/// A completion channel.
final class Channel {
    let context: Context
    let raw: UnsafeMutablePointer<ibv_comp_channel>
    private let counter: EventCounter
    private var events: [Queue] = []

    init(_ context: Context) {
        self.context = context
        counter = Context.makeCounter()
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_comp_channel())
        raw.pointee.context = context.raw
        raw.pointee.fd = counter.raw
    }

    deinit { raw.deallocate() }

    func push(_ queue: Queue) {
        events.append(queue)
        counter.signal()
    }

    func pop() -> Queue? {
        guard !events.isEmpty else { return nil }
        let queue = events.removeFirst()
        if events.isEmpty { counter.clear() }
        return queue
    }

    func forget(_ queue: Queue) {
        events.removeAll { $0 === queue }
        if events.isEmpty { counter.clear() }
    }
}

/// A completion queue.
final class Queue {
    let context: Context
    let channel: Channel?
    let raw: UnsafeMutablePointer<ibv_cq>
    let capacity: Int
    var entries: [(completion: ibv_wc, pair: Pair, sequence: Int)] = []
    var isArmed = false
    var isOverrun = false
    var unacknowledged = 0

    init(_ context: Context, _ channel: Channel?, capacity: Int) {
        self.context = context
        self.channel = channel
        self.capacity = capacity
        raw = .allocate(capacity: 1)
        raw.initialize(to: ibv_cq())
        raw.pointee.context = context.raw
        raw.pointee.channel = channel?.raw
        raw.pointee.cqe = CInt(capacity)
    }

    deinit { raw.deallocate() }

    func push(_ completion: ibv_wc, of pair: Pair, sequence: Int) {
        guard entries.count < capacity else {
            isOverrun = true
            context.device.overruns += 1
            var event = ibv_async_event()
            event.event_type = IBV_EVENT_CQ_ERR
            context.push(event)
            return
        }
        entries.append((completion, pair, sequence))
        if isArmed, let channel {
            isArmed = false
            channel.push(self)
        }
    }
}
