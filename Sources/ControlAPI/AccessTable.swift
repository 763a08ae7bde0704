import Identity

/// Who may make a call: one row for each method that any server of Martlet answers.
public struct AccessRow: Hashable, Sendable {
    /// On whose server the method is.
    public enum Server: String, Hashable, Sendable, CaseIterable { case manager, scheduler, node, any }

    /// The method's path on the wire.
    public let path: String
    /// Who answers it.
    public let server: Server
    /// The roles that may call it with a certificate.
    public let roles: Set<Role>
    /// Whether whoever may use the server's Unix socket may call it.
    public let admitsLocal: Bool
    /// Whether somebody without a certificate may call it: to get one.
    public let admitsStrangers: Bool
    /// What must hold besides, for people; the handler checks it.
    public let condition: String?
}

/// The one table of who may do what. A method without a row is refused, and a test fails for it.
public enum AccessTable {
    /// Every row.
    public static let rows: [AccessRow] = manager + trust + scheduler + node + common

    /// The row of a path.
    public static func row(for path: String) -> AccessRow? { byPath[path] }
    private static let byPath = Dictionary(uniqueKeysWithValues: rows.map { ($0.path, $0) })

    private static let hosts: Set<Role> = [.seed, .peer]
    private static let members: Set<Role> = [.scheduler, .seed, .peer]
    private static let everybody = Set(Role.allCases)

    private static func row(
        _ server: AccessRow.Server, _ path: String, _ roles: Set<Role>, local: Bool = false, strangers: Bool = false,
        if condition: String? = nil
    ) -> AccessRow {
        AccessRow(
            path: path, server: server, roles: roles, admitsLocal: local, admitsStrangers: strangers,
            condition: condition)
    }

    private static let manager = [
        row(
            .manager, "/martlet.v1.Manager/Attach", members,
            if: "cluster, role and name announced are the certificate's"),
        row(.manager, "/martlet.v1.Manager/ListMembers", [.operator, .client], local: true),
        row(.manager, "/martlet.v1.Manager/ListClusters", [.operator, .client], local: true),
        row(.manager, "/martlet.v1.Manager/PutCluster", [.operator], local: true),
        row(.manager, "/martlet.v1.Manager/ListSettings", [.operator, .client], local: true),
        row(.manager, "/martlet.v1.Manager/ChangeSettings", [.operator], local: true),
    ]

    private static let trust = [
        row(
            .manager, "/martlet.v1.Trust/Join", everybody, local: true, strangers: true,
            if: "the token is valid, and is for that role and host"),
        row(
            .manager, "/martlet.v1.Trust/Renew", [.scheduler, .seed, .peer, .operator, .client],
            if: "the new certificate is for the old one's identity"),
        row(.manager, "/martlet.v1.Trust/Watch", [.scheduler, .seed, .peer, .operator, .client], local: true),
        row(.manager, "/martlet.v1.Trust/CreateToken", [.operator], local: true),
        row(.manager, "/martlet.v1.Trust/ListTokens", [.operator], local: true),
        row(.manager, "/martlet.v1.Trust/RevokeToken", [.operator], local: true),
        row(.manager, "/martlet.v1.Trust/RevokeMember", [.operator], local: true),
    ]

    private static let scheduler = [
        row(
            .scheduler, "/martlet.v1.Scheduler/Attach", hosts,
            if: "cluster, role and host announced are the certificate's")
    ]

    private static let node = ["Get", "ListModels", "Status", "SetPinned", "RemoveModel"].map {
        row(.node, "/martlet.v1.Node/\($0)", [], local: true)
    }

    private static let common =
        ["Check", "Watch"].map {
            row(.any, "/grpc.health.v1.Health/\($0)", everybody, local: true)
        }
        + ["v1", "v1alpha"].map {
            row(
                .any, "/grpc.reflection.\($0).ServerReflection/ServerReflectionInfo", [.operator, .client],
                local: true)
        }
}
