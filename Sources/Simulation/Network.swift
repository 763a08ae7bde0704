/// Interfaces, uplinks and the origin as queues, first come first served.
///
/// A piece crosses the queues on its way one after another, cut through: it enters the next one when it begins to leave
/// the one before, and is whole when the slowest has let it through. A queue that is free is passed at once, so a piece
/// costs one event and one more for each queue it waits in. What is ignored: concurrent flows do not share a queue evenly
/// within a piece (each piece has it for itself, in turn), nothing is lost where many send to one (they wait),
/// congestion control needs no time to find its rate, and switches between racks are as fast as all uplinks together.
struct Network {
    struct Queue {
        let bytesPerSecond: Double
        var freeNs: UInt64 = 0
        var bytes: UInt64 = 0
    }

    /// A piece on its way.
    struct Transfer {
        let child: Int32
        /// Negative: the origin.
        let parent: Int32
        let sizeBytes: UInt32
        /// File in the fleet's numbering, and piece.
        let file: UInt32
        let piece: UInt32
        /// The link it is read over; of the origin, nothing.
        let link: UInt32
        /// The origin's lease.
        let lease: UInt64
        /// When the queues so far have let it through.
        var wholeNs: UInt64 = 0
        var stage: UInt8 = 0
        /// The last piece of a run of the origin.
        var isLast = false
        var isCancelled = false
    }

    private var queues: [Queue] = []
    private(set) var transfers: [Transfer] = []
    private var free: [UInt32] = []
    /// On their way now.
    private(set) var running = 0
    let rackHosts: Int
    private let upBase: Int
    private let downBase: Int
    private let uplinkBase: Int
    private let rackCount: Int

    init(_ scenario: Scenario, slow: Set<Int>) {
        let hosts = scenario.peers + scenario.seedPeers
        rackHosts = scenario.rackHosts
        rackCount = rackHosts > 0 && hosts > rackHosts ? (hosts + rackHosts - 1) / rackHosts : 0
        upBase = 1
        downBase = upBase + hosts
        uplinkBase = downBase + hosts
        queues.append(Queue(bytesPerSecond: Double(scenario.originBytesPerSecond)))
        for _ in 0..<2 {
            for host in 0..<hosts {
                let rate = Double(scenario.nicBytesPerSecond)
                queues.append(Queue(bytesPerSecond: slow.contains(host) ? max(1, rate / 10) : rate))
            }
        }
        let uplink =
            Double(scenario.nicBytesPerSecond) * Double(max(rackHosts, 1)) / Double(max(scenario.oversubscription, 1))
        for _ in 0..<2 * rackCount { queues.append(Queue(bytesPerSecond: max(1, uplink))) }
    }

    /// Seed peers are spread over the racks, each host has one.
    func rack(of host: Int) -> Int { rackCount == 0 ? 0 : host % rackCount }

    /// Bytes that left racks.
    var uplinkBytes: UInt64 { queues[uplinkBase..<uplinkBase + rackCount].reduce(0) { $0 + $1.bytes } }

    /// Whether a transfer crosses racks.
    func crossesRacks(_ parent: Int, _ child: Int) -> Bool { rackCount > 0 && rack(of: parent) != rack(of: child) }

    /// The queue of a stage, and whether it is the last.
    private func queue(_ stage: UInt8, _ parent: Int, _ child: Int) -> (place: Int, isLast: Bool) {
        if parent < 0 {
            switch stage {
            case 0: return (0, false)
            case 1 where rackCount > 0: return (uplinkBase + rackCount + rack(of: child), false)
            default: return (downBase + child, true)
            }
        }
        switch stage {
        case 0: return (upBase + parent, false)
        case 1 where crossesRacks(parent, child): return (uplinkBase + rack(of: parent), false)
        case 2: return (uplinkBase + rackCount + rack(of: child), false)
        default: return (downBase + child, true)
        }
    }

    mutating func begin(_ transfer: Transfer) -> Int {
        running += 1
        if let id = free.popLast() {
            transfers[Int(id)] = transfer
            return Int(id)
        }
        transfers.append(transfer)
        return transfers.count - 1
    }

    /// Enters queue after queue until one has to be waited for: says until when, or when the piece is whole.
    mutating func advance(_ id: Int, atNs: UInt64) -> (atNs: UInt64, isWhole: Bool) {
        var transfer = transfers[id]
        defer { transfers[id] = transfer }
        while true {
            let (place, isLast) = queue(transfer.stage, Int(transfer.parent), Int(transfer.child))
            // A stage that is skipped within a rack leads to the last queue, whatever its number.
            transfer.stage += 1
            let startNs = max(atNs, queues[place].freeNs)
            let endNs = startNs + UInt64(Double(transfer.sizeBytes) * 1e9 / queues[place].bytesPerSecond)
            queues[place].freeNs = endNs
            queues[place].bytes += UInt64(transfer.sizeBytes)
            transfer.wholeNs = max(transfer.wholeNs, endNs)
            if isLast { return (transfer.wholeNs, true) }
            if startNs > atNs { return (startNs, false) }
        }
    }

    mutating func cancel(_ id: Int) { transfers[id].isCancelled = true }

    mutating func end(_ id: Int) -> Transfer {
        free.append(UInt32(id))
        running -= 1
        return transfers[id]
    }
}

/// How long so many bytes take.
func nanoseconds(_ bytes: UInt64, at bytesPerSecond: UInt64) -> UInt64 {
    let (high, low) = bytes.multipliedFullWidth(by: 1_000_000_000)
    return bytesPerSecond.dividingFullWidth((high, low)).quotient
}
