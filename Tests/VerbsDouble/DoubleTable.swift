import CVerbs
import Verbs

/// The double's calls, as libibverbs' table and context operations hold them. Contracts: the man pages; each takes the
/// fabric's lock once.
enum DoubleTable {
    /// The table of one double.
    static func make(slot: Int) -> martlet_verbs_table {
        martlet_verbs_table(
            get_device_list: DeviceLists.functions[slot],
            free_device_list: { DeviceLists.free($0) },
            get_device_name: { DoubleTable.name(of: $0) },
            get_device_guid: { UInt64(UInt(bitPattern: $0)) },
            open_device: { DoubleTable.open($0) },
            close_device: { DoubleTable.close($0) },
            query_device: { DoubleTable.query($0, $1) },
            query_port: { DoubleTable.queryPort($0, $1, $2) },
            query_gid_table: { context, entries, countMax, _, _ in DoubleTable.addresses(context, entries, countMax) },
            query_pkey: { _, _, index, key in
                key.pointee = index == 0 ? 0xFFFF : 0
                return 0
            },
            alloc_pd: { DoubleTable.makeDomain($0) },
            dealloc_pd: { DoubleTable.freeDomain($0) },
            reg_mr: { DoubleTable.register($0, $1, $2, UInt32(bitPattern: $3)) },
            reg_mr_iova2: { DoubleTable.register($0, $1, $2, $4) },
            reg_dmabuf_mr: { DoubleTable.register($0, dmaBuf: $4, $1, $2, address: $3, UInt32(bitPattern: $5)) },
            dereg_mr: { DoubleTable.deregister($0) },
            create_comp_channel: { DoubleTable.makeChannel($0) },
            destroy_comp_channel: { DoubleTable.freeChannel($0) },
            create_cq: { context, entries, _, channel, _ in DoubleTable.makeQueue(context, entries, channel) },
            destroy_cq: { DoubleTable.freeQueue($0) },
            get_cq_event: { channel, queue, _ in DoubleTable.nextQueueEvent(channel, queue) },
            ack_cq_events: { queue, count in
                let fabric = DoubleTable.fabric(queue.pointee.context)
                fabric.locked { fabric.queues[queue]?.unacknowledged -= Int(count) }
            },
            create_qp: { DoubleTable.makePair($0, $1) },
            modify_qp: { DoubleTable.modify($0, $1, UInt32(bitPattern: $2)) },
            query_qp: { pair, attributes, _, _ in DoubleTable.queryPair(pair, attributes) },
            destroy_qp: { DoubleTable.freePair($0) },
            get_async_event: { DoubleTable.nextEvent($0, $1) },
            // Which context an event came from is not in it; what matters is checked where it is read.
            ack_async_event: { _ in },
            wc_status_str: { _ in nil },
            event_type_str: { _ in nil })
    }

    /// What the header's inline functions call.
    static func setOperations(_ context: UnsafeMutablePointer<ibv_context>) {
        context.pointee.ops.post_send = { pair, requests, refused in DoubleTable.post(pair!, requests!, refused) }
        context.pointee.ops.poll_cq = { queue, count, completions in DoubleTable.poll(queue!, Int(count), completions!)
        }
        context.pointee.ops.req_notify_cq = { queue, _ in DoubleTable.arm(queue!) }
        context.pointee.ops.alloc_mw = { domain, type in DoubleTable.makeWindow(domain!, type) }
        context.pointee.ops.dealloc_mw = { window in DoubleTable.freeWindow(window!) }
    }

    static func fabric(_ context: UnsafeMutablePointer<ibv_context>?) -> Fabric {
        // Safety: the context was made with its fabric in this place, and closes before the fabric ends.
        Unmanaged<Fabric>.fromOpaque(context!.pointee.abi_compat).takeUnretainedValue()
    }

    /// Sets errno, for calls that answer NULL then.
    static func failing<Value>(_ number: CInt) -> UnsafeMutablePointer<Value>? {
        martlet_verbs_set_errno(number)
        return nil
    }

