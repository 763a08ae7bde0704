import CVerbs

/// One object of libibverbs and what it was made from: released once, by `close` or when nobody holds it any more.
///
/// It holds its parents' handles, so that a parent is released after its children, whatever order the owners let go in.
final class Handle<Raw>: @unchecked Sendable {
    // Safety: libibverbs' objects may be used from any thread; `isOpen` is only touched by `close`, which the one
    // owner of the non-copyable value around this handle calls at most once, and by `deinit`, which runs after that.
    let raw: UnsafeMutablePointer<Raw>
    /// What it is, for errors: `queue pair 17 of rxe0`.
    let name: String
    private let parents: [AnyObject]
    private let call: String
    private let free: (UnsafeMutablePointer<Raw>) -> CInt
    private var isOpen = true

    init(
        _ raw: UnsafeMutablePointer<Raw>, name: String, parents: [AnyObject], call: String,
        free: @escaping (UnsafeMutablePointer<Raw>) -> CInt
    ) {
        self.raw = raw
        self.name = name
        self.parents = parents
        self.call = call
        self.free = free
    }

    /// Releases it now. After a failure the release is tried again when the last child has let go.
    func close() throws(VerbsError) {
        precondition(isOpen, "\(name) is closed twice")
        let result = free(raw)
        if result == 0 {
            isOpen = false
            return
        }
        let number = VerbsError.number(result)
        if number == EBUSY {
            throw VerbsError(
                .invalid, "cannot close \(name) yet: something made from it is still open", cause: .init(number, call))
        }
        throw VerbsError.failed("cannot close \(name)", call, errno: number)
    }

    // A failure here has nobody to tell: the process keeps the object until the device is closed or it ends.
    deinit { if isOpen { _ = free(raw) } }
}
