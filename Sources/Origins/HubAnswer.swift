import Artifacts

/// What a hub answers, read from its JSON: the commit of a revision, a page of a commit's files.
package enum HubAnswer {
    /// One file of a tree.
    package struct Entry: Hashable {
        var isFile = false
        package fileprivate(set) var path = ""
        package fileprivate(set) var sizeBytes: UInt64 = 0
        fileprivate var oid: String?
        fileprivate var largeFileDigest: String?

        /// The published digest; nil when the hub gives none, or one that is none.
        package var digest: Digest? {
            if let largeFileDigest { return Digest(.sha256, hex: largeFileDigest) }
            return oid.flatMap { Digest(.gitBlob, hex: $0) }
        }
    }

    /// The commit in a revision's description; nil when it says none.
    package static func commit(_ bytes: [UInt8]) throws(JSONReader.Fault) -> String? {
        var reader = JSONReader(bytes)
        var commit: String? = nil
        try reader.object { (name, reader) throws(JSONReader.Fault) in
            if name == "sha" { commit = try reader.string() } else { try reader.skip() }
        }
        try reader.end()
        return commit
    }

    /// The files of a page of the tree.
    package static func files(_ bytes: [UInt8]) throws(JSONReader.Fault) -> [Entry] {
        var reader = JSONReader(bytes)
        var entries: [Entry] = []
        try reader.array { (reader) throws(JSONReader.Fault) in
            var entry = Entry()
            try reader.object { (name, reader) throws(JSONReader.Fault) in
                switch name {
                case "type": entry.isFile = try reader.string() == "file"
                case "path": entry.path = try reader.string()
                case "size": entry.sizeBytes = try reader.unsigned()
                case "oid" where try reader.kind() == .string: entry.oid = try reader.string()
                case "lfs" where try reader.kind() == .object:
                    try reader.object { (name, reader) throws(JSONReader.Fault) in
                        switch name {
                        case "oid": entry.largeFileDigest = try reader.string()
                        case "size": entry.sizeBytes = try reader.unsigned()
                        default: try reader.skip()
                        }
                    }
                default: try reader.skip()
                }
            }
            if entry.isFile { entries.append(entry) }
        }
        try reader.end()
        return entries
    }
}