    // MARK: Devices

    private static func name(of device: UnsafeMutablePointer<ibv_device>) -> UnsafePointer<CChar>? {
        DeviceLists.device(device)?.rawName
    }

    private static func open(_ raw: UnsafeMutablePointer<ibv_device>) -> UnsafeMutablePointer<ibv_context>? {
        guard let device = DeviceLists.device(raw) else { return failing(ENODEV) }
        let fabric = device.fabric
        let answer: (UnsafeMutablePointer<ibv_context>?, CInt) = fabric.locked {
            if let number = fabric.refusal(.open, device) { return (nil, number) }
            let context = Context(device, fabric)
            fabric.contexts[context.raw] = context
            return (context.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    private static func close(_ raw: UnsafeMutablePointer<ibv_context>) -> CInt {
        let fabric = fabric(raw)
        return fabric.locked {
            let isUsed =
                fabric.domains.values.contains { $0.context.raw == raw }
                || fabric.queues.values.contains { $0.context.raw == raw }
                || fabric.channels.values.contains { $0.context.raw == raw }
            // Like libibverbs, no error; but it stays in the census, and what is open on it does not dangle.
            if isUsed { return 0 }
            fabric.contexts[raw] = nil
            return 0
        }
    }

    private static func query(
        _ raw: UnsafeMutablePointer<ibv_context>, _ attributes: UnsafeMutablePointer<ibv_device_attr>
    ) -> CInt {
        let fabric = fabric(raw)
        return fabric.locked {
            guard let device = fabric.contexts[raw]?.device else { return EINVAL }
            if device.isRemoved { return EIO }
            let settings = device.settings
            attributes.pointee = ibv_device_attr()
            attributes.pointee.vendor_id = settings.isSoft ? 0xFF_FFFF : 0x77
            attributes.pointee.phys_port_cnt = 1
            attributes.pointee.max_mr_size = settings.regionBytesMax
            attributes.pointee.max_qp = CInt(settings.queuePairsMax)
            attributes.pointee.max_qp_wr = 16_384
            attributes.pointee.max_sge = 4
            attributes.pointee.max_cq = 65_536
            attributes.pointee.max_cqe = CInt(settings.completionEntriesMax)
            attributes.pointee.max_mr = CInt(settings.regionsMax)
            attributes.pointee.max_pd = 65_536
            attributes.pointee.max_mw = settings.hasWindows ? 65_536 : 0
            attributes.pointee.max_qp_rd_atom = CInt(settings.readsMax)
            attributes.pointee.max_qp_init_rd_atom = CInt(settings.readsMax)
            if settings.hasWindows { attributes.pointee.device_cap_flags = IBV_DEVICE_MEM_WINDOW_TYPE_2B.rawValue }
            return 0
        }
    }

    private static func queryPort(
        _ raw: UnsafeMutablePointer<ibv_context>, _ port: UInt8, _ attributes: UnsafeMutablePointer<ibv_port_attr>
    ) -> CInt {
        let fabric = fabric(raw)
        return fabric.locked {
            guard let device = fabric.contexts[raw]?.device, port == 1 else { return EINVAL }
            if let number = fabric.refusal(.queryPort, device) { return number }
            attributes.pointee = ibv_port_attr()
            attributes.pointee.state = device.isUp ? IBV_PORT_ACTIVE : IBV_PORT_DOWN
            attributes.pointee.max_mtu = IBV_MTU_4096
            attributes.pointee.active_mtu = ibv_mtu(rawValue: device.settings.activeMTU.rawValue)
            attributes.pointee.gid_tbl_len = 64
            attributes.pointee.max_msg_sz = 1 << 30
            attributes.pointee.pkey_tbl_len = 1
            attributes.pointee.link_layer = UInt8(IBV_LINK_LAYER_ETHERNET)
            attributes.pointee.active_width = 2
            attributes.pointee.active_speed = 32
            return 0
        }
    }

    private static func addresses(
        _ raw: UnsafeMutablePointer<ibv_context>, _ entries: UnsafeMutablePointer<ibv_gid_entry>, _ countMax: Int
    ) -> Int {
        let fabric = fabric(raw)
        return fabric.locked {
            guard let device = fabric.contexts[raw]?.device, !device.isRemoved else { return -Int(EIO) }
            for (place, gid) in device.gids.prefix(countMax).enumerated() {
                entries[place] = ibv_gid_entry()
                martlet_gid_set(&entries[place].gid, gid.gid.bytes)
                entries[place].gid_index = UInt32(gid.index)
                entries[place].port_num = 1
                let type =
                    switch gid.kind {
                    case .infiniBand: IBV_GID_TYPE_IB
                    case .roceV1: IBV_GID_TYPE_ROCE_V1
                    case .roceV2: IBV_GID_TYPE_ROCE_V2
                    }
                entries[place].gid_type = UInt32(type.rawValue)
            }
            return min(device.gids.count, countMax)
        }
    }

    private static func nextEvent(
        _ raw: UnsafeMutablePointer<ibv_context>, _ event: UnsafeMutablePointer<ibv_async_event>
    ) -> CInt {
        let fabric = fabric(raw)
        guard let found = fabric.locked({ fabric.contexts[raw]?.pop() }) else {
            martlet_verbs_set_errno(EAGAIN)
            return -1
        }
        event.pointee = found
        return 0
    }
}

/// The lists of devices that are out, and which device a listed one is.
enum DeviceLists {
    typealias List = UnsafeMutablePointer<UnsafeMutablePointer<ibv_device>?>

    // A C function has no context: one for each double there can be.
    static let functions: [@convention(c) (UnsafeMutablePointer<CInt>?) -> List?] = [
        { DeviceLists.list(0, $0) }, { DeviceLists.list(1, $0) }, { DeviceLists.list(2, $0) },
        { DeviceLists.list(3, $0) }, { DeviceLists.list(4, $0) }, { DeviceLists.list(5, $0) },
        { DeviceLists.list(6, $0) }, { DeviceLists.list(7, $0) }, { DeviceLists.list(8, $0) },
        { DeviceLists.list(9, $0) }, { DeviceLists.list(10, $0) }, { DeviceLists.list(11, $0) },
        { DeviceLists.list(12, $0) }, { DeviceLists.list(13, $0) }, { DeviceLists.list(14, $0) },
        { DeviceLists.list(15, $0) }, { DeviceLists.list(16, $0) }, { DeviceLists.list(17, $0) },
        { DeviceLists.list(18, $0) }, { DeviceLists.list(19, $0) }, { DeviceLists.list(20, $0) },
        { DeviceLists.list(21, $0) }, { DeviceLists.list(22, $0) }, { DeviceLists.list(23, $0) },
        { DeviceLists.list(24, $0) }, { DeviceLists.list(25, $0) }, { DeviceLists.list(26, $0) },
        { DeviceLists.list(27, $0) }, { DeviceLists.list(28, $0) }, { DeviceLists.list(29, $0) },
        { DeviceLists.list(30, $0) }, { DeviceLists.list(31, $0) },
    ]

    private static func list(_ slot: Int, _ count: UnsafeMutablePointer<CInt>?) -> List? {
        guard let fabric = FabricSlots.fabric(slot) else { return DoubleTable.failing(ENOSYS).map { $0 } }
        let devices = fabric.locked { fabric.present.map { Listed($0) } }
        let list = List.allocate(capacity: devices.count + 1)
        for (place, device) in devices.enumerated() { list[place] = device.device.raw }
        list[devices.count] = nil
        count?.pointee = CInt(devices.count)
        ListedDevices.hold(devices, for: list)
        return list
    }

    static func free(_ list: List) {
        ListedDevices.drop(list)
        list.deallocate()
    }

    /// The device behind a list's entry, while a list that has it is out.
    static func device(_ raw: UnsafeMutablePointer<ibv_device>) -> Device? { ListedDevices.device(raw) }
}
