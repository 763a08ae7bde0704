import CVerbs
import Synchronization
import Verbs

/// RDMA devices in this process, behind the same table as libibverbs: what a real device will not do on demand.
///
/// All devices of one double are on one fabric; queue pairs of different ones connect by number and address. READs
/// and WRITEs are copies, checked as a strict device checks them: keys, domains, access, ranges, states, sequence
/// numbers, depths. Requests are carried out as they are posted unless a script says otherwise. Everything may be
/// called from any thread; one lock holds the whole fabric. Lives until it and everything opened through it is gone.
public final class VerbsDouble: Sendable {
    /// The way in for what is under test.
    public let library: VerbsLibrary
    let fabric: Fabric
    private let slot: Int

    /// A fabric with devices.
    public init(_ devices: [DoubleDevice] = [DoubleDevice("double0", host: 1), DoubleDevice("double1", host: 2)]) {
        fabric = Fabric()
        slot = FabricSlots.take(fabric)
        library = VerbsLibrary(table: DoubleTable.make(slot: slot))
        for device in devices { add(device) }
    }

    deinit { FabricSlots.give(slot) }

    // MARK: Devices and ports

    /// Plugs a device in; its name must be free. It shows in the list at once.
    public func add(_ device: DoubleDevice) { fabric.locked { fabric.plug(device) } }

    /// Pulls a device out: an event, its queue pairs flush, and every later call but closing fails with EIO or ENODEV.
    public func remove(_ name: String) { fabric.locked { fabric.unplug(name) } }

    /// Takes a port's wire away or gives it back, with the event. READs over it end in `retriesExceeded` meanwhile.
    public func setPort(_ name: String, isUp: Bool) {
        fabric.locked {
            guard let device = fabric.device(name), device.isUp != isUp else { return }
            device.isUp = isUp
            device.announce(isUp ? IBV_EVENT_PORT_ACTIVE : IBV_EVENT_PORT_ERR)
        }
    }

    /// Sets the addresses of a device, with the event. A queue pair whose address went reaches nobody.
    public func setAddresses(_ name: String, _ entries: [GIDEntry]) {
        fabric.locked {
            guard let device = fabric.device(name) else { return }
            device.gids = entries
            device.announce(IBV_EVENT_GID_CHANGE)
        }
    }

    /// Loses every packet of a device silently, or no longer: no event, and READs end in `retriesExceeded`.
    public func setSilent(_ name: String, _ isSilent: Bool) {
        fabric.locked { fabric.device(name)?.isSilent = isSilent }
    }

    // MARK: Completions

    /// In which order held requests of several queue pairs go on; within one it is always that of posting.
    public enum Order: Sendable {
        /// The queue pairs as they were made.
        case asMade
        /// The last made first.
        case reversed
        /// One request of each in turn, the last made first.
        case interleaved
    }

    /// Carries out nothing that is posted on a device from now on, flushes included: bytes land and completions come
    /// when they are released.
    public func hold(_ name: String) { fabric.locked { fabric.device(name)?.isHolding = true } }

    /// Carries out what is held, `countMax` requests of it at most; further ones stay held unless all went.
    public func release(_ name: String, countMax: Int = .max, order: Order = .asMade) {
        fabric.locked {
            for device in fabric.all(name) {
                fabric.release(device, countMax: countMax, order: order)
                if countMax == .max { device.isHolding = false }
            }
        }
    }

    /// Requests posted on a device and not carried out.
    public func heldCount(_ name: String) -> Int {
        fabric.locked { fabric.pairs(of: name).reduce(0) { $0 + $1.waiting.count } }
    }

    /// A queue pair completes nothing any more, not even when it fails, until `unstick` or its destruction.
    public func stick(queuePair number: UInt32) { fabric.locked { fabric.pairs[number]?.isStuck = true } }

    /// Carries out what a stuck queue pair holds.
    public func unstick(queuePair number: UInt32) {
        fabric.locked {
            guard let pair = fabric.pairs[number] else { return }
            pair.isStuck = false
            fabric.proceed(pair)
        }
    }

