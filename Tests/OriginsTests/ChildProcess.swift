import Glibc

/// A program run by the tests, ended and waited for with its owner.
///
/// Not Foundation's `Process`: its `waitUntilExit` spins a run loop, which on a thread of Swift's pool may never
/// return.
final class ChildProcess: Sendable {
    struct Failure: Error { let errno: Int32 }

    private let pid: pid_t
    /// The end of the child's standard input that keeps it open; -1 for a child without.
    private let lifeline: CInt

    /// Starts a program found on PATH. With `holdsInput` its standard input stays open as long as this object, and this
    /// process.
    init(_ arguments: [String], holdsInput: Bool = false) throws {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        var ends: [CInt] = [-1, -1]
        if holdsInput {
            guard pipe(&ends) == 0 else { throw Failure(errno: errno) }
            // Other children must not hold this one's input open.
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        }
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        var pid = pid_t()
        let result = posix_spawnp(&pid, arguments[0], &actions, nil, &words, environ)
        if ends[0] >= 0 { close(ends[0]) }
        guard result == 0 else {
            if ends[1] >= 0 { close(ends[1]) }
            throw Failure(errno: result)
        }
        self.pid = pid
        lifeline = ends[1]
    }

    /// Waits for a short-lived child, and gives its exit status.
    func wait() -> CInt {
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status
    }

    /// Ends the child at once.
    func end() {
        kill(pid, SIGKILL)
        _ = wait()
        if lifeline >= 0 { close(lifeline) }
    }
}
