import CVerbs

/// An open RDMA device: what it can do, its ports and addresses, and what happens to it.
///
/// Everything made from it keeps it open. Calls may come from any thread; its events are read by one.
public struct Device: ~Copyable, Sendable {
    /// Its name, e.g. `mlx5_0`.
    public var name: String { handle.name }
    /// What it is and how much it can do.
    public var attributes: DeviceAttributes { queried }
    private let queried: DeviceAttributes
    let handle: Handle<ibv_context>
    let calls: VerbsCalls

    init(_ context: UnsafeMutablePointer<ibv_context>, name: String, calls: VerbsCalls) throws(VerbsError) {
        let handle = Handle(context, name: name, parents: [], call: "ibv_close_device") {
            calls.table.close_device($0)
        }
        var raw = ibv_device_attr()
        try VerbsError.check(calls.table.query_device(context, &raw), "cannot query \(name)", "ibv_query_device")
        let result = martlet_verbs_nonblocking(context.pointee.async_fd)
        try VerbsError.check(result, "cannot watch the events of \(name)", "fcntl")
        self.calls = calls
        self.handle = handle
        queried = DeviceAttributes(raw)
    }

    /// A port's state now. Ports count from 1.
    public func port(_ number: Int) throws(VerbsError) -> PortAttributes {
        try checkPort(number)
        var raw = ibv_port_attr()
        try VerbsError.check(
            calls.table.query_port(handle.raw, UInt8(number), &raw), "cannot query \(name) port \(number)",
            "ibv_query_port")
        return PortAttributes(raw, number: number)
    }

    /// The addresses of a port that are set now. The table fills a while after the device or the address appears.
    public func gids(port number: Int) throws(VerbsError) -> [GIDEntry] {
        try checkPort(number)
        var tableLength = 0
        for port in 1...max(1, attributes.portCount) { tableLength += try self.port(port).gidTableLength }
        // The call gives the entries of all ports at once.
        let entries = UnsafeMutableBufferPointer<ibv_gid_entry>.allocate(capacity: max(1, tableLength))
        defer { entries.deallocate() }
        let count = calls.table.query_gid_table(
            handle.raw, entries.baseAddress!, entries.count, 0, MemoryLayout<ibv_gid_entry>.stride)
        guard count >= 0 else {
            throw VerbsError.failed("cannot read the addresses of \(name)", "ibv_query_gid_table", errno: CInt(-count))
        }
        return entries.prefix(count).filter { Int($0.port_num) == number }.map { GIDEntry($0) }
    }

    /// The index of a partition key in a port's table; nil when the port is no member. The top bit (full membership) is
    /// not compared. The default partition is 0xFFFF, and has index 0 as a rule.
    public func partitionIndex(of key: UInt16, port number: Int) throws(VerbsError) -> Int? {
        let port = try port(number)
        for index in 0..<port.partitionTableLength {
            var raw: __be16 = 0
            try VerbsError.check(
                calls.table.query_pkey(handle.raw, UInt8(number), CInt(index), &raw),
                "cannot read the partitions of \(name) port \(number)", "ibv_query_pkey")
            let found = UInt16(bigEndian: UInt16(raw))
            if found != 0, found & 0x7FFF == key & 0x7FFF { return index }
        }
        return nil
    }

    /// Readable when there is an event; lent, and non-blocking.
    public var asyncDescriptor: CInt { handle.raw.pointee.async_fd }

    /// The next event of the device, its ports or queue pairs; nil when there is none now. One thread calls this.
    ///
    /// Queue pairs cannot be destroyed while an event of theirs is unread in this call; it is acknowledged at once.
    public func nextAsyncEvent() throws(VerbsError) -> AsyncEvent? {
        var raw = ibv_async_event()
        while calls.table.get_async_event(handle.raw, &raw) != 0 {
            let number = martlet_verbs_errno()
            if number == EINTR { continue }
            if number == EAGAIN { return nil }
            throw VerbsError.failed("cannot read the events of \(name)", "ibv_get_async_event", errno: number)
        }
        let text = calls.table.event_type_str(raw.event_type).map { String(cString: $0) } ?? "event"
        let event = AsyncEvent(raw, text: text)
        calls.table.ack_async_event(&raw)
        return event
    }

    /// Closes. Throws `invalid` while something made from it is open: it is then closed after that.
    public consuming func close() throws(VerbsError) { try handle.close() }

    private func checkPort(_ number: Int) throws(VerbsError) {
        guard (1...max(1, attributes.portCount)).contains(number) else {
            throw VerbsError(.invalid, "\(name) has no port \(number); it has 1 to \(attributes.portCount)")
        }
    }
}
