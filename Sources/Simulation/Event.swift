import Artifacts
import Scheduling
import Swarm

/// What is about to happen: 32 bytes without references, so that millions can wait and be moved for nothing.
///
/// What the fields mean is the kind's business. What does not fit (maps, neighbourhoods, messages of the scheduler) lies
/// in a `Parcels` shelf, and the event names its place.
struct Event {
    enum Kind: UInt8 {
        // To a parent, over link `a`: session's file in `rest`, piece in `b`. Void once the link is gone.
        case open, closed, wanted, released
        /// The parent has asked for an export, and it is made: link `a`, piece `b`, file, life in `rest`.
        case exported
        // To a child, over link `a`: file in the low half of `rest`, piece in `b`, microseconds in the high half.
        case linkUp, map, have, haveMany, unknown, granted, busy, absent
        /// A transfer `a` reaches its next queue, or is whole.
        case advance, whole
        /// A worker is done with piece `b` of host `a`: file and life in `rest`.
        case verified
        // Host `a` wakes: model in `b`, life in `rest`.
        case wakeDownload, wakeUpload, wakeScheduler
        /// Host `a` tells the scheduler what it has kept.
        case tellScheduler
        /// Host `a` begins a stream, or its downloads.
        case attach, join
        /// The parcel in `a`.
        case toDownload, toUpload, toScheduler, fromScheduler, fault
    }

    let atNs: UInt64
    /// Serial number, and the kind in the low 8 bits: of equal times, what was scheduled first.
    let order: UInt64
    let a: UInt32
    let b: UInt32
    let rest: UInt64

    var kind: Kind { Kind(rawValue: UInt8(truncatingIfNeeded: order))! }
    var low: UInt32 { UInt32(truncatingIfNeeded: rest) }
    var high: UInt32 { UInt32(truncatingIfNeeded: rest >> 32) }

    @inline(__always)
    func precedes(_ other: Event) -> Bool {
        atNs != other.atNs ? atNs < other.atNs : order < other.order
    }
}

/// Two halves of an event's `rest`.
@inline(__always)
func halves(_ low: some BinaryInteger, _ high: some BinaryInteger) -> UInt64 {
    UInt64(UInt32(truncatingIfNeeded: low)) | UInt64(UInt32(truncatingIfNeeded: high)) << 32
}

/// What an event carries that does not fit into it.
enum Parcel {
    case download(host: Int, life: UInt32, model: Int, DownloadEvent)
    case upload(host: Int, life: UInt32, UploadEvent)
    case map(PieceSet)
    case have([PieceIndex])
    case toScheduler(life: UInt32, SchedulerEvent)
    case fromScheduler(host: Int, SessionID, SchedulerMessage)
    case fault(Fault)
}

/// Parcels by place; places are used again.
struct Parcels {
    private var shelf: [Parcel?] = []
    private var free: [UInt32] = []

    mutating func put(_ parcel: Parcel) -> UInt32 {
        if let place = free.popLast() {
            shelf[Int(place)] = parcel
            return place
        }
        shelf.append(parcel)
        return UInt32(shelf.count - 1)
    }

    mutating func take(_ place: UInt32) -> Parcel {
        var parcel: Parcel?
        swap(&parcel, &shelf[Int(place)])
        free.append(place)
        guard let parcel else { preconditionFailure("a parcel was opened twice") }
        return parcel
    }
}
