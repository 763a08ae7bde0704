import Synchronization
import TLS

/// What a transport's links are secured with: every link then begins with mutual TLS 1.3.
///
/// Certificates do not live long: `replace` takes the next one in for links to come, those that are up go on. Safe from any
/// thread.
public final class LinkSecurity: Sendable {
    private let current: Mutex<TLSContext>

    /// Secures links with a certificate.
    public init(_ context: TLSContext) { current = Mutex(context) }

    /// What links made now are secured with.
    public var context: TLSContext { current.withLock { $0 } }

    /// Has links made from now on secured with another certificate.
    public func replace(_ context: TLSContext) { current.withLock { $0 = context } }
}

/// What the far side of a secured connection has proved of itself.
public struct LinkProof: Sendable, Hashable {
    /// The URIs in its certificate.
    public var names: [String]
    /// The certificate's serial number, in lowercase hexadecimal.
    public var serial: String

    /// Describes a proof.
    public init(names: [String], serial: String) {
        self.names = names
        self.serial = serial
    }
}
