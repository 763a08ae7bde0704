import System
import Transport
import TransportVerbs

/// A source: exports slots of seeded memory to whoever asks for a lease over its link.
///
/// Messages: `lease OFFSET LENGTH` → `leased OFFSET LENGTH EXPORT KEY-IN-HEX` or `refused OFFSET WHY`; `done EXPORT` ends
/// a lease; `check` → `checked N`, the number of bytes that are not what the seed says; `dial ADDRESS` has it connect
/// there as a reader would. The same `check` and `dial` can be typed, and `stop`; `fail` puts all queue pairs into ERR.
struct SourceProgram {
    let options: Options

    func run() throws {
        let lengthBytes = try options.number("slots", 16) * options.number("slot-bytes", 1 << 20)
        let seed = UInt64(try options.number("seed", 1))
        let memory = SeededMemory(seed: seed, lengthBytes: lengthBytes)
        let reference = SeededMemory(seed: seed, lengthBytes: lengthBytes)
        let transport = try options.transport("source", listen: try options.text("listen", "0.0.0.0:0"))
        let region = try transport.register(memory.region)
        let loop = try TransportLoop(transport)
        tell(
            "ready", ("address", transport.address!.description),
            ("enforcement", transport.enforcement.map { "\($0)" } ?? "not asked"))
        while !loop.isOver {
            let (happenings, commands) = loop.turn(limitMs: 1000)
            for happening in happenings {
                switch happening {
                case .up(let link, let peer, _): tell("up", ("link", "\(link)"), ("peer", "\(peer.host)"))
                case .down(let link, let reason):
                    tell("down", ("link", "\(link)"), ("code", "\(reason.code)"), ("reason", reason.description))
                case .said(let link, let text):
                    guard let answer = answer(text, link, region, loop, memory, reference) else { continue }
                    loop.say(answer, on: link)
                case .read, .retired: break
                }
            }
            for command in commands {
                switch command {
                case "check": tell("checked", ("different", memory.differences(from: reference)))
                case "fail": transport.failQueuePairs()
                case "state":
                    tell(
                        "state", ("objection", transport.deviceObjection ?? ""),
                        ("reopened", transport.counters.deviceReopenings), ("counters", "\(transport.counters)"))
                case "stop":
                    loop.shutdown()
                    tell("stopped", ("different", memory.differences(from: reference)))
                    return
                default:
                    if command.hasPrefix("dial ") { dial(String(command.dropFirst(5)), transport) }
                }
            }
        }
        loop.shutdown()
    }

    private func dial(_ address: String, _ transport: VerbsTransport) {
        guard let target = TransportAddress(text: address) else { return tell("undialled", ("reason", "no address")) }
        do throws(TransportError) {
            _ = try transport.connect(to: target, deadlineNs: MonotonicClock.nowNs() + 5_000_000_000)
        } catch {
            tell("undialled", ("reason", error.description))
        }
    }

    private func answer(
        _ text: String, _ link: LinkID, _ region: RegionID, _ loop: TransportLoop, _ memory: SeededMemory,
        _ reference: SeededMemory
    ) -> String? {
        let words = text.split(separator: " ")
        switch words.first {
        case "lease":
            guard words.count == 3, let offset = UInt64(words[1]), let length = UInt64(words[2]) else { return "what?" }
            do throws(TransportError) {
                let source = ExportSource.memory(region: region, offset: offset, lengthBytes: length)
                let export = try loop.transport.export(source, to: link)
                let key = export.key.withBytes { $0.map { hex($0) }.joined() }
                return "leased \(offset) \(length) \(export.id.value) \(key)"
            } catch {
                return "refused \(offset) \(error)"
            }
        case "done":
            if words.count == 2, let export = UInt64(words[1]) { loop.transport.revoke(ExportID(export)) }
            return nil
        case "check": return "checked \(memory.differences(from: reference))"
        case "dial":
            if words.count == 2 { dial(String(words[1]), loop.transport) }
            return nil
        default: return nil
        }
    }
}

/// A byte as two digits.
func hex(_ byte: UInt8) -> String {
    let text = String(byte, radix: 16)
    return byte < 16 ? "0" + text : text
}

/// The bytes of pairs of digits; nil when they are none.
func bytes(hex text: some StringProtocol) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    return try? stride(from: 0, to: digits.count, by: 2).map { at in
        guard let byte = UInt8(String(decoding: digits[at...at + 1], as: UTF8.self), radix: 16) else {
            throw TransportError(.badAddress, "no digits")
        }
        return byte
    }
}
