import EchoService
import Foundation
import RPC
import Testing

/// A directory of a test, removed at its end.
struct TemporaryDirectory {
    let path: String

    init() throws {
        // Short: a Unix socket's path has 107 bytes.
        path = "/tmp/rpc-\(UInt32.random(in: 0...UInt32.max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }

    func callAsFunction(_ name: String) -> String { "\(path)/\(name)" }
}

/// Runs `body` with a directory that is removed afterwards.
func withTemporaryDirectory<Result>(_ body: (TemporaryDirectory) async throws -> Result) async throws
    -> Result
{
    let directory = try TemporaryDirectory()
    defer { directory.remove() }
    return try await body(directory)
}

let anyPort = RPCAddress.tcp(host: "127.0.0.1", port: 0)

/// Runs `body` with an echo server and a channel to it, and shuts both down.
func withEcho(
    at address: RPCAddress = anyPort, options: RPCServerOptions = RPCServerOptions(),
    channelOptions: RPCChannelOptions = RPCChannelOptions(),
    server serverCredentials: RPCCredentials = .insecure,
    client clientCredentials: RPCCredentials = .insecure,
    _ body: (EchoClient, EchoService, RPCServer) async throws -> Void
) async throws {
    let service = EchoService()
    let server = try RPCServer.start(
        listeners: [RPCListener(address, credentials: serverCredentials)], services: [.echo(service)],
        options: options)
    do {
        let channel = try RPCChannel(
            to: server.addresses[0], credentials: clientCredentials, options: channelOptions)
        try await body(EchoClient(channel), service, server)
        channel.close()
    } catch {
        await server.shutdown(grace: .zero)
        throw error
    }
    await server.shutdown(grace: .zero)
}

/// Waits until a condition holds; false when it does not within the limit.
func eventually(within limit: Duration = .seconds(40), _ condition: () -> Bool) async -> Bool {
    let end = ContinuousClock.now.advanced(by: limit)
    while !condition() {
        guard ContinuousClock.now < end else { return false }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return true
}

/// The error that `body` throws.
func failure<Result>(_ body: () async throws(RPCError) -> Result) async -> RPCError? {
    do throws(RPCError) {
        _ = try await body()
        return nil
    } catch {
        return error
    }
}

/// The time limit of calls that are to be answered at once: long, for machines that are busy.
let calm = RPCCallOptions(timeout: .seconds(40))

/// Runs a program to its end; gives its standard output. Throws when its status is not 0.
func run(_ arguments: [String], input: [UInt8] = []) async throws -> [UInt8] {
    try await withTemporaryDirectory { directory in
        try Data(input).write(to: URL(fileURLWithPath: directory("in")))
        try Data().write(to: URL(fileURLWithPath: directory("out")))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: directory("in")))
        process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: directory("out")))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: "/dev/null"))
        try await withCheckedThrowingContinuation { (ended: CheckedContinuation<Void, any Error>) in
            process.terminationHandler = { _ in ended.resume() }
            do { try process.run() } catch { ended.resume(throwing: error) }
        }
        try #require(
            process.terminationStatus == 0, "\(arguments) ended with status \(process.terminationStatus)")
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: directory("out"))))
    }
}

/// An echo server in a process of its own, to be stopped, continued and killed.
final class EchoProcess {
    private let process = Process()
    private let standardInput = Pipe()
    let address: RPCAddress

    init(at address: RPCAddress) async throws {
        // The test's executable stands next to the program.
        let own = URL(
            fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.executableURL = own.deletingLastPathComponent().appendingPathComponent("rpc-echo")
        process.arguments = ["serve", "\(address)"]
        let output = Pipe()
        process.standardInput = standardInput
        process.standardOutput = output
        try process.run()
        let line = try await withCheckedThrowingContinuation {
            (line: CheckedContinuation<String, any Error>) in
            Thread { @Sendable in
                line.resume(
                    returning: String(decoding: output.fileHandleForReading.availableData, as: UTF8.self))
            }.start()
        }
        let text = line.split(separator: " ").last.map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }
        self.address = try #require(RPCAddress(text ?? ""), "rpc-echo says '\(line)'")
    }

    func signal(_ number: Int32) { kill(process.processIdentifier, number) }

    /// Kills it at once and waits for its end.
    func end() async {
        await withCheckedContinuation { (ended: CheckedContinuation<Void, Never>) in
            let process = self.process
            Thread { @Sendable in
                kill(process.processIdentifier, SIGKILL)
                process.waitUntilExit()
                ended.resume()
            }.start()
        }
    }
}
