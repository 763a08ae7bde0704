import Glibc

/// The input being run, where a signal handler finds it: a parser that breaks leaves what broke it in `fuzz-crash`.
enum CurrentInput {
    private static let bytesMax = 1 << 16
    // Safety: allocated once before the handlers are set and never freed; written by the one thread there is, and read by
    // its own signal handler, which runs while that thread does not.
    nonisolated(unsafe) private static let room = UnsafeMutableRawPointer.allocate(byteCount: bytesMax, alignment: 16)
    // Safety: as above.
    nonisolated(unsafe) private static var count = 0
    // Safety: as above; made before the handlers are set, since they may allocate nothing.
    nonisolated(unsafe) private static let path = strdup("fuzz-crash")!

    static func set(_ input: [UInt8]) {
        precondition(input.count <= bytesMax, "an input is longer than any target takes")
        input.withUnsafeBytes { bytes in
            if let base = bytes.baseAddress { room.copyMemory(from: base, byteCount: bytes.count) }
        }
        count = input.count
    }

    static func watch() {
        set([])
        _ = path
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGALRM, SIGPROF] {
            signal(number) { number in
                let file = open(CurrentInput.path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
                if file >= 0 {
                    _ = write(file, CurrentInput.room, CurrentInput.count)
                    close(file)
                }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }
}
