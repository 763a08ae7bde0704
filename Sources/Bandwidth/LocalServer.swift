import Glibc
import System

/// A far side on this machine: the same program, started as a process of its own.
public final class LocalServer {
    /// Its process.
    public let process: pid_t
    /// Where it listens.
    public let address: String

    /// Starts `program words...`, which prints its address after the last blank of its first line. Waits for that.
    public init(_ program: String, _ words: [String]) throws(BenchError) {
        var ends: [CInt] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else { throw BenchError(.system, "no pipe can be had") }
        let reader = FileDescriptor(owning: ends[0])
        let writer = FileDescriptor(owning: ends[1])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, writer.raw, 1)
        var arguments = ([program] + words).map { strdup($0) as UnsafeMutablePointer<CChar>? } + [nil]
        defer { for argument in arguments { free(argument) } }
        var started = pid_t()
        let failure = posix_spawn(&started, program, &actions, nil, &arguments, environ)
        guard failure == 0 else {
            throw BenchError(.system, "the far side's process cannot be started: error \(failure)")
        }
        process = started
        do throws(Errno) { try writer.close() } catch {}
        guard let line = Self.line(reader.raw, limitMs: 15_000), let place = line.split(separator: " ").last else {
            kill(started, SIGKILL)
            waitpid(started, nil, 0)
            throw BenchError(.system, "the far side's process did not say where it listens")
        }
        address = String(place)
    }

    /// Ends it with a signal and waits for it; what it returned is of no interest.
    public func end(_ signal: CInt = SIGTERM) {
        kill(process, signal)
        for _ in 0..<500 {
            if waitpid(process, nil, WNOHANG) == process { return }
            MonotonicClock.sleep(ns: 10_000_000)
        }
        kill(process, SIGKILL)
        waitpid(process, nil, 0)
    }

    private static func line(_ descriptor: CInt, limitMs: Int) -> String? {
        var bytes: [UInt8] = []
        let deadlineNs = MonotonicClock.nowNs() + UInt64(limitMs) * 1_000_000
        while bytes.count < 4096, MonotonicClock.nowNs() < deadlineNs {
            guard Sockets.waitReady(descriptor, writing: false, limitMs: 100) else { continue }
            var byte: UInt8 = 0
            guard read(descriptor, &byte, 1) == 1 else { return nil }
            if byte == UInt8(ascii: "\n") { return String(decoding: bytes, as: UTF8.self) }
            bytes.append(byte)
        }
        return nil
    }
}
