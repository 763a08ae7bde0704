import Artifacts
import Configuration
import HTTP
import Origins
import RPC
import System

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
private func utf8(_ texts: String...) -> [[UInt8]] { texts.map { Array($0.utf8) } }

extension FuzzTarget {
    static let json = FuzzTarget(
        "json",
        seeds: utf8(
            #"{"a": [1, 2.5e-3, true, null, "x\u00e9\n"], "b": {"c": {}}, "d": 18446744073709551615}"#,
            #"["\ud83d\ude00", [[[[[[]]]]]], "", -0]"#, String(repeating: "[", count: 65)),
        words: [
            "\\u", "\\ud800", "\\udc00", "{\"", "\":", "[", "]", "}", "e+", "1844674407370955161", "null", "[[[[[[",
        ]
    ) { bytes in
        var reader = JSONReader(bytes)
        do throws(JSONReader.Fault) {
            let kind = try reader.kind()
            try reader.skip()
            try reader.end()
            var outcome = Outcome(1)
            outcome.mix("\(kind)")
            return outcome.value
        } catch {
            precondition(error.offset <= bytes.count, "a fault lies behind the text")
            var outcome = Outcome(2)
            outcome.mix(error.expected)
            outcome.mix(size: error.offset)
            return outcome.value
        }
    }

    private static func safetensorsSeed(_ json: String) -> [UInt8] {
        let length = UInt64(json.utf8.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: length >> UInt64(8 * $0)) } + Array(json.utf8)
    }

