import Synchronization

/// Keeps secrets out of logs: remembered ones, and what looks like one by its place.
public enum Redaction {
    /// What stands in a secret's place.
    public static let mask = "***"
    private static let rememberedMax = 16
    private static let remembered = Mutex<[[UInt8]]>([])

    /// Never shows this text again in a log line. Texts shorter than six bytes are too common to hide, and ignored.
    ///
    /// Sixteen are remembered; the oldest makes room.
    public static func remember(_ secret: String) {
        let bytes = Array(secret.utf8)
        guard bytes.count >= 6 else { return }
        remembered.withLock { secrets in
            guard !secrets.contains(bytes) else { return }
            if secrets.count == rememberedMax { secrets.removeFirst() }
            secrets.append(bytes)
        }
    }

    /// Whether a field of this name holds a secret.
    public static func isSecret(fieldName: String) -> Bool {
        let name = fieldName.lowercased().split { !$0.isLetter }
        return name.contains {
            ["token", "password", "secret", "authorization", "cookie", "credential"].contains($0)
        }
    }

    /// The text without remembered secrets, bearer tokens, user names and passwords in URLs, and signed query
    /// parameters.
    public static func scrub(_ text: String) -> String {
        var bytes = Array(text.utf8)
        let secrets = remembered.withLock { $0 }
        var changed = false
        for secret in secrets {
            while let place = firstIndex(of: secret, in: bytes, from: 0) {
                bytes.replaceSubrange(place..<(place + secret.count), with: mask.utf8)
                changed = true
            }
        }
        if maskBearers(&bytes) { changed = true }
        if maskUserInfo(&bytes) { changed = true }
        if maskQueries(&bytes) { changed = true }
        return changed ? String(decoding: bytes, as: UTF8.self) : text
    }

    private static func maskBearers(_ bytes: inout [UInt8]) -> Bool {
        mask(after: Array("earer ".utf8), in: &bytes) { $0 <= 0x20 || $0 == UInt8(ascii: "\"") }
    }

    private static func maskUserInfo(_ bytes: inout [UInt8]) -> Bool {
        var from = 0
        var changed = false
        while let scheme = firstIndex(of: Array("://".utf8), in: bytes, from: from) {
            from = scheme + 3
            let end = bytes[from...].firstIndex { $0 <= 0x20 || "/?#\"'".utf8.contains($0) } ?? bytes.count
            guard let at = bytes[from..<end].lastIndex(of: UInt8(ascii: "@")) else { continue }
            bytes.replaceSubrange(from..<at, with: mask.utf8)
            changed = true
        }
        return changed
    }

    private static func maskQueries(_ bytes: inout [UInt8]) -> Bool {
        guard bytes.contains(UInt8(ascii: "=")) else { return false }
        var changed = false
        for name in [
            "Signature=", "signature=", "Credential=", "Security-Token=", "Policy=", "sig=", "token=",
        ] {
            let hit = mask(after: Array(name.utf8), in: &bytes) { $0 <= 0x20 || "&\"'#".utf8.contains($0) }
            if hit { changed = true }
        }
        return changed
    }

    private static func mask(after prefix: [UInt8], in bytes: inout [UInt8], until isEnd: (UInt8) -> Bool)
        -> Bool
    {
        var from = 0
        var changed = false
        while let place = firstIndex(of: prefix, in: bytes, from: from) {
            from = place + prefix.count
            let end = bytes[from...].firstIndex(where: isEnd) ?? bytes.count
            if end > from {
                bytes.replaceSubrange(from..<end, with: mask.utf8)
                changed = true
            }
        }
        return changed
    }

    private static func firstIndex(of needle: [UInt8], in bytes: [UInt8], from: Int) -> Int? {
        guard bytes.count - from >= needle.count else { return nil }
        var index = from
        while index + needle.count <= bytes.count {
            if bytes[index] == needle[0], bytes[index..<(index + needle.count)].elementsEqual(needle) {
                return index
            }
            index += 1
        }
        return nil
    }
}
