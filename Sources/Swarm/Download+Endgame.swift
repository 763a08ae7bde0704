import Artifacts

/// End game: the last few pieces are asked for twice, so that one slow parent does not hold up the model.
extension Download {
    /// Whether few pieces are missing and every one is on its way.
    private var isEndGame: Bool {
        guard missingPieces > 0, missingPieces <= settings.endGamePiecesMax, originPending.count == 0 else {
            return false
        }
        return flights.reduce(0) { $0 + ($1.value.isBusy && !held.contains($1.key) ? 1 : 0) } == missingPieces
    }

    /// Pieces on their way from one parent alone, the longest asked for first.
    private var singles: [(number: Int, copy: Flight.Copy)] {
        flights.compactMap { number, flight -> (number: Int, copy: Flight.Copy)? in
            guard flight.arrived == nil, flight.copies.count == 1, !flight.copies[0].isAbandoned else {
                return nil
            }
            return (number, flight.copies[0])
        }.sorted { ($0.copy.sinceNs, $0.number) < ($1.copy.sinceNs, $1.number) }
    }

    /// Asks a second parent for pieces that have been on their way too long; never a third.
    mutating func askTwice(_ nowNs: UInt64) {
        guard isEndGame else { return }
        for (number, copy) in singles where nowNs >= copy.sinceNs + settings.endGameAgeNs {
            let usable = parents.indices.filter {
                parents[$0].peer != copy.peer && parents[$0].mayBeAsked(settings, wantsMax: settings.wantsPerParentMax)
            }
            guard inFlightBytes + numbering.sizeBytes(number) <= budgetBytes else { return }
            guard let place = bestParent(for: number, among: usable) else { continue }
            want(number, place, nowNs)
        }
    }

    /// When the next piece will have been on its way too long, if that is still to come.
    func endGameWakeNs(after nowNs: UInt64) -> UInt64? {
        guard isEndGame else { return nil }
        return singles.lazy.map { $0.copy.sinceNs + self.settings.endGameAgeNs }.first { $0 > nowNs }
    }
}
