import System
import Transport

/// Measures one point.
struct PointRun {
    let client: BenchClient
    let point: BenchPoint
    let sides: [FarSide]
    let memory: BenchMemory
    let word: String
    var memoryCopy: Double?

    private static let limitMs = 30_000
    private static let stallLimitNs: UInt64 = 15_000_000_000
    private static let sliceNs: UInt64 = 100_000_000

    /// Both sides at a moment, or what they used between two.
    private struct Both {
        var ours: Usage
        var theirs: [Usage]

        func since(_ earlier: Both) -> Both {
            Both(ours: ours.since(earlier.ours), theirs: zip(theirs, earlier.theirs).map { $0.since($1) })
        }
    }

    private var plan: BenchPlan { client.plan }

    /// The result; nil when it was stopped before anything was measured.
    func measure() throws(BenchError) -> BenchResult? {
        var result = BenchResult()
        result.point = point
        result.limits = try limits()
        let devices = deviceCounters()
        let side = try BenchSide(
            point, memory: memory, reads: point.direction.clientReads, serves: point.direction.serverReads,
            seed: 0x6d61_7274)
        defer { side.shutdown() }
        var addresses: [TransportAddress] = []
        for far in sides {
            let ready = try far.connection.ask(ControlFrame("point", point.fields), answer: "ready")
            guard let address = TransportAddress(text: ready["address"] ?? "") else {
                throw BenchError(.protocolBroken, "the far side listens nowhere")
            }
            for _ in 0..<point.links { addresses.append(address) }
        }
        _ = try side.start(
            BenchRail.Place(
                name: "bench-client", cluster: word, listen: nil, linksMax: max(16, addresses.count),
                reads: point.direction.clientReads, serves: point.direction.serverReads))
        try side.connect(to: addresses, limitMs: Self.limitMs)
        for far in sides {
            _ = try far.connection.ask(ControlFrame("links", ["count": "\(point.links)"]), answer: "linked")
        }
        for far in sides { _ = try far.connection.ask(ControlFrame("begin"), answer: "begun") }
        side.beginReading()
        result.isSteady = try warmUp(side)
        let windows = try repeatedly(side, &result)
        try side.endReading(limitMs: Self.limitMs)
        result.latency = try side.progress().histogram
        for far in sides {
            let ended = try far.connection.ask(ControlFrame("end"), answer: "ended")
            result.latency.merge(LatencyHistogram(encoded: ended["histogram"] ?? ""))
        }
        let after = deviceCounters()
        for (name, value) in after where value != devices[name] ?? 0 {
            result.deviceCounters[name] = value &- (devices[name] ?? 0)
        }
        guard !windows.isEmpty else { return nil }
        conclude(windows, &result)
        return result
    }

    private func limits() throws(BenchError) -> Limits {
        guard plan.measuresLimits else { return Limits() }
        var limits = point.transport == .local ? Limits() : sides[0].limits
        if let memoryCopy, memoryCopy > 0 { limits.memoryCopy = memoryCopy }
        if point.transport == .tcp, point.direction == .read, sides.count == 1 {
            client.live("raw socket loop of \(point.messageBytes >> 10) KiB")
            limits.rawSocket = try sides[0].measureRaw(
                point, into: memory, durationNs: min(plan.durationNs, 500_000_000))
        }
        return limits
    }

    private func deviceCounters() -> [String: UInt64] {
        guard point.transport == .rdma else { return [:] }
        let devices = Topology().rdmaDevices.filter { point.device.isEmpty || $0.name == point.device }
        var sum: [String: UInt64] = [:]
        for device in devices {
            for port in device.ports {
                for (name, value) in MachineCounts.rdmaCounters(device: device.name, port: port.number) {
                    sum[name, default: 0] &+= value
                }
            }
        }
        return sum
    }

    // MARK: Windows

    private func now(_ side: BenchSide) throws(BenchError) -> Both {
        let ours = Usage.now(try side.progress())
        var theirs: [Usage] = []
        for far in sides { theirs.append(try far.mark()) }
        return Both(ours: ours, theirs: theirs)
    }

