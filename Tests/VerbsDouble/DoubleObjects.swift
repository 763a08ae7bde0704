import CVerbs
import Glibc
import Verbs

/// Making and freeing what is opened on a device, and the data path.
extension DoubleTable {
    // MARK: Domains and memory

    static func makeDomain(_ raw: UnsafeMutablePointer<ibv_context>) -> UnsafeMutablePointer<ibv_pd>? {
        let fabric = fabric(raw)
        let answer: (UnsafeMutablePointer<ibv_pd>?, CInt) = fabric.locked {
            guard let context = fabric.contexts[raw] else { return (nil, EINVAL) }
            if let number = fabric.refusal(.makeDomain, context.device) { return (nil, number) }
            let domain = Domain(context)
            fabric.domains[domain.raw] = domain
            return (domain.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    static func freeDomain(_ raw: UnsafeMutablePointer<ibv_pd>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        return fabric.locked {
            let isUsed =
                fabric.regions.values.contains { $0.domain.raw == raw }
                || fabric.windows.values.contains { $0.domain.raw == raw }
                || fabric.pairs.values.contains { $0.domain.raw == raw }
            if isUsed { return EBUSY }
            fabric.domains[raw] = nil
            return 0
        }
    }

    static func register(
        _ raw: UnsafeMutablePointer<ibv_pd>, _ base: UnsafeMutableRawPointer, _ length: Int, _ access: UInt32
    ) -> UnsafeMutablePointer<ibv_mr>? {
        let fabric = fabric(raw.pointee.context)
        let answer: (UnsafeMutablePointer<ibv_mr>?, CInt) = fabric.locked {
            guard let domain = fabric.domains[raw] else { return (nil, EINVAL) }
            if let number = objection(fabric, domain, length, access) { return (nil, number) }
            let index = fabric.nextIndex()
            let region = Region(
                domain, base, length, access, index: index, address: UInt64(UInt(bitPattern: base)))
            fabric.regions[index] = region
            return (region.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    /// Maps the DMA-buf: a memfd, where the device that it is of is played too.
    static func register(
        _ raw: UnsafeMutablePointer<ibv_pd>, dmaBuf descriptor: CInt, _ offset: UInt64, _ length: Int, address: UInt64,
        _ access: UInt32
    ) -> UnsafeMutablePointer<ibv_mr>? {
        let fabric = fabric(raw.pointee.context)
        let answer: (UnsafeMutablePointer<ibv_mr>?, CInt) = fabric.locked {
            guard let domain = fabric.domains[raw] else { return (nil, EINVAL) }
            if let number = objection(fabric, domain, length, access) { return (nil, number) }
            guard domain.context.device.settings.takesDMABufs else { return (nil, EOPNOTSUPP) }
            var status = stat()
            guard fstat(descriptor, &status) == 0 else { return (nil, EBADF) }
            let skipped = offset % 4096
            guard address % 4096 == skipped, offset <= UInt64(status.st_size),
                UInt64(length) <= UInt64(status.st_size) - offset
            else { return (nil, EINVAL) }
            let mapped = mmap(
                nil, length + Int(skipped), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, off_t(offset - skipped))
            guard let mapped, mapped != UnsafeMutableRawPointer(bitPattern: -1) else {
                return (nil, martlet_verbs_errno())
            }
            let index = fabric.nextIndex()
            let region = Region(
                domain, mapped + Int(skipped), length, access, index: index, address: address,
                mapping: UnsafeMutableRawBufferPointer(start: mapped, count: length + Int(skipped)))
            fabric.regions[index] = region
            return (region.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    /// Why a region is refused, whatever it is of.
    private static func objection(_ fabric: Fabric, _ domain: Domain, _ length: Int, _ access: UInt32) -> CInt? {
        let device = domain.context.device
        if length <= 0 { return EINVAL }
        if let number = fabric.refusal(.register, device) { return number }
        let relaxed = IBV_ACCESS_RELAXED_ORDERING.rawValue
        if access & relaxed != 0, device.settings.refusesRelaxedOrdering { return EOPNOTSUPP }
        let writes = IBV_ACCESS_REMOTE_WRITE.rawValue
        if access & writes != 0, access & IBV_ACCESS_LOCAL_WRITE.rawValue == 0 { return EINVAL }
        if UInt64(length) > device.settings.regionBytesMax { return EINVAL }
        let count = fabric.regions.values.count { $0.domain.context.device === device }
        return count >= device.settings.regionsMax ? ENOMEM : nil
    }

    static func deregister(_ raw: UnsafeMutablePointer<ibv_mr>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let index = raw.pointee.lkey >> 8
        return fabric.locked {
            if fabric.windows.values.contains(where: { $0.binding?.region.raw == raw }) { return EBUSY }
            fabric.regions[index] = nil
            return 0
        }
    }

    static func makeWindow(
        _ raw: UnsafeMutablePointer<ibv_pd>, _ type: ibv_mw_type
    ) -> UnsafeMutablePointer<ibv_mw>? {
        let fabric = fabric(raw.pointee.context)
        let answer: (UnsafeMutablePointer<ibv_mw>?, CInt) = fabric.locked {
            guard let domain = fabric.domains[raw], type == IBV_MW_TYPE_2 else { return (nil, EINVAL) }
            if let number = fabric.refusal(.makeWindow, domain.context.device) { return (nil, number) }
            guard domain.context.device.settings.hasWindows else { return (nil, EOPNOTSUPP) }
            let index = fabric.nextIndex()
            let window = Window(domain, index: index)
            fabric.windows[index] = window
            return (window.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    static func freeWindow(_ raw: UnsafeMutablePointer<ibv_mw>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let index = raw.pointee.rkey >> 8
        return fabric.locked {
            fabric.windows[index] = nil
            return 0
        }
    }

    // MARK: Queues

    static func makeChannel(_ raw: UnsafeMutablePointer<ibv_context>) -> UnsafeMutablePointer<ibv_comp_channel>? {
        let fabric = fabric(raw)
        let answer: (UnsafeMutablePointer<ibv_comp_channel>?, CInt) = fabric.locked {
            guard let context = fabric.contexts[raw] else { return (nil, EINVAL) }
            if context.device.isRemoved { return (nil, EIO) }
            let channel = Channel(context)
            fabric.channels[channel.raw] = channel
            return (channel.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    static func freeChannel(_ raw: UnsafeMutablePointer<ibv_comp_channel>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        return fabric.locked {
            if fabric.queues.values.contains(where: { $0.channel?.raw == raw }) { return EBUSY }
            fabric.channels[raw] = nil
            return 0
        }
    }

    static func makeQueue(
        _ raw: UnsafeMutablePointer<ibv_context>, _ entries: CInt, _ channel: UnsafeMutablePointer<ibv_comp_channel>?
    ) -> UnsafeMutablePointer<ibv_cq>? {
        let fabric = fabric(raw)
        let answer: (UnsafeMutablePointer<ibv_cq>?, CInt) = fabric.locked {
            guard let context = fabric.contexts[raw] else { return (nil, EINVAL) }
            if let number = fabric.refusal(.makeQueue, context.device) { return (nil, number) }
            guard (1...context.device.settings.completionEntriesMax).contains(Int(entries)) else {
                return (nil, EINVAL)
            }
            let queue = Queue(context, channel.flatMap { fabric.channels[$0] }, capacity: Int(entries))
            fabric.queues[queue.raw] = queue
            return (queue.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    /// The library waits for ever for events that are not acknowledged; here that is an error.
    static func freeQueue(_ raw: UnsafeMutablePointer<ibv_cq>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        return fabric.locked {
            guard let queue = fabric.queues[raw] else { return EINVAL }
            if fabric.pairs.values.contains(where: { $0.queue === queue }) { return EBUSY }
            if queue.unacknowledged != 0 { return EDEADLK }
            queue.channel?.forget(queue)
            fabric.queues[raw] = nil
            return 0
        }
    }

    static func nextQueueEvent(
        _ raw: UnsafeMutablePointer<ibv_comp_channel>,
        _ found: UnsafeMutablePointer<UnsafeMutablePointer<ibv_cq>?>
    ) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let queue: UnsafeMutablePointer<ibv_cq>? = fabric.locked {
            guard let queue = fabric.channels[raw]?.pop() else { return nil }
            queue.unacknowledged += 1
            return queue.raw
        }
        guard let queue else {
            martlet_verbs_set_errno(EAGAIN)
            return -1
        }
        found.pointee = queue
        return 0
    }

    static func arm(_ raw: UnsafeMutablePointer<ibv_cq>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        return fabric.locked {
            fabric.queues[raw]?.isArmed = true
            return 0
        }
    }

    static func poll(
        _ raw: UnsafeMutablePointer<ibv_cq>, _ countMax: Int, _ completions: UnsafeMutablePointer<ibv_wc>
    ) -> CInt {
        let fabric = fabric(raw.pointee.context)
        return fabric.locked {
            guard let queue = fabric.queues[raw] else { return -EINVAL }
            if let number = fabric.refusal(.poll, queue.context.device) { return -number }
            if queue.isOverrun { return -EOVERFLOW }
            let count = min(countMax, queue.entries.count)
            for place in 0..<count {
                completions[place] = queue.entries[place].completion
                // A completion vouches for every request before it on its queue pair.
                queue.entries[place].pair.retired = queue.entries[place].sequence + 1
            }
            queue.entries.removeFirst(count)
            return CInt(count)
        }
    }

    // MARK: Queue pairs

    static func makePair(
        _ raw: UnsafeMutablePointer<ibv_pd>, _ attributes: UnsafeMutablePointer<ibv_qp_init_attr>
    ) -> UnsafeMutablePointer<ibv_qp>? {
        let fabric = fabric(raw.pointee.context)
        let wanted = attributes.pointee
        let answer: (UnsafeMutablePointer<ibv_qp>?, CInt) = fabric.locked {
            guard let domain = fabric.domains[raw], let rawQueue = wanted.send_cq, let queue = fabric.queues[rawQueue]
            else { return (nil, EINVAL) }
            let device = domain.context.device
            if let number = fabric.refusal(.makePair, device) { return (nil, number) }
            if fabric.pairs(of: device).count >= device.settings.queuePairsMax { return (nil, ENOMEM) }
            guard (1...16_384).contains(wanted.cap.max_send_wr), queue.context === domain.context else {
                return (nil, EINVAL)
            }
            let pair = Pair(domain, queue, number: fabric.nextNumber(), requestsMax: Int(wanted.cap.max_send_wr))
            fabric.pairs[pair.number] = pair
            return (pair.raw, 0)
        }
        return answer.0 ?? failing(answer.1)
    }

    static func modify(
        _ raw: UnsafeMutablePointer<ibv_qp>, _ wanted: UnsafeMutablePointer<ibv_qp_attr>, _ mask: UInt32
    ) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let number = raw.pointee.qp_num
        let attributes = wanted.pointee
        return fabric.locked {
            guard let pair = fabric.pairs[number] else { return EINVAL }
            return fabric.refusal(.modifyPair, pair.device) ?? pair.modify(attributes, mask)
        }
    }

    static func queryPair(
        _ raw: UnsafeMutablePointer<ibv_qp>, _ attributes: UnsafeMutablePointer<ibv_qp_attr>
    ) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let number = raw.pointee.qp_num
        return fabric.locked {
            guard let pair = fabric.pairs[number] else { return EINVAL }
            if pair.device.isRemoved { return EIO }
            attributes.pointee = pair.settings
            attributes.pointee.qp_state = pair.state
            return 0
        }
    }

    /// A window that is still bound to it holds it, as on soft devices, which wait for long.
    static func freePair(_ raw: UnsafeMutablePointer<ibv_qp>) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let number = raw.pointee.qp_num
        for _ in 0..<10_000 {
            guard fabric.locked({ fabric.pairs[number]?.device.keepsQueuePairs == true }) else { break }
            usleep(1000)
        }
        return fabric.locked {
            guard let pair = fabric.pairs[number] else { return EINVAL }
            if let number = fabric.refusal(.destroyPair, pair.device) { return number }
            if fabric.windows.values.contains(where: { $0.binding?.pair === pair }) { return EBUSY }
            pair.forget()
            fabric.pairs[number] = nil
            return 0
        }
    }

    static func post(
        _ raw: UnsafeMutablePointer<ibv_qp>, _ requests: UnsafeMutablePointer<ibv_send_wr>,
        _ refused: UnsafeMutablePointer<UnsafeMutablePointer<ibv_send_wr>?>?
    ) -> CInt {
        let fabric = fabric(raw.pointee.context)
        let number = raw.pointee.qp_num
        let answer: (UnsafeMutablePointer<ibv_send_wr>, CInt)? = fabric.locked {
            guard let pair = fabric.pairs[number] else { return (requests, EINVAL) }
            let answer = pair.take(requests)
            fabric.proceed(pair)
            return answer
        }
        guard let answer else { return 0 }
        refused?.pointee = answer.0
        return answer.1
    }
}
