import Transport

/// What tests look at, and what they do to a link that no device does on demand. Nothing here is called otherwise.
extension VerbsTransport {
    /// The device's side of a link.
    package struct LinkInspection {
        /// The queue pairs it READs over, and those the far side READs over.
        package let fetchQueuePairs: [UInt32]
        package let serveQueuePairs: [UInt32]
        /// Windows that are being bound.
        package let bindsPending: Int
    }

    /// A link as the device knows it; nil once it is gone.
    package func inspect(_ link: LinkID) -> LinkInspection? {
        links[link].map {
            LinkInspection(
                fetchQueuePairs: $0.fetchLanes.map(\.number), serveQueuePairs: $0.serveLanes.map(\.number),
                bindsPending: $0.bindsPending)
        }
    }

    /// Requests posted or listed on any queue pair and not completed.
    package var requestsOutstandingCount: Int { requestsOutstanding }

    /// Puts another value where a link's generation word stands: as if another process had come to answer in its place.
    package func forgeGeneration(of link: LinkID) { links[link]?.word?.forge() }

    /// The same for every link, also those that are not up yet.
    package func forgeGenerations() { for link in links.all { link.word?.forge() } }
}
