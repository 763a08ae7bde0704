import CVerbs

/// Where requests' ends arrive, with a descriptor that wakes a sleeping poller.
///
/// One thread polls it. To sleep: `arm`, poll once more (what came before arming wakes nobody), wait for `descriptor`
/// to become readable, `consumeEvent`, poll.
public struct CompletionQueue: ~Copyable, @unchecked Sendable {
    // Safety: the library's objects may be used from any thread; `raw` is the handle's.
    @usableFromInline let raw: UnsafeMutablePointer<ibv_cq>
    let handle: Handle<ibv_cq>
    private let channel: Handle<ibv_comp_channel>
    private let events: EventDebt
    let calls: VerbsCalls
    let deviceName: String
    /// Entries it holds; the sum of what is posted and signalled, or fails, must not pass it.
    public var entries: Int { Int(raw.pointee.cqe) }

    /// Makes one with at least so many entries (ibv_create_cq(3)). `vector`: which of the device's interrupts it uses.
    public init(_ device: borrowing Device, entries: Int, vector: Int = 0) throws(VerbsError) {
        let calls = device.calls
        let name = device.name
        guard let rawChannel = calls.table.create_comp_channel(device.handle.raw) else {
            throw VerbsError.failed(
                "cannot make a completion channel on \(name)", "ibv_create_comp_channel", errno: martlet_verbs_errno())
        }
        let channel = Handle(
            rawChannel, name: "a completion channel of \(name)", parents: [device.handle],
            call: "ibv_destroy_comp_channel"
        ) { calls.table.destroy_comp_channel($0) }
        try VerbsError.check(
            martlet_verbs_nonblocking(rawChannel.pointee.fd), "cannot watch a completion channel of \(name)", "fcntl")
        guard
            let raw = calls.table.create_cq(
                device.handle.raw, CInt(clamping: entries), nil, rawChannel,
                CInt(vector % max(1, Int(device.handle.raw.pointee.num_comp_vectors))))
        else {
            throw VerbsError.failed(
                "cannot make a completion queue of \(entries) entries on \(name), which allows "
                    + "\(device.attributes.completionEntriesMax)", "ibv_create_cq", errno: martlet_verbs_errno())
        }
        let events = EventDebt()
        self.raw = raw
        self.channel = channel
        self.events = events
        self.calls = calls
        deviceName = name
        handle = Handle(
            raw, name: "a completion queue of \(name)", parents: [channel], call: "ibv_destroy_cq"
        ) { queue in
            // ibv_destroy_cq waits for ever for events that were read and not acknowledged.
            events.pay { calls.table.ack_cq_events(queue, $0) }
            return calls.table.destroy_cq(queue)
        }
    }

    /// Readable when something arrived since `arm`; lent, and non-blocking.
    public var descriptor: CInt { channel.raw.pointee.fd }

    /// Takes what has arrived, up to the buffer's length; says how much. Never blocks, never allocates.
    ///
    /// Throws when the queue overran or the device is gone: its contents are lost then.
    @inlinable @inline(__always)
    public func poll(into buffer: UnsafeMutableBufferPointer<WorkCompletion>) throws(VerbsError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        // Safety: WorkCompletion is frozen and has ibv_wc as its only member.
        let completions = UnsafeMutableRawPointer(base).assumingMemoryBound(to: ibv_wc.self)
        let count = ibv_poll_cq(raw, CInt(truncatingIfNeeded: buffer.count), completions)
        if count < 0 { throw pollFailure(count) }
        return Int(count)
    }

    @usableFromInline @inline(never)
    func pollFailure(_ result: CInt) -> VerbsError {
        .failed(
            "cannot poll a completion queue of \(deviceName); it overran or the device is gone", "ibv_poll_cq",
            errno: VerbsError.number(result))
    }

    /// Asks for one event at the next arrival.
    @inlinable
    public func arm() throws(VerbsError) {
        let result = ibv_req_notify_cq(raw, 0)
        if result != 0 { throw armFailure(result) }
    }

    @usableFromInline @inline(never)
    func armFailure(_ result: CInt) -> VerbsError {
        .failed(
            "cannot arm a completion queue of \(deviceName)", "ibv_req_notify_cq", errno: VerbsError.number(result))
    }

    /// Reads the event of one arming, so that the descriptor is silent until the next; whether there was one.
    @discardableResult
    public func consumeEvent() throws(VerbsError) -> Bool {
        while true {
            var queue: UnsafeMutablePointer<ibv_cq>?
            var context: UnsafeMutableRawPointer?
            if calls.table.get_cq_event(channel.raw, &queue, &context) == 0 {
                // Acknowledging takes a lock, so it is done in batches.
                events.add(1)
                if events.isDue { events.pay { calls.table.ack_cq_events(raw, $0) } }
                return true
            }
            let number = martlet_verbs_errno()
            if number == EINTR { continue }
            if number == EAGAIN { return false }
            throw VerbsError.failed(
                "cannot read the events of a completion queue of \(deviceName)", "ibv_get_cq_event", errno: number)
        }
    }

    /// Releases it. Throws `invalid` while a queue pair uses it: it is then released after that.
    public consuming func close() throws(VerbsError) { try handle.close() }
}

/// Events read and not yet acknowledged.
private final class EventDebt: @unchecked Sendable {
    // Safety: only the thread that polls the queue touches it, and whoever releases the queue after that.
    private var count: UInt32 = 0

    var isDue: Bool { count >= 64 }

    func add(_ more: Int) { count += UInt32(more) }

    func pay(_ acknowledge: (UInt32) -> Void) {
        if count > 0 { acknowledge(count) }
        count = 0
    }
}
