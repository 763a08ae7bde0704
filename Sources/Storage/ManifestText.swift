import Artifacts
import Digests

/// A manifest as text in the data directory: readable by people, bounded, and refused unless its own digest is right.
///
/// ```
/// martlet-manifest 1
/// reference hf://org/name@main
/// revision 0123…
/// <path> TAB <size> TAB <task> TAB <published digest, or ->
/// …
/// end <SHA-256 of the lines above>
/// ```
package enum ManifestText {
    /// 20 000 files with the longest paths and two digests each, and room to spare.
    static let bytesMax: UInt64 = 32 << 20
    private static let title = "martlet-manifest 1"

    /// Writes a manifest; nil when its reference or revision cannot stand on a line.
    package static func encode(_ manifest: Manifest) -> [UInt8]? {
        guard isLine(manifest.reference), isLine(manifest.revision),
            manifest.reference.utf8.count <= Limits.referenceBytesMax,
            manifest.revision.utf8.count <= Limits.referenceBytesMax
        else { return nil }
        var text = "\(title)\nreference \(manifest.reference)\nrevision \(manifest.revision)\n"
        for file in manifest.files {
            text +=
                "\(file.path)\t\(file.sizeBytes)\t\(file.task)\t\(file.publishedDigest.map(\.description) ?? "-")\n"
        }
        return Array(text.utf8) + Array("end \(Digests.sha256(Array(text.utf8)).hex)\n".utf8)
    }

    private static func isLine(_ text: String) -> Bool { text.utf8.allSatisfy { $0 >= 32 && $0 != 127 } }

    /// Reads a manifest; nil when anything about it is not as `encode` writes it.
    package static func decode(_ bytes: [UInt8]) -> Manifest? {
        let endCount = "end \n".utf8.count + 64
        guard bytes.count > endCount else { return nil }
        let body = Array(bytes.dropLast(endCount))
        guard Array(bytes.suffix(endCount)) == Array("end \(Digests.sha256(body).hex)\n".utf8) else {
            return nil
        }
        var lines = String(decoding: body, as: UTF8.self).split(
            separator: "\n", omittingEmptySubsequences: false)[...]
        guard lines.popFirst() == title[...], let reference = value(lines.popFirst(), "reference "),
            let revision = value(lines.popFirst(), "revision "), lines.popLast() == ""
        else { return nil }
        var files: [ManifestFile] = []
        for line in lines {
            let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
            guard fields.count == 4, let sizeBytes = UInt64(fields[1]), let task = TaskID(text: fields[2])
            else { return nil }
            let published = Digest(text: fields[3])
            guard published != nil || fields[3] == "-" else { return nil }
            files.append(
                ManifestFile(
                    path: String(fields[0]), sizeBytes: sizeBytes, publishedDigest: published, task: task))
        }
        return try? Manifest(reference: reference, revision: revision, files: files)
    }

    private static func value(_ line: Substring?, _ key: String) -> String? {
        guard let line, line.hasPrefix(key) else { return nil }
        return String(line.dropFirst(key.count))
    }
}