    private func received(_ side: BenchSide) throws(BenchError) -> UInt64 {
        var bytes = try side.progress().counters.transport.receivedBytes
        if point.direction.serverReads { for far in sides { bytes += try far.mark().receivedBytes } }
        return bytes
    }

    /// Runs until three slices differ by less than a twentieth, or the time is over; whether they did.
    private func warmUp(_ side: BenchSide) throws(BenchError) -> Bool {
        let untilNs = MonotonicClock.nowNs() + plan.warmUpNs
        var slices: [Double] = []
        var (bytes, atNs) = (try received(side), MonotonicClock.nowNs())
        while MonotonicClock.nowNs() < untilNs, !client.shouldStop() {
            MonotonicClock.sleep(ns: Self.sliceNs)
            let (nextBytes, nowNs) = (try received(side), MonotonicClock.nowNs())
            slices.append(Double(nextBytes - bytes) / Double(nowNs - atNs))
            (bytes, atNs) = (nextBytes, nowNs)
            say(slices.last! * 1e9, "warming up")
            let last = slices.suffix(3)
            if last.count == 3, let low = last.min(), let high = last.max(), low > 0, high - low < 0.05 * high {
                return true
            }
        }
        return false
    }

    private func repeatedly(_ side: BenchSide, _ result: inout BenchResult) throws(BenchError) -> [Both] {
        var windows: [Both] = []
        var before = try now(side)
        for repetition in 1...plan.repetitions {
            try wait(side, repetition)
            let after = try now(side)
            let window = after.since(before)
            if client.shouldStop() {
                result.isComplete = false
                // A stump of a window says little; a long one says what a whole one would.
                if window.ours.atNs < plan.durationNs / 4 { break }
            }
            windows.append(window)
            before = after
            if !result.isComplete { break }
        }
        return windows
    }

    private func wait(_ side: BenchSide, _ repetition: Int) throws(BenchError) {
        let startNs = MonotonicClock.nowNs()
        let start = try received(side)
        var (seen, seenNs, saidNs) = (start, startNs, startNs)
        while !client.shouldStop() {
            MonotonicClock.sleep(ns: 5_000_000)
            let nowNs = MonotonicClock.nowNs()
            if plan.bytes == nil, nowNs - startNs >= plan.durationNs { return }
            guard plan.bytes != nil || nowNs - saidNs >= 2 * Self.sliceNs else { continue }
            let bytes = try received(side)
            if let limit = plan.bytes, bytes - start >= limit { return }
            if bytes > seen { (seen, seenNs) = (bytes, nowNs) }
            guard nowNs - seenNs < Self.stallLimitNs else {
                throw BenchError(.timedOut, "no byte arrived for \(Self.stallLimitNs / 1_000_000_000) s")
            }
            if nowNs - saidNs >= 2 * Self.sliceNs {
                saidNs = nowNs
                let rate = Double(bytes - start) * 1e9 / Double(nowNs - startNs)
                say(rate, "repetition \(repetition) of \(plan.repetitions)")
            }
        }
    }

    private func say(_ bytesPerSecond: Double, _ what: String) {
        let size = point.messageBytes >= 1 << 20 ? "\(point.messageBytes >> 20) MiB" : "\(point.messageBytes >> 10) KiB"
        let gib = BenchReport.decimals(bytesPerSecond / Double(1 << 30), 2)
        let gbit = BenchReport.decimals(bytesPerSecond * 8 / 1e9, 1)
        client.live("\(point.transport) \(size) x \(point.depth): \(gib) GiB/s = \(gbit) Gb/s, \(what)")
    }

    // MARK: Conclusions