    /// Destroying a queue pair of a device waits from now on until it is allowed again, as on soft devices with packets
    /// that cannot leave: for ten seconds at most.
    public func keepQueuePairs(_ name: String, _ keeps: Bool) {
        fabric.locked { fabric.device(name)?.keepsQueuePairs = keeps }
    }

    /// The device stops a queue pair, with the event.
    public func breakQueuePair(_ number: UInt32) {
        fabric.locked {
            guard let pair = fabric.pairs[number] else { return }
            pair.announce(IBV_EVENT_QP_FATAL)
            fabric.fail(pair)
        }
    }

    /// The next request on a queue pair that is carried out ends so, whatever it asks.
    public func endNext(queuePair number: UInt32, with status: CompletionStatus) {
        fabric.locked { fabric.pairs[number]?.nextStatus = status }
    }

    // MARK: Failing calls

    /// Calls that can be made to fail.
    public enum Call: Hashable, Sendable {
        /// ibv_open_device.
        case open
        /// ibv_query_port.
        case queryPort
        /// ibv_alloc_pd.
        case makeDomain
        /// ibv_reg_mr, ibv_reg_mr_iova2 and ibv_reg_dmabuf_mr.
        case register
        /// ibv_alloc_mw.
        case makeWindow
        /// ibv_create_cq.
        case makeQueue
        /// ibv_create_qp.
        case makePair
        /// ibv_modify_qp.
        case modifyPair
        /// ibv_destroy_qp.
        case destroyPair
        /// ibv_poll_cq.
        case poll
    }

    /// Makes calls on a device fail: the `nth` from now (1: the next) and `times - 1` after it.
    public func fail(_ call: Call, on name: String, nth: Int = 1, times: Int = 1, errorNumber: CInt) {
        fabric.locked {
            fabric.device(name)?.failures[call, default: []].append(
                Failure(skip: nth - 1, times: times, errorNumber: errorNumber))
        }
    }

    /// The next posting on a device takes `taken` requests and refuses the rest.
    public func failPosting(on name: String, taken: Int, errorNumber: CInt = ENOMEM) {
        fabric.locked { fabric.device(name)?.partialPosts.append((taken, errorNumber)) }
    }

    // MARK: What was done

    /// What is open on a device, and what was done with it.
    public struct Census: Hashable, Sendable {
        /// Opened contexts.
        public var contexts = 0
        /// Protection domains.
        public var domains = 0
        /// Completion queues.
        public var queues = 0
        /// Queue pairs.
        public var pairs = 0
        /// Regions.
        public var regions = 0
        /// Windows.
        public var windows = 0
        /// Times the doorbell rang: postings.
        public var doorbells = 0
        /// Requests taken.
        public var requests = 0
        /// Bytes that READs brought here.
        public var bytesRead = 0
        /// Requests that queue pairs forgot, destroyed or reset before they completed: memory that was reused too
        /// early.
        public var forgotten = 0
        /// Completions lost since a queue was full.
        public var overruns = 0

        /// Whether nothing is open.
        public var isEmpty: Bool { contexts + domains + queues + pairs + regions + windows == 0 }
    }

    /// The census of a device; what a removed one still has open counts.
    public func census(_ name: String) -> Census { fabric.locked { fabric.census(name) } }
}

/// Each double needs a function of its own that lists its devices, since that call has no argument to tell them apart.
enum FabricSlots {
    static let count = 32
    private static let fabrics = Mutex<[Fabric?]>(Array(repeating: nil, count: count))

    static func take(_ fabric: Fabric) -> Int {
        fabrics.withLock { fabrics in
            guard let free = fabrics.firstIndex(where: { $0 == nil }) else {
                preconditionFailure("more than \(count) doubles at a time: give some back first")
            }
            fabrics[free] = fabric
            return free
        }
    }

    static func give(_ slot: Int) { fabrics.withLock { $0[slot] = nil } }

    static func fabric(_ slot: Int) -> Fabric? { fabrics.withLock { $0[slot] } }
}
