import Artifacts

/// What may be due. A timer that fires too early or twice does no harm: each looks at the state again.
enum SchedulerTimer: Hashable {
    case learning
    case grace(HostNumber)
    case inventory(SessionID)
    case exclusion(HostNumber)
    case resolve(String)
    case plan(ModelID)
    case push(ModelID)
    case settle(LeaseID)
    case digests(TaskID)
    case budget
}

/// Timers by their time: a binary heap with at most one entry for each timer, the earliest asked for.
struct TimerQueue {
    private var heap: [(dueNs: UInt64, order: UInt64, timer: SchedulerTimer)] = []
    private var dueNs: [SchedulerTimer: UInt64] = [:]
    private var nextOrder: UInt64 = 0

    /// When the first timer is due.
    var firstNs: UInt64? { heap.first?.dueNs }

    /// Asks for a timer at that time, or earlier when that was asked for before.
    mutating func schedule(_ timer: SchedulerTimer, atNs: UInt64) {
        if let known = dueNs[timer], known <= atNs { return }
        dueNs[timer] = atNs
        heap.append((atNs, nextOrder, timer))
        nextOrder += 1
        var place = heap.count - 1
        while place > 0, isBefore(place, (place - 1) / 2) {
            heap.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// Takes the first timer that is due.
    mutating func takeDue(nowNs: UInt64) -> SchedulerTimer? {
        while let first = heap.first, first.dueNs <= nowNs {
            heap.swapAt(0, heap.count - 1)
            heap.removeLast()
            sink()
            // An entry that an earlier one replaced is not it any more.
            if dueNs[first.timer] == first.dueNs {
                dueNs[first.timer] = nil
                return first.timer
            }
        }
        return nil
    }

    private mutating func sink() {
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            if least == place { return }
            heap.swapAt(place, least)
            place = least
        }
    }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        (heap[left].dueNs, heap[left].order) < (heap[right].dueNs, heap[right].order)
    }
}
