import Artifacts

/// Neighbourhoods: enough parents for everyone, and a graph without islands.
///
/// The hosts of a model are laid out on several rings, each in another pseudo-random order of their names. A host's
/// parents are the seeds that work on the model, some hosts near it, and its neighbours on the rings: that graph is
/// connected and well mixed, needs no memory, and changes little when a host comes or goes.
extension Scheduler {
    mutating func askForPush(_ id: ModelID) {
        guard models[id]?.joined.isEmpty == false, !models[id]!.wantsPush else { return }
        models[id]!.wantsPush = true
        unpushed.append(id)
    }

    mutating func pushNeighbourhoods(_ id: ModelID) {
        guard let model = models[id], !model.joined.isEmpty else { return }
        models[id]!.pushedNs = nowNs
        sendNeighbourhoods(id, to: model.joined.filter { hosts[$0]!.session != nil }.sorted())
    }

    /// Sends those of the hosts whose parents changed their new ones.
    mutating func sendNeighbourhoods(_ id: ModelID, to targets: [HostNumber]) {
        let circle = ParentCircle(parentCandidates(of: id), ringCount: max(1, settings.neighbourhoodSize / 2))
        for target in targets {
            let parents = circle.parents(of: hosts[target]!, sizeMax: settings.neighbourhoodSize)
            guard models[id]!.neighbourhoods[target] != parents else { continue }
            models[id]!.neighbourhoods[target] = parents
            counters.neighbourhoods += 1
            send(target, .neighbourhood(id, parents))
        }
    }

    /// Hosts that hold or download any of the model's content, and can be reached.
    private func parentCandidates(of id: ModelID) -> [HostState] {
        let model = models[id]!
        let wanted = Set(model.tasks)
        return hosts.values.filter { host in
            guard !host.isExcluded, !host.info.addresses.isEmpty else { return false }
            if model.joined.contains(host.number) { return true }
            return host.held.count < wanted.count
                ? host.held.keys.contains { wanted.contains($0) }
                : model.tasks.contains { host.held[$0] != nil }
        }
    }
}

/// The hosts of one model, arranged for choosing parents.
struct ParentCircle {
    private let members: [HostState]
    private let seeds: Ring
    private let rings: [Ring]
    private let machines: [String: Ring]
    private let racks: [String: Ring]

    init(_ members: [HostState], ringCount: Int) {
        self.members = members
        let places = members.indices
        seeds = Ring(places.filter { members[$0].isSeed }, of: members, turn: 0)
        rings = (0..<UInt64(ringCount)).map { Ring(places, of: members, turn: $0) }
        machines = Dictionary(grouping: places.filter { !members[$0].info.machine.isEmpty }) {
            members[$0].info.machine
        }.mapValues { Ring($0, of: members, turn: 0) }
        racks = Dictionary(grouping: places.filter { !members[$0].info.rack.isEmpty }) {
            "\(members[$0].info.zone)/\(members[$0].info.rack)"
        }.mapValues { Ring($0, of: members, turn: 0) }
    }

    /// A host's parents, sorted by name.
    func parents(of host: HostState, sizeMax: Int) -> [Parent] {
        var chosen = Choice(of: host.number, sizeMax: sizeMax)
        if members.count <= sizeMax {
            for member in members { chosen.add(member) }
            return chosen.parents(of: host)
        }
        take(from: seeds, of: host, turn: 0, until: sizeMax / 2, &chosen)
        let near = chosen.count + sizeMax / 4
        if let ring = machines[host.info.machine] {
            take(from: ring, of: host, turn: 0, until: near, &chosen)
        }
        if let ring = racks["\(host.info.zone)/\(host.info.rack)"] {
            take(from: ring, of: host, turn: 0, until: near, &chosen)
        }
        for (turn, ring) in rings.enumerated() {
            let place = ring.place(of: host, turn: UInt64(turn))
            chosen.add(members[ring.member(place, step: 0, isOther: host.number)])
            chosen.add(members[ring.member(place, step: -1, isOther: host.number)])
        }
        take(from: rings[0], of: host, turn: 0, until: sizeMax, &chosen)
        return chosen.parents(of: host)
    }

    private func take(
        from ring: Ring, of host: HostState, turn: UInt64, until size: Int, _ chosen: inout Choice
    ) {
        let place = ring.place(of: host, turn: turn)
        for step in 0..<ring.count {
            guard chosen.count < size else { return }
            chosen.add(members[ring.member(place, step: step, isOther: nil)])
        }
    }

    /// Parents chosen so far: never the host itself, none twice.
    private struct Choice {
        let own: HostNumber
        let sizeMax: Int
        var chosen: [HostNumber: HostState] = [:]
        var count: Int { chosen.count }

        init(of own: HostNumber, sizeMax: Int) {
            self.own = own
            self.sizeMax = sizeMax
        }

        mutating func add(_ host: HostState) {
            if host.number != own, chosen.count < sizeMax { chosen[host.number] = host }
        }

        func parents(of host: HostState) -> [Parent] {
            chosen.values.map {
                Parent(
                    host: $0.info.host, incarnation: $0.info.incarnation, addresses: $0.info.addresses,
                    isSeed: $0.isSeed, distance: host.info.distance(to: $0.info))
            }.sorted { $0.host < $1.host }
        }
    }

    /// Hosts in one pseudo-random order, closed to a ring.
    private struct Ring {
        private let keys: [(key: UInt64, number: HostNumber, member: Int)]
        var count: Int { keys.count }

        init(_ places: some Sequence<Int>, of members: [HostState], turn: UInt64) {
            keys = places.map { (Ring.key(members[$0], turn), members[$0].number, $0) }
                .sorted { ($0.key, $0.number) < ($1.key, $1.number) }
        }

        private static func key(_ host: HostState, _ turn: UInt64) -> UInt64 { mixed(host.mix ^ mixed(turn)) }

        /// The place of the first member behind the host; also of a host that is no member.
        func place(of host: HostState, turn: UInt64) -> Int {
            let own = (Ring.key(host, turn), host.number)
            var low = 0
            var high = keys.count
            while low < high {
                let middle = (low + high) / 2
                if (keys[middle].key, keys[middle].number) <= own { low = middle + 1 } else { high = middle }
            }
            return low
        }

        /// The member so many steps from a place, round the ring; stepping on from a host that asks for others.
        func member(_ place: Int, step: Int, isOther own: HostNumber?) -> Int {
            let direction = step < 0 ? -1 : 1
            var at = ((place + step) % keys.count + keys.count) % keys.count
            if let own, keys[at].number == own {
                at = ((at + direction) % keys.count + keys.count) % keys.count
            }
            return keys[at].member
        }
    }
}
