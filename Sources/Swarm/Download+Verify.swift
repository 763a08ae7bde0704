import Artifacts

/// Verification: what happens to a piece once it lies in a slot.
extension Download {
    /// Whether arrived pieces are still worth keeping: not after a failure. A cancelled download keeps what it already
    /// has.
    private var keepsPieces: Bool { ending == nil || ending == .cancelled }

    /// A piece lies in a slot: the first copy goes to a worker, any other is thrown away.
    mutating func arrive(_ number: Int, from source: PieceSource) {
        let address = numbering.address(number)
        let file = Int(address.file.value)
        guard keepsPieces, !held.contains(number), flights[number]?.arrived == nil,
            files[file].phase == .fetching
        else { return discard(number, from: source) }
        flights[number, default: Flight()].arrived = source
        files[file].verifying += 1
        inFlightBytes += numbering.sizeBytes(number)
        if case .origin = source { originSlotBytes += numbering.sizeBytes(number) }
        withdrawOthers(number)
        refresh(number)
        actions.append(.keep(address, expected: digests[number], from: source))
    }

    /// Frees the slot of a piece that nobody waits for.
    mutating func discard(_ number: Int, from source: PieceSource) {
        counted.wastedBytes += UInt64(numbering.sizeBytes(number))
        actions.append(.discard(numbering.address(number), from: source))
    }

    /// One copy is here: wants of the same piece elsewhere are taken back.
    private mutating func withdrawOthers(_ number: Int) {
        for copy in flights[number]?.copies ?? [] where copy.state == .wanted {
            actions.append(.withdraw(copy.peer, numbering.address(number)))
            removeCopy(number, copy.peer)
        }
    }

    /// Takes a piece back from its worker, whatever came of it.
    private mutating func endVerification(_ address: PieceAddress, _ event: StaticString) -> (
        Int, PieceSource
    ) {
        let number = numbering.number(address)
        guard let source = flights[number]?.arrived else {
            preconditionFailure("\(event) of \(address), which is with no worker")
        }
        flights[number]!.arrived = nil
        files[Int(address.file.value)].verifying -= 1
        inFlightBytes -= numbering.sizeBytes(number)
        if case .origin = source { originSlotBytes -= numbering.sizeBytes(number) }
        if flights[number]!.isEmpty { flights[number] = nil }
        return (number, source)
    }

    /// The piece is stored: counted, announced, told to our children.
    mutating func kept(_ address: PieceAddress, _ digest: Digest) {
        let (number, source) = endVerification(address, "kept")
        let file = Int(address.file.value)
        let sizeBytes = UInt64(numbering.sizeBytes(number))
        guard files[file].phase == .fetching else {
            // Its digests were withdrawn while it was being stored; it goes with the file.
            counted.wastedBytes += sizeBytes
            forgetWhenClear(address.file)
            return
        }
        held.insert(number)
        files[file].missing -= 1
        missingPieces -= 1
        counted.keptBytes += sizeBytes
        switch source {
        case .peer(let peer):
            if let place = place(of: peer) {
                parents[place].attempts = 0
                if parents[place].isSeed {
                    counted.seedBytes += sizeBytes
                } else {
                    counted.peerBytes += sizeBytes
                }
            } else {
                counted.peerBytes += sizeBytes
            }
            actions.append(.announce(address, digest: nil))
        case .origin:
            counted.originBytes += sizeBytes
            files[file].fromOrigin += 1
            files[file].hasDigests = true
            digests[number] = digest
            actions.append(.announce(address, digest: digest))
        }
        actions.append(.have(address))
        withdrawOthers(number)
        refresh(number)
        publishWhenComplete(address.file)
    }

    /// The bytes were wrong: a parent is excluded for it; the origin gets a second chance, under another lease.
    mutating func mismatched(_ address: PieceAddress, _ nowNs: UInt64) {
        let (number, source) = endVerification(address, "mismatched")
        let file = Int(address.file.value)
        counted.wastedBytes += UInt64(numbering.sizeBytes(number))
        refresh(number)
        forgetWhenClear(address.file)
        switch source {
        case .peer(let peer):
            guard let place = place(of: peer), parents[place].state != .excluded else { return }
            if files[file].phase != .fetching || nowNs < files[file].forgiveUntilNs {
                // Digests changed under way; the parent may not have heard. What it has of the file is asked for
                // afresh.
                if parents[place].isUp {
                    closeSession(place, address.file)
                    let retryAtNs = nowNs + backoff(settings.unknownRetryNs, doublings: 1)
                    parents[place].sessions[address.file] = Parent.Session(state: .unknown(retryAtNs: retryAtNs))
                    noteDue(retryAtNs)
                }
            } else {
                exclude(place, address)
            }
        case .origin(let lease):
            guard files[file].phase == .fetching else { return }
            let sentence =
                "\(address.piece) of \(path(address.file)), read at the origin, does not match the digest known for it: "
                + "the file changed at the origin, or an earlier reader of it was wrong; pull the model again to pin it anew"
            if let index = leases.firstIndex(where: { $0.id == lease }) { leases[index].failure = sentence }
            if !files[file].originMismatches.insert(address.piece).inserted { end(.failed(sentence), nowNs) }
        }
    }

    /// The piece could not be stored: the download cannot go on.
    mutating func keepFailed(_ address: PieceAddress, _ reason: String, _ nowNs: UInt64) {
        let (number, _) = endVerification(address, "keepFailed")
        refresh(number)
        forgetWhenClear(address.file)
        end(.failed(reason), nowNs)
    }
}