    /// The first 8 bytes are what they say, or are put right, so that the text behind them is read as well.
    static let safetensors = FuzzTarget(
        "safetensors",
        seeds: [
            safetensorsSeed(
                #"{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}}"#
            ),
            safetensorsSeed(#"{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}"#),
        ],
        words: [
            "\"dtype\":\"F16\"", "\"shape\":[", "\"data_offsets\":[0,", "18446744073709551615", "4294967296",
            "},\"b\":{",
        ]
    ) { bytes in
        func read(_ bytes: [UInt8]) -> UInt64 {
            guard bytes.count >= 8 else { return 1 }
            let fileBytes = UInt64(bytes.count) + 24
            do throws(SafetensorsHeader.Fault) {
                let prefixBytes = try SafetensorsHeader.prefixBytes(first8: bytes.prefix(8), fileBytes: fileBytes)
                guard prefixBytes <= UInt64(bytes.count) else { return 2 }
                let header = try SafetensorsHeader(prefix: Array(bytes.prefix(Int(prefixBytes))), fileBytes: fileBytes)
                for tensor in header.tensors {
                    precondition(tensor.end <= fileBytes - header.dataOffset, "a tensor lies outside its file")
                }
                return Outcome(3, UInt64(header.tensors.count), UInt64(header.metadata.count)).value
            } catch {
                var outcome = Outcome(4)
                outcome.mix(sentence: error.description)
                return outcome.value
            }
        }
        guard bytes.count > 8 else { return read(bytes) }
        return read(bytes) ^ read(safetensorsSeed(text(Array(bytes[8...]))))
    }

    static let modelReference = FuzzTarget(
        "model-reference",
        seeds: utf8(
            "hf://org/name@main", "hf://host.example:8080/org/name@refs/pr/1/dir/file.bin", "https://host/a%20b?x=1",
            "file:///srv/models/x", "hf://localhost:9/a/b@v1%2F2", "http://[::1]:80/x"),
        words: ["hf://", "http://", "file:///", "..", "%2e%2E", "%00", "%", "@", "//", "[::1]", "refs/", "é"]
    ) { bytes in
        do throws(ModelReferenceError) {
            let reference = try ModelReference(text(bytes))
            let canonical = reference.canonicalText
            guard let again = try? ModelReference(canonical) else { fatalError("‘\(canonical)’ is not read again") }
            precondition(again == reference, "‘\(canonical)’ is read as another reference")
            switch reference.source {
            case .hub(let hub):
                return Outcome(1, hub.host == nil ? 0 : 1, hub.path == nil ? 0 : 1).value
            case .http(let url):
                precondition(HTTPURL.origin(of: url) != nil, "‘\(url)’ is no URL")
                return 2
            case .file(let path):
                precondition(path.hasPrefix("/") && !path.split(separator: "/").contains(".."), "‘\(path)’ leads up")
                return 3
            }
        } catch {
            var outcome = Outcome(4)
            outcome.mix(sentence: error.description)
            return outcome.value
        }
    }

    static let configurationFile = FuzzTarget(
        "configuration-file",
        seeds: utf8(
            "# c\n[peer]\nrack = \"r12\"\nslots_bytes = '1GiB'\r\nschedulers = [\"10.0.0.5:7610\", \"b:1\"]\n\n[origin]\nretries = 1_0\n",
            "[a]\nb = true\nc = [ ] # x\n"),
        words: ["[peer]\n", " = ", "\"", "\\\"", "\\t", "'", "[\"", "\", \"", "]", "#", "\r\n", "9223372036854775808"]
    ) { bytes in
        do throws(ConfigurationError) {
            let file = try ConfigurationFile(path: "f", text: text(bytes))
            return Outcome(1, UInt64(min(file.entries.count, 8))).value
        } catch {
            var outcome = Outcome(2)
            // The end of the sentence: before it stands the text that is found fault with.
            outcome.mix(sentence: String(error.description.suffix(16)))
            return outcome.value
        }
    }

    static let hubTree = FuzzTarget(
        "hub-tree",
        seeds: utf8(
            #"[{"type":"file","path":"a/b","size":3,"oid":"8ab686eafeb1f44702738c8b0f24f2567c36da6d"},{"type":"directory","path":"a"}]"#,
            #"[{"type":"file","path":"w","size":1,"lfs":{"oid":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":9,"pointerSize":1},"xetHash":"x"}]"#
        ),
        words: [
            "\"path\":", "\"lfs\":{", "\"size\":", "\"oid\":\"", "{\"type\":\"file\"", "},{", "18446744073709551616",
        ]
    ) { bytes in
        do throws(JSONReader.Fault) {
            let entries = try HubAnswer.files(bytes)
            return Outcome(1, UInt64(entries.count), UInt64(entries.lazy.filter { $0.digest != nil }.count)).value
        } catch {
            var outcome = Outcome(2)
            outcome.mix(error.expected)
            return outcome.value
        }
    }

    static let hubCommit = FuzzTarget(
        "hub-commit",
        seeds: utf8(#"{"_id":"6","sha":"0123456789abcdef0123456789abcdef01234567","siblings":[{"rfilename":"a"}]}"#),
        words: ["\"sha\":\"", "{", "}", "[", ",\"sha\":1"]
    ) { bytes in
        do throws(JSONReader.Fault) {
            return Outcome(1, try HubAnswer.commit(bytes) == nil ? 0 : 1).value
        } catch {
            var outcome = Outcome(2)
            outcome.mix(error.expected)
            return outcome.value
        }
    }

    /// Lines of `name: value`.
    static let httpHead = FuzzTarget(
        "http-head",
        seeds: utf8(
            "content-length: 10\ncontent-range: bytes 0-9/100\nlink: <https://h/next?x=1>; rel=\"next\"\nretry-after: 7",
            "content-range: bytes */0\nlink: </a>; rel=prev, </b>; rel=next\nretry-after: Fri, 01 Jan 2027 00:00:00 GMT"
        ),
        words: ["content-range: bytes ", "link: <", ">; rel=next", "/", "-", "18446744073709551615", "retry-after: "]
    ) { bytes in
        let headers = text(bytes).split(separator: "\n").compactMap { line -> HTTPHeader? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            return HTTPHeader(line[..<colon].lowercased(), String(line[line.index(after: colon)...].drop { $0 == " " }))
        }
        let head = HTTPResponseHead(status: 206, headers: headers, url: "https://h/x")
        if let range = head.contentRange {
            precondition(range.first <= range.last && range.last < range.total, "a range that is none")
        }
        return Outcome(
            head.contentLength == nil ? 0 : 1, head.contentRange == nil ? 0 : 1, head.nextLink == nil ? 0 : 1,
            head.retryAfterSeconds == nil ? 0 : 1
        ).value
    }

    static let url = FuzzTarget(
        "url",
        seeds: utf8(
            "https://user:pass@Host.example:8443/a/b?q=1#f", "http://[::ffff:127.0.0.1]:80/", "http://2130706433/",
            "http://0x7f.1/x", "https://h", "10.0.0.0/8, models.internal, all"),
        words: [
            "http://", "https://", "@", "[::1]", ":80", "127.1", "0x", "%00", "\\", "/", "?", "#", ",", "/8", "all",
        ]
    ) { bytes in
        let url = text(bytes)
        let shown = HTTPURL.shown(url)
        var outcome = Outcome(HTTPURL.origin(of: url) == nil ? 0 : 1, shown == url ? 0 : 1)
        var rule = AddressRule.publicOnly
        outcome.mix(rule.allow(listed: url) == nil ? 0 : 1)
        rule.allow(serverOf: url)
        outcome.mix(rule == .publicOnly ? 0 : 1)
        if let address = InternetAddress(url) {
            outcome.mix(sentence: address.restriction ?? "public")
            precondition(InternetAddress(address.description) == address, "\(address) is not read again")
        }
        outcome.mix(AddressRange(url) == nil ? 0 : 1)
        return outcome.value
    }

    static let addresses = FuzzTarget(
        "addresses",
        seeds: utf8("10.0.0.7:7610", "[::1]:7610", "scheduler.example:1", "unix:/run/x.sock", "host-1.rack_2"),
        words: ["[", "]", ":", "::", "65535", "65536", "unix:", "/", "+1"], bytesMax: 300
    ) { bytes in
        let text = text(bytes)
        let network = NetworkAddress(text)
        if let network { precondition(NetworkAddress(network.description) == network, "\(network) is not read again") }
        let rpc = RPCAddress(text)
        if let rpc { precondition(RPCAddress(rpc.description) == rpc, "\(rpc) is not read again") }
        return Outcome(
            network == nil ? 0 : 1, rpc == nil ? 0 : 1, SocketAddress(hostAndPort: text) == nil ? 0 : 1,
            HostID(text) == nil ? 0 : 1, Digest(text: text) == nil ? 0 : 1
        ).value
    }
}
