import CVerbs
import Verbs

/// What becomes of taken requests. Under the fabric's lock.
extension Fabric {
    /// Carries out what waits on a queue pair, unless it is held.
    func proceed(_ pair: Pair) {
        while !pair.isStuck, !pair.device.isHolding, !pair.waiting.isEmpty { step(pair) }
    }

    /// Carries out held requests.
    func release(_ device: Device, countMax: Int, order: VerbsDouble.Order) {
        var left = countMax
        var pairs = pairs(of: device).filter { !$0.isStuck }
        if order != .asMade { pairs.reverse() }
        while left > 0, pairs.contains(where: { !$0.waiting.isEmpty }) {
            for pair in pairs {
                repeat {
                    guard left > 0, !pair.waiting.isEmpty else { break }
                    step(pair)
                    left -= 1
                } while order != .interleaved
            }
        }
    }

    /// Stops a queue pair: what waits on it is flushed.
    func fail(_ pair: Pair) {
        pair.state = IBV_QPS_ERR
        proceed(pair)
    }

    private func step(_ pair: Pair) {
        let request = pair.waiting.removeFirst()
        let status: CompletionStatus
        if pair.state == IBV_QPS_ERR {
            status = .flushed
        } else if let next = pair.nextStatus {
            pair.nextStatus = nil
            status = next
        } else {
            status = carryOut(request, on: pair)
        }
        if status != .success || request.raw.send_flags & IBV_SEND_SIGNALED.rawValue != 0 {
            var completion = ibv_wc()
            completion.wr_id = request.raw.wr_id
            completion.status = ibv_wc_status(rawValue: status.rawValue)
            completion.qp_num = pair.number
            pair.queue.push(completion, of: pair, sequence: request.sequence)
        }
        // Whatever waits behind a failure is flushed, in its turn.
        if status != .success { pair.state = IBV_QPS_ERR }
    }

    private func carryOut(_ request: Pair.Request, on pair: Pair) -> CompletionStatus {
        switch request.raw.opcode {
        case IBV_WR_RDMA_READ, IBV_WR_RDMA_WRITE: return move(request, on: pair)
        case IBV_WR_BIND_MW: return bind(request, on: pair)
        case IBV_WR_LOCAL_INV: return invalidate(request, on: pair)
        default: return .localOperation
        }
    }

    private func move(_ request: Pair.Request, on pair: Pair) -> CompletionStatus {
        let isRead = request.raw.opcode == IBV_WR_RDMA_READ
        let length = UInt64(request.range.length)
        guard let local = regions[request.range.lkey >> 8], local.key == request.range.lkey,
            local.domain === pair.domain, local.holds(request.range.addr, length),
            !isRead || local.access & IBV_ACCESS_LOCAL_WRITE.rawValue != 0
        else { return .localProtection }
        guard let other = otherEnd(of: pair) else { return .retriesExceeded }
        if isRead, pair.settings.max_rd_atomic > other.settings.max_dest_rd_atomic { return .remoteInvalidRequest }
        var raw = request.raw
        let remote = martlet_wr_remote_address(&raw)
        let wanted = isRead ? IBV_ACCESS_REMOTE_READ.rawValue : IBV_ACCESS_REMOTE_WRITE.rawValue
        // The serving side, like hardware, stops on what it may not serve.
        guard other.access & wanted != 0 else {
            refuse(other, IBV_EVENT_QP_REQ_ERR)
            return .remoteInvalidRequest
        }
        guard let source = admitted(martlet_wr_remote_key(&raw), remote, length, wanted, on: other) else {
            refuse(other, IBV_EVENT_QP_ACCESS_ERR)
            return .remoteAccess
        }
        // Safety: both ranges lie in registered regions, whose memory is mapped while they are open.
        let here = local.place(of: request.range.addr)
        let there = source.place(of: remote)
        if isRead {
            here.copyMemory(from: there, byteCount: Int(length))
            pair.device.bytesRead += Int(length)
        } else {
            there.copyMemory(from: here, byteCount: Int(length))
        }
        return .success
    }

    private func refuse(_ pair: Pair, _ type: ibv_event_type) {
        pair.announce(type)
        fail(pair)
    }

    /// The queue pair that answers; nil: nobody does.
    private func otherEnd(of pair: Pair) -> Pair? {
        guard let other = pairs[pair.settings.dest_qp_num],
            other.state == IBV_QPS_RTR || other.state == IBV_QPS_RTS,
            other.settings.dest_qp_num == pair.number,
            other.settings.rq_psn == pair.settings.sq_psn,
            other.settings.path_mtu == pair.settings.path_mtu,
            other.device.gids.contains(where: { $0.gid == GID(of: pair.settings) }),
            pair.device.gids.contains(where: { $0.gid == GID(of: other.settings) })
        else { return nil }
        let isQuiet = [pair.device, other.device].contains { !$0.isUp || $0.isSilent || $0.isRemoved }
        return isQuiet ? nil : other
    }

    /// The region that is asked for, if it may be.
    private func admitted(
        _ key: UInt32, _ address: UInt64, _ length: UInt64, _ wanted: UInt32, on pair: Pair
    ) -> Region? {
        if let region = regions[key >> 8] {
            let isPermitted = region.access & wanted != 0 || !pair.device.settings.regionsRefuseWrites
            let isAdmitted =
                region.key == key && region.domain === pair.domain && isPermitted && region.holds(address, length)
            return isAdmitted ? region : nil
        }
        guard let window = windows[key >> 8], window.key == key, let binding = window.binding,
            window.domain === pair.domain, binding.access & wanted != 0, binding.region.holds(address, length)
        else { return nil }
        if pair.device.settings.windowsBindToPair, binding.pair !== pair { return nil }
        if !pair.device.settings.windowsBoundRange { return binding.region }
        let isInside =
            address >= binding.begin && length <= binding.lengthBytes
            && address - binding.begin <= binding.lengthBytes - length
        return isInside ? binding.region : nil
    }

    private func bind(_ request: Pair.Request, on pair: Pair) -> CompletionStatus {
        var raw = request.raw
        let info = martlet_wr_bind_info(&raw)
        let key = martlet_wr_bind_key(&raw)
        guard let window = windows[key >> 8], window.raw == martlet_wr_bind_window(&raw), window.binding == nil,
            window.domain === pair.domain, let given = info.mr, let region = regions[given.pointee.lkey >> 8],
            region.raw == given, region.domain === pair.domain,
            region.access & IBV_ACCESS_MW_BIND.rawValue != 0, region.holds(info.addr, info.length),
            info.mw_access_flags & IBV_ACCESS_REMOTE_WRITE.rawValue == 0
                || region.access & IBV_ACCESS_LOCAL_WRITE.rawValue != 0
        else { return .windowBind }
        window.key = key
        window.binding = Window.Binding(
            pair: pair, region: region, begin: info.addr, lengthBytes: info.length, access: info.mw_access_flags)
        return .success
    }

    private func invalidate(_ request: Pair.Request, on pair: Pair) -> CompletionStatus {
        var raw = request.raw
        let key = martlet_wr_invalidated_key(&raw)
        guard let window = windows[key >> 8], window.key == key, window.binding?.pair === pair else {
            return .localOperation
        }
        window.binding = nil
        return .success
    }
}

extension GID {
    /// The address a queue pair sends to.
    fileprivate init(of settings: ibv_qp_attr) {
        var gid = settings.ah_attr.grh.dgid
        var bytes = [UInt8](repeating: 0, count: 16)
        martlet_gid_bytes(&gid, &bytes)
        self.init(bytes)!
    }
}
