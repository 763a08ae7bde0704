/// Interfaces, uplinks and the origin as queues, first come first served.
///
/// A piece crosses the queues on its way one after another, cut through: it enters the next one when it begins to leave
/// the one before, and is whole when the slowest has let it through. An event a queue, O(log n). What is ignored:
/// concurrent flows do not share a queue evenly within a piece (each piece has it for itself, in turn), nothing is lost
/// where many send to one (they wait), congestion control needs no time to find its rate, and switches between racks
/// are as fast as all uplinks together.
struct Network {
    struct Queue {
        let bytesPerSecond: UInt64
        var freeNs: UInt64 = 0
        var bytes: UInt64 = 0
    }

    /// A piece on its way.
    struct Transfer {
        let child: Int
        /// nil: the origin.
        let parent: Int?
        let sizeBytes: UInt64
        let route: [Int]
        var stage = 0
        /// When the queues so far have let it through.
        var wholeNs: UInt64 = 0
        var isCancelled = false
        let purpose: Purpose
    }

    private(set) var queues: [Queue] = []
    private var transfers: [Transfer?] = []
    private var free: [Int] = []
    let origin: Int
    let rackHosts: Int
    private let upBase: Int
    private let downBase: Int
    private let uplinkBase: Int
    private let rackCount: Int

    init(_ scenario: Scenario, slow: Set<Int>) {
        let hosts = scenario.peers + scenario.seedPeers
        rackHosts = scenario.rackHosts
        rackCount = rackHosts > 0 && hosts > rackHosts ? (hosts + rackHosts - 1) / rackHosts : 0
        origin = 0
        upBase = 1
        downBase = upBase + hosts
        uplinkBase = downBase + hosts
        queues.append(Queue(bytesPerSecond: scenario.originBytesPerSecond))
        for _ in 0..<2 {
            for host in 0..<hosts {
                let rate = scenario.nicBytesPerSecond
                queues.append(Queue(bytesPerSecond: slow.contains(host) ? max(1, rate / 10) : rate))
            }
        }
        let uplink = scenario.nicBytesPerSecond * UInt64(max(rackHosts, 1)) / UInt64(max(scenario.oversubscription, 1))
        for _ in 0..<2 * rackCount { queues.append(Queue(bytesPerSecond: max(1, uplink))) }
    }

    /// Seed peers are spread over the racks, each host has one.
    func rack(of host: Int) -> Int { rackCount == 0 ? 0 : host % rackCount }

    /// Bytes that left racks.
    var uplinkBytes: UInt64 { queues[uplinkBase..<uplinkBase + rackCount].reduce(0) { $0 + $1.bytes } }

    /// The queues from a host (nil: the origin) to another.
    func route(from parent: Int?, to child: Int) -> [Int] {
        guard let parent else {
            return rackCount == 0
                ? [origin, downBase + child] : [origin, uplinkBase + rackCount + rack(of: child), downBase + child]
        }
        if rackCount == 0 || rack(of: parent) == rack(of: child) { return [upBase + parent, downBase + child] }
        return [
            upBase + parent, uplinkBase + rack(of: parent), uplinkBase + rackCount + rack(of: child), downBase + child,
        ]
    }

    mutating func begin(_ transfer: Transfer) -> Int {
        if let id = free.popLast() {
            transfers[id] = transfer
            return id
        }
        transfers.append(transfer)
        return transfers.count - 1
    }

    /// Enters the next queue; says when it begins to leave it, and whether it is the last: then, when it is whole.
    mutating func advance(_ id: Int, nowNs: UInt64) -> (atNs: UInt64, isWhole: Bool) {
        let stage = transfers[id]!.stage
        let route = transfers[id]!.route
        let queue = route[stage]
        let startNs = max(nowNs, queues[queue].freeNs)
        let size = transfers[id]!.sizeBytes
        let endNs = startNs + nanoseconds(size, at: queues[queue].bytesPerSecond)
        queues[queue].freeNs = endNs
        queues[queue].bytes += size
        transfers[id]!.stage = stage + 1
        transfers[id]!.wholeNs = max(transfers[id]!.wholeNs, endNs)
        let isLast = stage + 1 == route.count
        return (isLast ? transfers[id]!.wholeNs : startNs, isLast)
    }

    func isCancelled(_ id: Int) -> Bool { transfers[id]!.isCancelled }
    mutating func cancel(_ id: Int) { transfers[id]!.isCancelled = true }

    mutating func end(_ id: Int) -> Transfer {
        guard let transfer = transfers[id] else { preconditionFailure("transfer \(id) ended twice") }
        transfers[id] = nil
        free.append(id)
        return transfer
    }
}

/// How long so many bytes take.
func nanoseconds(_ bytes: UInt64, at bytesPerSecond: UInt64) -> UInt64 {
    let (high, low) = bytes.multipliedFullWidth(by: 1_000_000_000)
    return bytesPerSecond.dividingFullWidth((high, low)).quotient
}
