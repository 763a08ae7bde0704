import CCrypto
import System

/// A directory with a member's (or an authority's) key and certificates: `key.pem`, `cert.pem`, `ca.pem`.
///
/// Directory 0700, files 0600; replaced whole, never in part. All methods block.
public struct IdentityStore: Sendable {
    /// What the directory holds.
    public struct Contents: Sendable {
        /// The private key.
        public var key: PrivateKey
        /// Its certificate, the issuer's behind it.
        public var certificate: Certificate
        /// The authority.
        public var authority: Certificate

        /// Groups them.
        public init(key: PrivateKey, certificate: Certificate, authority: Certificate) {
            self.key = key
            self.certificate = certificate
            self.authority = authority
        }
    }

    private static let bytesMax = 64 << 10
    private static let keyName = "key.pem"
    private static let certificateName = "cert.pem"
    private static let authorityName = "ca.pem"

    /// Where it lies.
    public let path: String

    /// A store at this path, which need not be there yet.
    public init(path: String) { self.path = path }

    /// What was kept; nil when there is nothing.
    ///
    /// Throws `storage` for files that others may read: a key that others know is nobody's.
    public func load() throws(IdentityError) -> Contents? {
        guard let key = try text(IdentityStore.keyName, isSecret: true),
            let certificate = try text(IdentityStore.certificateName, isSecret: false),
            let authority = try text(IdentityStore.authorityName, isSecret: false)
        else { return nil }
        let contents = Contents(
            key: PrivateKey(pem: key), certificate: try Certificate(pem: certificate),
            authority: try Certificate(pem: authority))
        // A crash between two renames leaves an old one beside a new one: as good as none.
        return contents.key.fits(contents.certificate) ? contents : nil
    }

    /// Keeps a key with its certificates, in place of what was there; durable when it returns.
    public func save(_ contents: Contents) throws(IdentityError) {
        do throws(Errno) {
            try Directory.create(path: path, permissions: 0o700)
            let directory = try Directory(path: path)
            try IdentityStore.write(contents.authority.pem, to: IdentityStore.authorityName, directory)
            try IdentityStore.write(contents.key.pem, to: IdentityStore.keyName, directory)
            try IdentityStore.write(contents.certificate.pem, to: IdentityStore.certificateName, directory)
            try directory.sync()
        } catch {
            throw IdentityError(
                .storage, "cannot keep this server's identity in \(path): \(error); check its permissions")
        }
    }

    private static func write(_ text: String, to name: String, _ directory: borrowing Directory) throws(Errno) {
        let temporary = name + ".new"
        if try directory.status(temporary) != nil { try directory.unlink(temporary) }
        let file = try directory.open(temporary, .createNew, permissions: 0o600)
        try IdentityStore.write(Array(text.utf8), file)
        try file.syncData()
        try directory.rename(temporary, to: directory, name)
    }

    private static func write(_ bytes: [UInt8], _ file: borrowing FileDescriptor) throws(Errno) {
        let written = bytes.withUnsafeBytes { bytes in
            Result { () throws(Errno) in try file.write(bytes, at: 0) }
        }
        try written.get()
    }

    private static func read(_ file: borrowing FileDescriptor) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: bytesMax)
        let count = bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(Errno) in try file.read(at: 0, into: buffer) }
        }
        return Array(bytes[..<(try count.get())])
    }

    private func text(_ name: String, isSecret: Bool) throws(IdentityError) -> String? {
        do throws(Errno) {
            let directory = try Directory(path: path)
            guard let status = try directory.status(name) else { return nil }
            guard !isSecret || status.permissions & 0o077 == 0 else {
                throw Errno(EPERM, "others may read it (chmod 600, or remove it and join anew)")
            }
            let file = try directory.open(name, .read)
            return String(decoding: try IdentityStore.read(file), as: UTF8.self)
        } catch {
            if error.code == ENOENT { return nil }
            throw IdentityError(.storage, "cannot read \(path)/\(name): \(error)")
        }
    }
}
