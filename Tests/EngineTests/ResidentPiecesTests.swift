import Artifacts
import Digests
import Testing

@testable import Engine
@testable import Memory

private let one = TaskID(Digests.sha256([1]))
private let two = TaskID(Digests.sha256([2]))

/// Which pieces lie ready in memory, as scripts.
@Suite struct ResidentPiecesTests {
    private func slot(_ place: Int) -> Slot {
        Slot(arena: 1, generation: 0, offset: place << 20, capacityBytes: 1 << 20)
    }
    private func ready(_ pieces: inout ResidentPieces, _ task: TaskID, _ piece: UInt32) -> ResidentNumber {
        pieces.insert(task, PieceIndex(piece), slot(Int(piece)), isLoading: false)
    }

    @Test func theLongestIdleIsEvictedFirstAndWhatIsUsedNever() {
        var pieces = ResidentPieces(bytesMax: 8 << 20)
        let numbers = (0..<4).map { ready(&pieces, one, UInt32($0)) }
        #expect(pieces.use(numbers[0]) == slot(0) && pieces.use(numbers[1]) == slot(1))
        #expect(pieces.release(numbers[0]) == nil)
        // 1 is in use, 0 became idle last.
        #expect([pieces.evict(), pieces.evict(), pieces.evict(), pieces.evict()] == [slot(2), slot(3), slot(0), nil])
        #expect(pieces.find(one, PieceIndex(0)) == nil && pieces.find(one, PieceIndex(1))?.isLoading == false)
        #expect(pieces.bytes == 1 << 20)
        #expect(pieces.release(numbers[1]) == nil && pieces.evict() == slot(1))
        #expect(pieces.isEmpty && pieces.bytes == 0)
    }

    @Test func aPieceBeingLoadedIsNeitherEvictedNorUsedBeforeItIsThere() {
        var pieces = ResidentPieces(bytesMax: 8 << 20)
        let number = pieces.insert(one, PieceIndex(0), slot(0), isLoading: true)
        #expect(pieces.find(one, PieceIndex(0))?.isLoading == true && pieces.evict() == nil)
        let (isReady, free) = pieces.loaded(number, ok: true)
        #expect(isReady && free == nil && pieces.find(one, PieceIndex(0))?.isLoading == false)
        let failing = pieces.insert(one, PieceIndex(1), slot(1), isLoading: true)
        #expect(pieces.loaded(failing, ok: false) == (false, slot(1)))
        #expect(pieces.find(one, PieceIndex(1)) == nil)
    }

    @Test func whatIsForgottenIsFreeAtOnceOrWithItsLastUse() {
        var pieces = ResidentPieces(bytesMax: 8 << 20)
        let used = ready(&pieces, one, 0)
        _ = ready(&pieces, one, 1)
        let loading = pieces.insert(one, PieceIndex(2), slot(2), isLoading: true)
        let other = ready(&pieces, two, 3)
        _ = pieces.use(used)
        _ = pieces.use(used)
        #expect(pieces.forget(one) == [slot(1)])
        #expect(pieces.find(one, PieceIndex(0)) == nil && pieces.find(two, PieceIndex(3))?.number == other)
        // The same piece anew, beside the old one that is still read.
        let anew = pieces.insert(one, PieceIndex(0), slot(4), isLoading: false)
        #expect(pieces.release(used) == nil && pieces.release(used) == slot(0))
        #expect(pieces.loaded(loading, ok: true) == (false, slot(2)))
        #expect(pieces.find(one, PieceIndex(0))?.number == anew)
        #expect(Set(pieces.forget(nil)) == [slot(3), slot(4)] && pieces.isEmpty)
    }

    @Test func thereIsRoomUpToItsShare() {
        var pieces = ResidentPieces(bytesMax: 2 << 20)
        _ = ready(&pieces, one, 0)
        #expect(pieces.hasRoom(for: 1 << 20) && !pieces.hasRoom(for: 1 << 20 + 1))
    }

    @Test func useWithoutEndKeepsItsBookkeepingSmall() {
        var pieces = ResidentPieces(bytesMax: 8 << 20)
        let numbers = (0..<4).map { ready(&pieces, one, UInt32($0)) }
        for step in 0..<10_000 {
            _ = pieces.use(numbers[step % 4])
            #expect(pieces.release(numbers[step % 4]) == nil)
        }
        #expect(pieces.noted <= 64 + 2 * 4 + 1)
        #expect((0..<4).map { _ in pieces.evict() } == (0..<4).map { slot($0) })
    }
}
