import System
import Transport

/// The side that measures: asks far sides to take part, sweeps the plan's points and reports.
///
/// `run` blocks: not for the cooperative pool. `shouldStop` is asked every few milliseconds; what was measured until then
/// is reported.
public struct BenchClient: Sendable {
    let plan: BenchPlan
    let shouldStop: @Sendable () -> Bool
    let live: @Sendable (String) -> Void

    /// Makes one; `live` is given a line now and then that replaces the one before.
    public init(
        _ plan: BenchPlan, shouldStop: @escaping @Sendable () -> Bool, live: @escaping @Sendable (String) -> Void
    ) {
        (self.plan, self.shouldStop, self.live) = (plan, shouldStop, live)
    }

    private static let contentSeed = 0x6d61_7274

    /// Measures; throws only when nothing could be measured.
    public func run() throws(BenchError) -> BenchReport {
        let word = "bench-\(Self.randomWord())"
        live("connecting")
        var sides: [FarSide] = []
        for host in plan.hosts { sides.append(try FarSide(host, word: word)) }
        var report = BenchReport()
        report.hosts = plan.hosts
        report.memoryBytes = plan.memoryBytes
        let chosen = try chooseTransports(sides, &report)
        let points = try plan.points(chosen.map(\.kind))
        live("taking \(plan.memoryBytes >> 20) MiB of memory at each side")
        for side in sides {
            var fields = [
                "memory": "\(plan.memoryBytes)", "seed": "\(Self.contentSeed)", "far-seed": "\(Self.contentSeed)",
                "pages": plan.pages == .huge2MiB ? "huge" : "normal",
            ]
            if let node = plan.farNode { fields["node"] = "\(node)" }
            try side.connection.send(ControlFrame("prepare", fields))
        }
        let memory = try BenchMemory(lengthBytes: plan.memoryBytes, pages: plan.pages, node: plan.node)
        if plan.point.direction.serverReads { memory.fill(seed: UInt64(Self.contentSeed)) }
        for side in sides { side.pinningObjection = try side.connection.await("prepared")["pinning"] }
        let memoryCopy = plan.measuresLimits ? try measureLimits(sides, memory) : nil

        for point in points {
            if shouldStop() { break }
            let why = chosen.first { $0.kind == point.transport }?.why ?? ""
            do throws(BenchError) {
                var run = PointRun(client: self, point: point, sides: sides, memory: memory, word: word)
                run.memoryCopy = memoryCopy
                if var result = try run.measure() {
                    result.why = why
                    report.results.append(result)
                }
            } catch {
                guard !report.results.isEmpty, error.code != .wrongBytes else { throw error }
                report.notUsed.append(("\(point.transport) \(point.messageBytes) bytes", error.description))
                report.wasInterrupted = true
                break
            }
        }
        for side in sides { try? side.connection.send(ControlFrame("bye")) }
        report.wasInterrupted = report.wasInterrupted || report.results.count < points.count
        live("")
        return report
    }

    private func chooseTransports(
        _ sides: [FarSide], _ report: inout BenchReport
    ) throws(BenchError) -> [(kind: TransportKind, why: String)] {
        let ours = BenchRail.offers()
        let isHere = sides.allSatisfy(\.isHere)
        func objection(_ kind: TransportKind) -> String? {
            if kind == .local, !isHere { return "the far side is another machine" }
            if let why = ours.first(where: { $0.kind == kind })?.objection { return why }
            for side in sides { if let why = side.objection(to: kind) { return "\(side.host): \(why)" } }
            return nil
        }
        guard plan.transports.isEmpty else {
            for kind in plan.transports {
                if let why = objection(kind) { throw BenchError(.impossible, "\(kind) cannot be used: \(why)") }
            }
            return plan.transports.map { ($0, "asked for") }
        }
        var usable: [(kind: TransportKind, why: String)] = []
        for kind in TransportPath.order(isSameHost: isHere) where kind != .simulated {
            if let why = objection(kind) {
                report.notUsed.append(("\(kind)", why))
            } else if usable.isEmpty {
                usable.append((kind, "the best that both sides have"))
            } else if isHere {
                usable.append((kind, "also there on one machine, as between two"))
            } else {
                report.notUsed.append(("\(kind)", "\(usable[0].kind) is better; ask for it by --transport \(kind)"))
            }
        }
        return usable
    }

    private func measureLimits(_ sides: [FarSide], _ memory: BenchMemory) throws(BenchError) -> Double {
        live("measuring what memory copies")
        let copy = plan.point.direction.serverReads ? nil : Limits.measureMemoryCopy(in: memory)
        for side in sides {
            let frame = try side.connection.ask(ControlFrame("limits"), answer: "limits")
            let here = Limits.ofInterface(address: (try? Sockets.localHost(of: side.connection.raw)) ?? "")
            func least(_ one: Double?, _ name: String) -> Double? {
                let far = frame[name].flatMap { Double($0) }
                return [one, far].compactMap { $0 }.min()
            }
            side.limits = here
            side.limits.lineRate = least(here.lineRate, "line-rate")
            side.limits.pcie = least(here.pcie, "pcie")
            side.limits.mtuBytes = [here.mtuBytes, frame["mtu"].flatMap { Int($0) }].compactMap { $0 }.min()
        }
        return copy ?? 0
    }

    static func randomWord() -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyz234567")
        var generator = SystemRandomNumberGenerator()
        return String((0..<24).map { _ in letters.randomElement(using: &generator)! })
    }
}

extension ControlConnection {
    /// The answer to a frame that was sent before.
    func await(_ verb: String) throws(BenchError) -> ControlFrame {
        guard let reply = try receive(limitMs: 120_000) else {
            throw BenchError(.timedOut, "the far side did not answer within 120 s")
        }
        guard reply.verb == verb else {
            throw BenchError(.impossible, "the far side refused: \(reply["why"] ?? reply.verb)")
        }
        return reply
    }
}
