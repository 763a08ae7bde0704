import CLinux

/// What the kernel says of its own ability to let one device reach another's memory, where it says anything.
///
/// Only what is known to be missing is named; a kernel that publishes no configuration as text gets no objection.
public struct KernelSupport: Sendable, Hashable {
    /// Whether NVIDIA's kernel module is loaded.
    public let hasGPUModule: Bool
    /// Options the kernel was built without, of those that a NIC's access to a GPU's memory needs.
    public let missingOptions: [String]

    /// Sharing buffers between drivers, telling the importer when one moves, and peers on PCI.
    static let options = ["CONFIG_DMA_SHARED_BUFFER", "CONFIG_DMABUF_MOVE_NOTIFY", "CONFIG_PCI_P2PDMA"]
    /// No configuration is longer; what comes after is not read.
    private static let linesMax = 100_000

    /// Looks at this machine, or at a tree of files that stands for it; `root` stands before every path.
    public init(root: String = "") {
        hasGPUModule = access("\(root)/sys/module/nvidia", F_OK) == 0
        let release = SystemTree.text("\(root)/proc/sys/kernel/osrelease") ?? ""
        let places = ["\(root)/boot/config-\(release)", "\(root)/lib/modules/\(release)/config"]
        let set = places.lazy.compactMap { Self.optionsSet(in: $0) }.first
        missingOptions = set.map { set in Self.options.filter { !set.contains($0) } } ?? []
    }

    /// To follow the sentence of a failure; empty where nothing is known to be missing.
    public var advice: String {
        missingOptions.isEmpty ? "" : "; this kernel was built without \(missingOptions.joined(separator: ", "))"
    }

    /// Which of the options a configuration sets; nil where it is not there.
    private static func optionsSet(in path: String) -> Set<String>? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var found: Set<String> = []
        var line = [CChar](repeating: 0, count: 1024)
        for _ in 0..<linesMax {
            guard fgets(&line, CInt(line.count), file) != nil else { break }
            let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            for option in options where text.hasPrefix("\(option)=") { found.insert(option) }
        }
        return found
    }
}
