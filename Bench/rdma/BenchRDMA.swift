// What Martlet's own way of reading pieces reaches on a transport, to be set beside ib_read_bw.
//
//     bench-rdma serve --transport rdma --device rxe1 --address 10.9.0.2:0 --message-bytes 1048576 &
//     bench-rdma read --address rdma:10.9.0.2:PORT --device rxe0 --message-bytes 1048576 --pieces 2000
//     bench-rdma count
//
// The server prints its address, and each side one line of JSON at the end. `compare.py` alternates it with ib_read_bw.
// `count` runs both sides in one process, counts what their rails' threads allocate, and fails unless that is nothing.

import CCount
import Glibc
import Rails
import Swarm
import System
import Transport
import Workers

@main enum BenchRDMA {
    static func main() {
        do {
            let options = try Options.parse(Array(CommandLine.arguments.dropFirst()))
            switch options.role {
            case .serve: try serve(options)
            case .read: try read(options)
            case .count: try count(options)
            }
        } catch {
            let text = "bench-rdma: \(error)\n"
            _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
            exit(1)
        }
    }

    /// A line on standard output, at once: another program waits for it.
    private static func say(_ line: String) {
        print(line)
        fflush(nil)
    }

    private static func serve(_ options: Options) throws {
        let (side, rail) = try server(options)
        defer { rail.shutdown() }
        say("{\"address\": \"\(rail.address!)\"}")
        let measured = try side.await(options)
        say(measured.json(options, rail.counters.transport))
    }

    private static func read(_ options: Options) throws {
        let (measured, counters) = try reader(
            options, to: TransportAddress(kind: options.transport, location: options.address))
        say(measured.json(options, counters))
    }

    private static func count(_ options: Options) throws {
        guard martlet_allocations_are_counted() == 1 else {
            throw OptionError("allocations cannot be counted in a program that a sanitizer watches")
        }
        var served = options
        served.role = .serve
        let (side, rail) = try server(served)
        defer { rail.shutdown() }
        let (read, counters) = try reader(options, to: rail.address!)
        let serving = try side.await(options)
        say(read.json(options, counters))
        say(serving.json(served, rail.counters.transport))
        say(
            "\(read.allocations) allocations by the reading rail and \(serving.allocations) by the serving rail "
                + "for \(options.pieces) pieces")
        guard read.allocations == 0, serving.allocations == 0 else {
            throw OptionError("a rail allocates: find where with ltrace or a breakpoint on malloc of its thread")
        }
    }

    private static func server(_ options: Options) throws -> (Side, RailHandle) {
        let side = try Side(options, seed: Content.seed)
        let server = PieceServer(options, side)
        return (side, try side.start(options, name: "serve", listens: true) { server.take($0) })
    }

    private static func reader(
        _ options: Options, to address: TransportAddress
    ) throws -> (Measurement, TransportCounters) {
        let workers =
            options.verifies
            ? try WorkerPool(WorkerConfiguration(name: "verify", threadCount: 1, queueLimit: options.depth)) : nil
        defer { workers?.stop() }
        let side = try Side(options, seed: nil)
        let reader = PieceReader(options, side, workers: workers)
        let rail = try side.start(options, name: "read", listens: false) { reader.take($0) }
        defer { rail.shutdown() }
        let deadlineNs = MonotonicClock.nowNs() + 10_000_000_000
        side.submit([.connect(token: 1, to: address, deadlineNs: deadlineNs)])
        let measured = try side.await(options)
        return (measured, rail.counters.transport)
    }
}
