import Artifacts
import Digests
import Glibc
import Storage
import System

/// A directory of a test's own, gone with the last reference.
final class TestDirectory: Sendable {
    let path: String

    init(under parent: String = CurrentProcess.environment("TMPDIR") ?? "/tmp") throws {
        var template = Array("\(parent)/martlet-storage-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw Errno.last("mkdtemp") }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        let slash = path.lastIndex(of: "/")!
        try? Directory(path: String(path[..<slash])).removeTree(String(path[path.index(after: slash)...]))
    }
}

/// Random numbers that a seed reproduces (SplitMix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    init(_ seed: UInt64) { state = seed }
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// A file's content and everything that identifies it.
final class Sample: Sendable {
    let bytes: [UInt8]
    let task: TaskID
    let layout: PieceLayout
    var sizeBytes: UInt64 { UInt64(bytes.count) }

    init(seed: UInt64, sizeBytes: Int, algorithm: Digest.Algorithm = .sha256) {
        var random = Seeded(seed)
        let words = (0..<(sizeBytes + 7) / 8).map { _ in random.next() }
        let bytes = words.withUnsafeBytes { Array($0.prefix(sizeBytes)) }
        self.bytes = bytes
        task = TaskID(bytes.withUnsafeBytes { Digests.digest(algorithm, $0) })
        layout = PieceLayout(fileBytes: UInt64(sizeBytes))
    }

    var pieces: [PieceIndex] { (0..<layout.count).map { PieceIndex($0) } }

    func with<Result>(_ piece: PieceIndex, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows
        -> Result
    {
        let range = layout.range(of: piece)
        return try bytes.withUnsafeBytes {
            try body(UnsafeRawBufferPointer(rebasing: $0[Int(range.offset)..<Int(range.end)]))
        }
    }

    func digest(_ piece: PieceIndex) -> Digest { with(piece) { Digests.piece($0) } }

    func keep(_ piece: PieceIndex, in file: TaskFile) throws {
        _ = try with(piece) { try file.keep(piece, bytes: $0, digest: Digests.piece($0)) }
    }

    /// Keeps all pieces and publishes.
    @discardableResult
    func put(in store: Store) throws -> TaskFile {
        let file = try store.open(task, sizeBytes: sizeBytes)
        for piece in pieces { try keep(piece, in: file) }
        guard
            try file.publish(expected: nil)
                == .published(task.digest.algorithm == .origin ? nil : task.digest)
        else {
            throw StorageError(.corrupt, "the sample was not published")
        }
        return file
    }
}

let mebibyte = 1 << 20
/// Of a small file.
let quarterPiece = 1 << 18

func configuration(
    _ directory: TestDirectory, budgetBytes: UInt64? = nil, faults: (any StorageFaults)? = nil,
    boot: UInt8 = 1
) -> StoreConfiguration {
    StoreConfiguration(
        directory: directory.path + "/store", budgetBytes: budgetBytes, freeBytesMin: 0, faults: faults,
        boot: BootID(bytes: Array(repeating: boot, count: 16)))
}

func manifest(_ name: String, _ files: [(String, Sample)]) throws -> Manifest {
    try Manifest(
        reference: "hf://org/\(name)@main", revision: "0123abcd",
        files: files.map {
            ManifestFile(
                path: $0.0, sizeBytes: $0.1.sizeBytes, publishedDigest: $0.1.task.digest, task: $0.1.task)
        })
}

func readFile(_ path: String) throws -> [UInt8] {
    let file = try Directory(path: String(path[..<path.lastIndex(of: "/")!]))
        .open(String(path[path.index(after: path.lastIndex(of: "/")!)...]), .read)
    var bytes = [UInt8](repeating: 0, count: Int(try file.status().sizeBytes))
    let count = try bytes.withUnsafeMutableBytes { try file.read(at: 0, into: $0) }
    return Array(bytes.prefix(count))
}

func writeFile(_ path: String, _ bytes: [UInt8], at offset: UInt64 = 0) throws {
    let descriptor = Glibc.open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    let file = try FileDescriptor(descriptor, "open")
    try bytes.withUnsafeBytes { try file.write($0, at: offset) }
}

/// The code a call fails with; nil when it does not fail.
func code(_ body: () throws -> Void) -> StorageError.Code? {
    do {
        try body()
        return nil
    } catch {
        return (error as? StorageError)?.code
    }
}
