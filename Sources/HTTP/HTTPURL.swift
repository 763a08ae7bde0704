/// What of a URL may be shown, and which server it speaks to.
public enum HTTPURL {
    /// The URL without user, password, query and fragment: the form for logs and errors.
    public static func shown(_ url: String) -> String {
        guard let scheme = url.firstRange(of: "://") else {
            return String(url.prefix { $0 != "?" && $0 != "#" })
        }
        let rest = url[scheme.upperBound...].prefix { $0 != "?" && $0 != "#" }
        let authority = rest.prefix { $0 != "/" }
        let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
        return String(url[..<scheme.upperBound] + host + rest[authority.endIndex...])
    }

    /// Scheme, host and port in lower case, the port always said (`https://huggingface.co:443`); nil when it is no
    /// http(s) URL.
    ///
    /// Two URLs with the same origin speak to the same server: what decides where a token may go.
    public static func origin(of url: String) -> String? {
        guard let scheme = url.firstRange(of: "://") else { return nil }
        let name = url[..<scheme.lowerBound].lowercased()
        guard name == "http" || name == "https" else { return nil }
        let authority = url[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" && $0 != "#" }
        let host =
            (authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority)
            .lowercased()
        guard !host.isEmpty else { return nil }
        let afterBracket = host.lastIndex(of: "]").map { host[host.index(after: $0)...] } ?? host[...]
        if afterBracket.contains(":") { return "\(name)://\(host)" }
        return "\(name)://\(host):\(name == "https" ? 443 : 80)"
    }
}

extension String {
    /// Where the first occurrence of a short needle is (the standard library's own search needs Foundation or regexes).
    func firstRange(of needle: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
            start = index(after: start)
        }
        return nil
    }
}
