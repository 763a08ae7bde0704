import Testing

@testable import Artifacts

@Suite struct PieceLayoutTests {
    private static let mebibyte: UInt64 = 1 << 20

    @Test(
        arguments: [
            (0, 1, 0), (1, 1, 1), (mebibyte, 1, 1), (mebibyte + 1, 1, 2), (1024 * mebibyte, 1, 1024),
            (1024 * mebibyte + 1, 4, 257), (2048 * mebibyte, 4, 512),
            (2048 * mebibyte + 1, 8, 257), (16384 * mebibyte, 8, 2048), (16384 * mebibyte + 1, 16, 1025),
        ] as [(UInt64, UInt32, Int)])
    func piecesGrowWithTheFile(_ fileBytes: UInt64, _ pieceMebibytes: UInt32, _ count: Int) {
        let layout = PieceLayout(fileBytes: fileBytes)
        #expect(layout.pieceBytes == pieceMebibytes << 20)
        #expect(layout.count == count)
    }

    @Test(arguments: [1, 5_000_000, 4 << 20, (8 << 20) + 1, 2_200_000_000] as [UInt64])
    func piecesCoverTheFileOnce(_ fileBytes: UInt64) {
        let layout = PieceLayout(fileBytes: fileBytes)
        var reached: UInt64 = 0
        for index in 0..<layout.count {
            let range = layout.range(of: PieceIndex(index))
            #expect(range.offset == reached)
            #expect(range.length > 0)
            reached = range.end
        }
        #expect(reached == fileBytes)
    }

    @Test func aPieceBeyondTheFileTraps() async {
        await #expect(processExitsWith: .failure) { _ = PieceLayout(fileBytes: 1).range(of: PieceIndex(1)) }
    }
}

@Suite struct PieceSetTests {
    @Test(arguments: [0, 1, 7, 8, 9, 63, 64, 65, 130]) func theWireFormGivesTheSetBack(_ capacity: Int) throws {
        var set = PieceSet(capacity: capacity)
        for piece in stride(from: 0, to: capacity, by: 3) { set.insert(PieceIndex(piece)) }
        #expect(set.bytes.count == (capacity + 7) / 8)
        #expect(try #require(PieceSet(capacity: capacity, bytes: set.bytes)) == set)
        #expect(set.members.count == set.count)
        #expect(set.missing.count == capacity - set.count)
        #expect(PieceSet.full(capacity: capacity).isFull)
    }

    @Test func bitsBeyondTheCapacityAreRefused() {
        #expect(PieceSet(capacity: 3, bytes: [0b0111]) != nil)
        #expect(PieceSet(capacity: 3, bytes: [0b1000]) == nil)
        #expect(PieceSet(capacity: 3, bytes: [0, 0]) == nil)
        #expect(PieceSet(capacity: 64, bytes: [UInt8](repeating: 255, count: 8))?.isFull == true)
    }

    @Test func insertingTwiceCountsOnce() {
        var set = PieceSet(capacity: 100)
        let first = set.insert(PieceIndex(99))
        let second = set.insert(PieceIndex(99))
        #expect(first && !second)
        #expect(set.count == 1)
        #expect(set.contains(PieceIndex(99)))
        #expect(!set.contains(PieceIndex(100)))
        let removed = set.remove(PieceIndex(99))
        let again = set.remove(PieceIndex(99))
        #expect(removed && !again)
        #expect(set.isEmpty)
    }

    @Test func mergingIsAUnion() {
        var left = PieceSet(capacity: 70)
        var right = PieceSet(capacity: 70)
        left.insert(PieceIndex(0))
        left.insert(PieceIndex(65))
        right.insert(PieceIndex(65))
        right.insert(PieceIndex(69))
        left.formUnion(right)
        #expect(left.members == [PieceIndex(0), PieceIndex(65), PieceIndex(69)])
        #expect(left.count == 3)
    }
}
