/// What takes a streamed response. Every call comes on the client's thread, in order, and must not block.
public protocol HTTPReceiver: AnyObject, Sendable {
    /// The final response's head, before its first byte of body; not called when the exchange fails earlier.
    func began(_ head: HTTPResponseHead) -> HTTPHeadVerdict
    /// A part of the body (at most 16 KiB), valid during the call.
    func received(_ bytes: UnsafeRawBufferPointer) -> HTTPBodyVerdict
    /// The end, exactly once, after which nothing is called: the head of a whole response, or why there is none.
    func ended(_ result: Result<HTTPResponseHead, HTTPError>)
}

/// What a receiver says to a response's head.
public enum HTTPHeadVerdict: Hashable, Sendable {
    /// Send the body.
    case proceed
    /// Drop the connection; the exchange ends with `.aborted`.
    case abort
}

/// What a receiver says to a part of the body.
public enum HTTPBodyVerdict: Hashable, Sendable {
    /// All of it was taken.
    case consumed
    /// Only the first bytes were taken; the rest comes again after `HTTPTransfer.resume()`.
    case pause(after: Int)
    /// Drop the connection; the exchange ends with `.aborted`.
    case abort
}

/// A handle on a running exchange. All calls return at once, from any thread.
public struct HTTPTransfer: Sendable {
    let id: UInt64
    let loop: HTTPLoop

    /// Goes on after `.pause`; nothing happens when the exchange is not paused.
    public func resume() { loop.post(.resume(id)) }
    /// Ends the exchange with `.cancelled`; nothing happens when it has ended.
    public func cancel() { loop.post(.cancel(id)) }
}
