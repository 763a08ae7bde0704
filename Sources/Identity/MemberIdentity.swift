/// What a member of a cluster is, and so what it may do.
public enum Role: String, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    /// Keeps the cluster's members, and its authority.
    case manager
    /// Decides who reads whom.
    case scheduler
    /// A host that reads origins on behalf of the cluster.
    case seed
    /// A host.
    case peer
    /// People and programs that change the cluster: tokens, revocations, settings.
    case `operator`
    /// People and programs that look.
    case client

    /// As in a certificate and on the command line.
    public var description: String { rawValue }
}

/// Who a member is: its cluster, its role and its host name. What a certificate of the cluster's authority vouches for.
public struct MemberIdentity: Hashable, Sendable, CustomStringConvertible {
    /// The longest cluster or host name, in bytes.
    public static let nameBytesMax = 128

    /// The cluster.
    public let cluster: String
    /// The role.
    public let role: Role
    /// The host: the name it has in its cluster and role.
    public let host: String

    /// Pairs them up; throws `malformed` for a name that could be read as something else.
    public init(cluster: String, role: Role, host: String) throws(IdentityError) {
        for (what, name) in [("cluster", cluster), ("host", host)] where !MemberIdentity.isName(name) {
            throw IdentityError(
                .malformed,
                "the \(what) name ‘\(name.prefix(80))’ cannot stand in a certificate: use 1 to \(MemberIdentity.nameBytesMax) of A–Z a–z 0–9 . _ -"
            )
        }
        self.cluster = cluster
        self.role = role
        self.host = host
    }

    /// Reads `martlet://CLUSTER/ROLE/HOST`; nil for anything else.
    public init?(uri: String) {
        guard uri.hasPrefix("martlet://") else { return nil }
        let parts = uri.dropFirst("martlet://".count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let role = Role(rawValue: String(parts[1])) else { return nil }
        do throws(IdentityError) {
            try self.init(cluster: String(parts[0]), role: role, host: String(parts[2]))
        } catch {
            return nil
        }
    }

    /// The name in its certificate.
    public var uri: String { "martlet://\(cluster)/\(role)/\(host)" }
    /// The DNS name that clients expect of a server of this role: they look for any scheduler of a cluster, not for one.
    public var serverName: String { MemberIdentity.serverName(role, cluster: cluster) }
    /// The same, of a server that is not known yet.
    public static func serverName(_ role: Role, cluster: String) -> String { "\(role).\(cluster).martlet" }
    /// The URI.
    public var description: String { uri }

    /// Whether a text can be a cluster's or a host's name.
    public static func isName(_ text: String) -> Bool {
        (1...nameBytesMax).contains(text.utf8.count)
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}
