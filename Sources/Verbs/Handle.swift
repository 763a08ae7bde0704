import CVerbs
import Synchronization

/// Something that others are made from: it counts those that are open.
class Parent: @unchecked Sendable {
    // Safety: an atomic counter is all it has.
    private let openChildren = Atomic<Int>(0)

    final var hasOpenChildren: Bool { openChildren.load(ordering: .acquiring) > 0 }

    final func childOpened() { openChildren.add(1, ordering: .relaxed) }

    final func childClosed() { openChildren.subtract(1, ordering: .releasing) }
}

/// One object of libibverbs and what it was made from: released once, by `close` or when nobody holds it any more.
///
/// It holds its parents' handles, so that a parent is released after its children, whatever order the owners let go in.
final class Handle<Raw>: Parent, @unchecked Sendable {
    // Safety: libibverbs' objects may be used from any thread; `isOpen` is only touched by `close`, which the one
    // owner of the non-copyable value around this handle calls at most once, and by `deinit`, which runs after that.
    let raw: UnsafeMutablePointer<Raw>
    /// What it is, for errors: `queue pair 17 of rxe0`.
    let name: String
    private let parents: [Parent]
    private let call: String
    private let free: (UnsafeMutablePointer<Raw>) -> CInt
    private var isOpen = true

    init(
        _ raw: UnsafeMutablePointer<Raw>, name: String, parents: [Parent], call: String,
        free: @escaping (UnsafeMutablePointer<Raw>) -> CInt
    ) {
        self.raw = raw
        self.name = name
        self.parents = parents
        self.call = call
        self.free = free
        super.init()
        for parent in parents { parent.childOpened() }
    }

    /// Releases it now. After a failure the release is tried again when the last child has let go.
    ///
    /// What is made from it is counted here: libibverbs would close a device under it.
    func close() throws(VerbsError) {
        precondition(isOpen, "\(name) is closed twice")
        let result = hasOpenChildren ? EBUSY : free(raw)
        if result == 0 {
            end()
            return
        }
        let number = VerbsError.number(result)
        if number == EBUSY {
            throw VerbsError(
                .invalid, "cannot close \(name) yet: something made from it is still open", cause: .init(number, call))
        }
        throw VerbsError.failed("cannot close \(name)", call, errno: number)
    }

    private func end() {
        isOpen = false
        for parent in parents { parent.childClosed() }
    }

    // A failure here has nobody to tell: the process keeps the object until the device is closed or it ends.
    deinit {
        if isOpen {
            _ = free(raw)
            end()
        }
    }
}
