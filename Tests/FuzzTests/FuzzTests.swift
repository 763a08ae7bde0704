import FuzzTargets
import Glibc
import Testing

/// The short run of every target; the long ones are described in `Tests/Fuzz/README.md`.
@Suite(.timeLimit(.minutes(5))) struct FuzzTests {
    /// In a process of its own: its memory is limited, and a parser that traps ends it and not the tests.
    @Test(arguments: FuzzTarget.all.map(\.name))
    func noInputBreaksAParser(_ target: String) throws {
        let here = #filePath.split(separator: "/").dropLast(2).joined(separator: "/")
        let program = try #require(FuzzTests.program())
        let words = [program, target, "--runs", "20000", "--seed", "1", "--corpus", "/\(here)/Fuzz/corpus"]
        var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for word in arguments { free(word) } }
        var pid = pid_t()
        try #require(posix_spawn(&pid, program, nil, nil, &arguments, environ) == 0)
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        #expect(status == 0, "\(target) broke; the input is in fuzz-crash: martlet-fuzz \(target) --input fuzz-crash")
    }

    /// It stands next to the tests' own program.
    private static func program() -> String? {
        var path = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        guard count > 0 else { return nil }
        let own = String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let program = "/\(own.split(separator: "/").dropLast().joined(separator: "/"))/martlet-fuzz"
        return access(program, X_OK) == 0 ? program : nil
    }
}
