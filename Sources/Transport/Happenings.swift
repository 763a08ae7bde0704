/// What a transport has to report, kept until `poll` hands it over, in order.
package struct Happenings {
    package enum Happening {
        case linkUp(LinkID, LinkIdentity, inbound: Bool)
        case linkDown(LinkID, TransportError)
        case message(LinkID, [UInt8])
        case readCompleted(ReadCompletion)
        case exportRetired(ExportID)
    }

    private var waiting = Fifo<Happening>(reserving: 256)

    package init() {}

    package var isEmpty: Bool { waiting.isEmpty }
    package var count: Int { waiting.count }

    package mutating func append(_ happening: Happening) { waiting.append(happening) }

    /// Hands over at most `limit`; how many.
    package mutating func deliver(limit: Int, into events: inout some TransportEvents) -> Int {
        var delivered = 0
        while delivered < limit, let next = waiting.popFirst() {
            delivered += 1
            switch next {
            case .linkUp(let link, let peer, let inbound): events.linkUp(link, peer: peer, inbound: inbound)
            case .linkDown(let link, let reason): events.linkDown(link, reason: reason)
            case .message(let link, let bytes): bytes.withUnsafeBytes { events.message($0, on: link) }
            case .readCompleted(let completion): events.readCompleted(completion)
            case .exportRetired(let export): events.exportRetired(export)
            }
        }
        return delivered
    }
}
