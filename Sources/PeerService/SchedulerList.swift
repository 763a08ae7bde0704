import ControlAPI
import RPC
import System

/// The schedulers that a manager named last, kept beside the store: a host that starts while the manager is away goes
/// on with them.
///
/// A text file of lines `name address address …`. What cannot be read is passed over: the list is a convenience, and
/// the manager's word replaces it. All methods block.
struct SchedulerList: Sendable {
    private static let fileName = "schedulers"
    /// Far more than any cluster has schedulers; what is longer was not written by us.
    private static let bytesMax = 256 << 10
    /// Where the file lies.
    let directory: String

    /// The list of last time; empty when there is none.
    func load() -> [String: [RPCAddress]] {
        do throws(Errno) {
            let directory = try Directory(path: directory)
            let file = try directory.open(SchedulerList.fileName, .read)
            var bytes = [UInt8](repeating: 0, count: SchedulerList.bytesMax)
            let count = try bytes.withUnsafeMutableBytes { buffer in
                Result { () throws(Errno) in try file.read(at: 0, into: buffer) }
            }.get()
            return SchedulerList.parse(String(decoding: bytes[..<count], as: UTF8.self))
        } catch {
            return [:]
        }
    }

    /// Keeps a list for the next start.
    func save(_ schedulers: [String: [RPCAddress]]) throws(Errno) {
        let text = SchedulerList.text(schedulers)
        guard text.utf8.count <= SchedulerList.bytesMax else { return }
        let directory = try Directory(path: directory)
        let temporary = "\(SchedulerList.fileName).new"
        let file = try directory.open(temporary, .createOrOpen)
        try file.truncate(sizeBytes: 0)
        try Array(text.utf8).withUnsafeBytes { bytes in
            Result { () throws(Errno) in try file.write(bytes, at: 0) }
        }.get()
        // A torn file after a crash of the machine would be worse than none.
        try file.syncData()
        try directory.rename(temporary, to: directory, SchedulerList.fileName)
    }

    static func text(_ schedulers: [String: [RPCAddress]]) -> String {
        schedulers.sorted { $0.key < $1.key }.map { name, addresses in
            ([name] + addresses.map { "\($0)" }).joined(separator: " ") + "\n"
        }.joined()
    }

    static func parse(_ text: String) -> [String: [RPCAddress]] {
        var found: [String: [RPCAddress]] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ").map(String.init)
            let addresses = words.dropFirst().compactMap { RPCAddress($0) }
            if let name = words.first, !addresses.isEmpty { found[name] = addresses }
        }
        return found
    }
}
