import Artifacts
import Glibc
import HTTP
import Synchronization

/// One range of one local file on its way into slots, a piece per turn, so that several fetches share the thread.
///
/// Safety: all variables are used on the origin's thread only, but for `control`, which is locked.
final class FileFetch: @unchecked Sendable {
    private struct Control {
        /// A turn is in the thread's queue.
        var isQueued = false
        /// A turn is running on the thread.
        var isRunning = false
        var isCancelled = false
        var isEnded = false
    }

    private let thread: FileThread
    private let path: String
    private let location: OriginLocation
    private let sink: any OriginSink
    private let meter: OriginMeter
    private let control = Mutex(Control())
    private let onEnd: @Sendable () -> Void
    private var filler: PieceFiller
    private var descriptor: CInt = -1

    init(
        thread: FileThread, location: OriginLocation, range: ByteRange, pieceBytes: UInt32,
        sink: any OriginSink,
        meter: OriginMeter, onEnd: @escaping @Sendable () -> Void
    ) {
        self.onEnd = onEnd
        self.thread = thread
        self.location = location
        self.sink = sink
        self.meter = meter
        path = location.url.hasPrefix("file://") ? String(location.url.dropFirst(7)) : ""
        filler = PieceFiller(range: range, pieceBytes: pieceBytes, fileBytes: location.sizeBytes, sink: sink)
    }

    func start() -> OriginFetchHandle {
        meter.request()
        queueTurn()
        return OriginFetchHandle(resume: { self.queueTurn() }, cancel: { self.cancel() })
    }

    func cancel() {
        control.withLock { $0.isCancelled = true }
        queueTurn()
    }

    private func queueTurn() {
        let isNew = control.withLock { control in
            guard !control.isQueued, !control.isEnded else { return false }
            control.isQueued = true
            return true
        }
        guard isNew, !thread.post({ self.turn() }) else { return }
        // A thread that was stopped takes no turn, so the fetch ends here; a turn still running finds out by itself.
        let isIdle = control.withLock { control in
            control.isQueued = false
            return !control.isRunning
        }
        if isIdle { finish(.failure(OriginError(.cancelled, "the origins were shut down"))) }
    }

    private func turn() {
        let isCancelled = control.withLock { control in
            control.isQueued = false
            control.isRunning = true
            return control.isCancelled
        }
        let next = isCancelled ? .end(.failure(cancelled)) : step()
        control.withLock { $0.isRunning = false }
        switch next {
        case .goOn: queueTurn()
        case .pause: break
        case .end(let result): finish(result)
        }
    }

    private enum Next {
        case goOn
        case pause
        case end(Result<Void, OriginError>)
    }

    private func step() -> Next {
        do throws(OriginError) {
            try openOnce()
            guard let space = filler.allowedSpace() else { return .pause }
            try fill(space)
        } catch { return .end(.failure(error)) }
        return filler.isComplete ? .end(.success(())) : .goOn
    }

    private var cancelled: OriginError { OriginError(.cancelled, "reading \(path) was cancelled") }

    private func openOnce() throws(OriginError) {
        guard descriptor < 0 else { return }
        // The location holds no links; one that is there now was put there since.
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else { throw FoundFile.fault(path) }
        try checkUnchanged()
    }

    private func checkUnchanged() throws(OriginError) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw FoundFile.fault(path) }
        let stamp = FileStamp(status)
        guard status.st_mode & S_IFMT == S_IFREG, stamp.sizeBytes == location.sizeBytes,
            location.validator == nil || location.validator == stamp.text
        else { throw OriginSubject(location).changed }
    }

    private func fill(_ space: UnsafeMutableRawBufferPointer) throws(OriginError) {
        var done = 0
        while done < space.count {
            let count = pread(
                descriptor, space.baseAddress! + done, space.count - done, off_t(filler.position) + done)
            if count < 0 {
                if errno == EINTR { continue }
                throw FoundFile.fault(path)
            }
            if count == 0 { throw OriginSubject(location).changed }
            done += count
            meter.bytes(count)
        }
        // Before the piece is called filled: a file rewritten while it was read must not pass as the old one.
        try checkUnchanged()
        filler.advance(by: done)
    }

    private func finish(_ result: Result<Void, OriginError>) {
        let isFirst = control.withLock { control in
            guard !control.isEnded else { return false }
            control.isEnded = true
            return true
        }
        guard isFirst else { return }
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
        if case .failure = result { meter.failure() }
        sink.ended(result)
        onEnd()
    }
}