    private func conclude(_ windows: [Both], _ result: inout BenchResult) {
        var processors: (reading: [Double], serving: [Double]) = ([], [])
        var syscalls: (reading: [Double], serving: [Double]) = ([], [])
        var requests: [Double] = []
        var copies: [Double] = []
        for window in windows {
            let (reading, serving) = roles(window)
            let readers = point.direction == .both ? [window.ours] + window.theirs : reading
            var rate = 0.0
            var bytes: UInt64 = 0
            for reader in readers where reader.atNs > 0 {
                rate += Double(reader.receivedBytes) * 1e9 / Double(reader.atNs)
                bytes += reader.receivedBytes
            }
            result.rates.append(rate)
            result.bytes += bytes
            result.seconds += Double(window.ours.atNs) / 1e9
            let gib = max(Double(bytes), 1) / Double(1 << 30)
            func sum(_ usages: [Usage], _ field: KeyPath<Usage, UInt64>) -> Double {
                Double(usages.map { $0[keyPath: field] }.reduce(0, +))
            }
            processors.reading.append(sum(reading, \.processorNs) / 1e9 / gib)
            processors.serving.append(sum(serving, \.processorNs) / 1e9 / gib)
            syscalls.reading.append(sum(reading, \.syscalls) / gib)
            syscalls.serving.append(sum(serving, \.syscalls) / gib)
            requests.append(rate / Double(point.messageBytes))
            copies.append(sum(readers, \.copiedBytes) / max(Double(bytes), 1))
            result.retransmitted += serving.map(\.tcp.retransmittedSegments).reduce(0, +)
        }
        result.processorReading = BenchResult.median(processors.reading)
        result.processorServing = BenchResult.median(processors.serving)
        result.syscallsReading = BenchResult.median(syscalls.reading)
        result.syscallsServing = BenchResult.median(syscalls.serving)
        result.requestsPerSecond = BenchResult.median(requests)
        result.copiesPerByte = BenchResult.median(copies)
        let seen = observation(windows, result)
        result.sender = (
            seen.senderShare(\.busyUs), seen.senderShare(\.windowLimitedUs), seen.senderShare(\.bufferLimitedUs)
        )
        result.findings = Verdict.findings(seen)
    }

    /// Who read and who was read; of both ways, we are said to read.
    private func roles(_ window: Both) -> (reading: [Usage], serving: [Usage]) {
        point.direction == .reverse ? (window.theirs, [window.ours]) : ([window.ours], window.theirs)
    }

    private func observation(_ windows: [Both], _ result: BenchResult) -> Observation {
        // The window whose rate is the median's nearest stands for all.
        let wanted = result.bytesPerSecond
        let place = result.rates.indices.min { abs(result.rates[$0] - wanted) < abs(result.rates[$1] - wanted) } ?? 0
        let (reading, serving) = roles(windows[place])
        var seen = Observation()
        seen.point = point
        seen.bytesPerSecond = wanted
        seen.reading = Usage.together(reading)
        seen.serving = Usage.together(serving)
        seen.limits = result.limits
        let ours = MachineCounts.tcpBufferBytesMax().map { min($0.receive, $0.send) }
        let theirs = sides.compactMap { far -> UInt64? in
            guard let receive = far.hello["receive-buffer"].flatMap({ UInt64($0) }),
                let send = far.hello["send-buffer"].flatMap({ UInt64($0) })
            else { return nil }
            return min(receive, send)
        }
        seen.socketBufferBytesMax = ([ours] + theirs.map { Optional($0) }).compactMap { $0 }.min()
        seen.pinningObjection =
            BenchRail.pinningObjection(bytes: plan.memoryBytes) ?? sides.compactMap(\.pinningObjection).first
        return seen
    }
}

extension Usage {
    /// Several sides as one: sums, and the threads of all.
    static func together(_ all: [Usage]) -> Usage {
        guard var sum = all.first else { return Usage() }
        for one in all.dropFirst() {
            sum.processorNs += one.processorNs
            sum.syscalls += one.syscalls
            sum.receivedBytes += one.receivedBytes
            sum.tcp.connections += one.tcp.connections
            sum.tcp.busyUs += one.tcp.busyUs
            sum.tcp.windowLimitedUs += one.tcp.windowLimitedUs
            sum.tcp.bufferLimitedUs += one.tcp.bufferLimitedUs
            sum.tcp.retransmittedSegments += one.tcp.retransmittedSegments
            sum.threads += one.threads
            sum.cpuCount = min(sum.cpuCount, one.cpuCount)
            sum.atNs = max(sum.atNs, one.atNs)
        }
        return sum
    }
}
