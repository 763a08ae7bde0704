import Synchronization
import TLS

/// What a transport's links are secured with: every link then begins with mutual TLS 1.3.
///
/// Certificates do not live long: each link is made with what is newest then, and goes on when that has been replaced. Safe
/// from any thread.
public final class LinkSecurity: Sendable {
    private let newest: @Sendable () -> TLSMaterial
    private let made = Mutex<(material: TLSMaterial, context: TLSContext)?>(nil)

    /// Secures links with what is newest when they are made.
    ///
    /// - Parameter newest: asked on rails' threads; must not block.
    public init(_ newest: @escaping @Sendable () -> TLSMaterial) { self.newest = newest }

    /// What a link made now is secured with.
    ///
    /// - Throws: when the newest cannot be used.
    package func context() throws(TLSError) -> TLSContext {
        let material = newest()
        if let made = made.withLock({ $0 }), made.material == material { return made.context }
        let context = try TLSContext(material)
        made.withLock { $0 = (material, context) }
        return context
    }
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
