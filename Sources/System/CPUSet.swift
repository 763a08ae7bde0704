import CLinux

/// A set of logical CPUs by the kernel's numbers, as in `/sys/devices/system/node/node0/cpulist`.
///
/// The text form is the kernel's list: `0-3,8`. Numbers run from 0 to 8191, the kernel's own limit.
public struct CPUSet: Hashable, Sendable, CustomStringConvertible {
    /// One more than the largest CPU number.
    public static let numberLimit = 8192

    /// Bit n of the words is CPU n.
    private(set) var words: [UInt64] = []

    /// The empty set.
    public init() {}

    /// The set of the numbers given.
    public init(_ numbers: some Sequence<Int>) {
        for number in numbers { insert(number) }
    }

    /// Parses the kernel's list, e.g. `0-3,8`; nil when it is malformed or names a CPU beyond the limit.
    public init?(list: some StringProtocol) {
        for part in list.split(separator: ",") {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
            guard let first = ends[0], ends.count <= 2, let last = ends[ends.count - 1],
                first >= 0, first <= last, last < Self.numberLimit
            else { return nil }
            for number in first...last { insert(number) }
        }
    }

    /// The CPUs the calling thread may run on.
    public static func ofCallingThread() throws(Errno) -> CPUSet {
        var words = [UInt64](repeating: 0, count: numberLimit / 64)
        let filled = words.withUnsafeMutableBufferPointer { martlet_thread_cpus($0.baseAddress!, $0.count) }
        guard filled >= 0 else { throw Errno(-filled, "sched_getaffinity") }
        var set = CPUSet()
        set.words = Array(words[..<Int(filled)])
        set.trim()
        return set
    }

    /// Adds a CPU.
    public mutating func insert(_ number: Int) {
        precondition((0..<Self.numberLimit).contains(number), "CPU \(number) is beyond the kernel's limit")
        while words.count <= number >> 6 { words.append(0) }
        words[number >> 6] |= 1 << UInt64(number & 63)
    }

    /// Whether a CPU is in the set.
    public func contains(_ number: Int) -> Bool {
        number >= 0 && number >> 6 < words.count && words[number >> 6] & (1 << UInt64(number & 63)) != 0
    }

    /// The CPUs in both sets.
    public func intersection(_ other: CPUSet) -> CPUSet { CPUSet(numbers.filter(other.contains)) }

    /// How many CPUs.
    public var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    /// Whether there are none.
    public var isEmpty: Bool { words.isEmpty }

    /// The numbers in rising order.
    public var numbers: [Int] { (0..<words.count * 64).filter(contains) }

    /// The kernel's list, e.g. `0-3,8`.
    public var description: String {
        var parts: [String] = []
        let all = numbers
        var start = 0
        while start < all.count {
            var end = start
            while end + 1 < all.count, all[end + 1] == all[end] + 1 { end += 1 }
            parts.append(start == end ? "\(all[start])" : "\(all[start])-\(all[end])")
            start = end + 1
        }
        return parts.joined(separator: ",")
    }

    // Equal sets have equal words.
    private mutating func trim() {
        while words.last == 0 { words.removeLast() }
    }
}
