import Artifacts

/// All pieces of a manifest numbered through, file after file, so that state per piece is a flat array or bit set.
struct PieceNumbering: Sendable {
    private let bases: [Int]
    private let layouts: [PieceLayout]

    init(_ manifest: Manifest) {
        layouts = manifest.files.map(\.layout)
        var next = 0
        var bases = [0]
        bases.reserveCapacity(layouts.count + 1)
        for layout in layouts {
            next += layout.count
            bases.append(next)
        }
        self.bases = bases
    }

    /// How many pieces there are.
    var count: Int { bases[layouts.count] }

    /// Whether the address names a piece of the manifest (an address may come from a remote peer).
    func contains(_ address: PieceAddress) -> Bool {
        Int(address.file.value) < layouts.count
            && Int(address.piece.value) < layouts[Int(address.file.value)].count
    }

    /// The number of a piece; traps outside the manifest.
    func number(_ address: PieceAddress) -> Int {
        precondition(contains(address), "\(address) is outside the manifest")
        return bases[Int(address.file.value)] + Int(address.piece.value)
    }

    /// The numbers of a file's pieces.
    func range(of file: FileIndex) -> Range<Int> { bases[Int(file.value)]..<bases[Int(file.value) + 1] }

    /// Which file a number belongs to (empty files own none).
    func file(of number: Int) -> FileIndex {
        var low = 0
        var high = layouts.count - 1
        while low < high {
            let middle = (low + high) / 2
            if bases[middle + 1] <= number { low = middle + 1 } else { high = middle }
        }
        return FileIndex(low)
    }

    /// The piece of a number.
    func address(_ number: Int) -> PieceAddress {
        let file = file(of: number)
        return PieceAddress(file: file, piece: PieceIndex(number - bases[Int(file.value)]))
    }

    /// The size of a piece.
    func sizeBytes(_ number: Int) -> Int {
        let address = address(number)
        return Int(layouts[Int(address.file.value)].range(of: address.piece).length)
    }
}
