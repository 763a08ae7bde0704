import Foundation

/// Pushes out what was printed.
func flushStandardOutput() { fflush(nil) }

/// Waits for standard input's end on a thread of its own.
func standardInputEnd() async {
    await withCheckedContinuation { continuation in
        Thread { @Sendable in
            while readLine() != nil {}
            continuation.resume()
        }.start()
    }
}

/// Ends the program with a line on standard error.
func fail(_ sentence: String) -> Never {
    FileHandle.standardError.write(Data("rpc-echo: \(sentence)\n".utf8))
    exit(1)
}
