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
        let circle = ParentCircle(parentCandidates(of: id), settings: settings)
        for target in targets {
            let parents = circle.parents(of: hosts[target]!)
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
    private let sizeMax: Int
    private let seedsMax: Int
    private let nearMax: Int
    private let seedThreshold: UInt64
    private let seeds: Ring
    private let rings: [Ring]
    private let machines: [String: Ring]
    private let racks: [String: [Ring]]

    init(_ members: [HostState], settings: SchedulingSettings) {
        self.members = members
        sizeMax = settings.neighbourhoodSize
        seedsMax = max(1, settings.seedParentsMax)
        let places = members.indices
        seeds = Ring(places.filter { members[$0].isSeed }, of: members, turn: 0)
        // Rounded to a power of two, so that few change their seeds when a host comes or goes.
        var rounded = 1
        while rounded < members.count { rounded *= 2 }
        let share = min(1, Double(settings.seedChildren) / Double(rounded))
        seedThreshold = share >= 1 ? .max : UInt64(share * 0x1p64)
        var racks: [String: [Int]] = [:]
        for place in places where !members[place].info.rack.isEmpty {
            racks["\(members[place].info.zone)/\(members[place].info.rack)", default: []].append(place)
        }
        // One rack for all says nothing about distance.
        let hasRacks = racks.contains { $1.count < members.count }
        nearMax = hasRacks ? sizeMax * settings.nearPerMille / 1000 : 0
        rings = (0..<UInt64(max(1, sizeMax / 2))).map { Ring(places, of: members, turn: $0) }
        machines = Dictionary(grouping: places.filter { !members[$0].info.machine.isEmpty }) {
            members[$0].info.machine
        }.filter { $1.count > 1 }.mapValues { Ring($0, of: members, turn: 0) }
        let nearRings = UInt64(max(1, nearMax / 2))
        self.racks =
            !hasRacks
            ? [:]
            : racks.mapValues { places in (0..<nearRings).map { Ring(places, of: members, turn: $0) } }
    }

    /// A host's parents, sorted by name.
    func parents(of host: HostState) -> [Parent] {
        var chosen = Choice(of: host.number, sizeMax: sizeMax)
        // Where leaving out a few would make a few too busy, nobody is left out.
        if members.count <= sizeMax * 3 / 2 {
            chosen = Choice(of: host.number, sizeMax: members.count)
            for member in members { chosen.add(member) }
            return chosen.parents(of: host)
        }
        takeSeeds(of: host, &chosen)
        if let ring = machines[host.info.machine] {
            take(from: ring, of: host, turn: 0, until: chosen.count + sizeMax / 4, &chosen)
        }
        if nearMax > 0, let near = racks["\(host.info.zone)/\(host.info.rack)"] {
            takeAround(near, of: host, until: chosen.count + nearMax, &chosen)
        }
        takeAround(rings, of: host, until: sizeMax, &chosen)
        take(from: rings[0], of: host, turn: 0, until: sizeMax, &chosen)
        return chosen.parents(of: host)
    }

    /// Seeds, if this is one of the few hosts that read from them directly; seeds have each other always.
    private func takeSeeds(of host: HostState, _ chosen: inout Choice) {
        guard seeds.count > 0 else { return }
        let first = seeds.place(of: host, turn: 0)
        for step in 0..<seeds.count {
            guard chosen.count < seedsMax else { return }
            let seed = members[seeds.member(first, step: step, isOther: nil)]
            if host.isSeed || mixed(host.mix ^ mixed(seed.mix)) <= seedThreshold { chosen.add(seed) }
        }
    }

    /// A host's neighbours on each of the rings.
    private func takeAround(_ rings: [Ring], of host: HostState, until size: Int, _ chosen: inout Choice) {
        for (turn, ring) in rings.enumerated() where ring.count > 1 && chosen.count < size {
            let place = ring.place(of: host, turn: UInt64(turn))
            chosen.add(members[ring.member(place, step: 0, isOther: host.number)])
            guard chosen.count < size else { return }
            chosen.add(members[ring.member(place, step: -1, isOther: host.number)])
        }
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
