import Registry

/// What the database holds.
struct RegistryRows: Sendable {
    var clusters: [Cluster]
    var members: [Member]
}

/// The registry's rows in SQLite: write-ahead log, one transaction a batch. Every call may block.
///
/// The file is locked for one manager: a second one is told so at its start.
final class RegistryDatabase {
    /// The layout of the tables; a file with a larger number was written by a newer Martlet.
    static let schemaVersion: Int64 = 2
    let connection: SQLiteConnection

    /// Opens the file, checks that it is whole, and makes or upgrades the tables.
    init(path: String) throws(DatabaseError) {
        connection = try SQLiteConnection(path: path, busyMs: 1_000)
        do throws(DatabaseError) { try prepare() } catch {
            connection.close()
            throw error
        }
    }

    private func prepare() throws(DatabaseError) {
        // Exclusive: kept from the first access until the close, so that two managers cannot both think themselves the
        // one.
        try connection.execute(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        try connection.execute("BEGIN EXCLUSIVE; COMMIT")
        var verdict = ""
        try connection.run("PRAGMA quick_check(1)") { row throws(DatabaseError) in verdict = row.text(0) }
        guard verdict == "ok" else {
            throw DatabaseError(
                .corrupt,
                "the database \(connection.path) is damaged (\(verdict)); restore it from a copy, or move it away to begin anew"
            )
        }
        var version: Int64 = 0
        try connection.run("PRAGMA user_version") { row throws(DatabaseError) in version = row.integer(0) }
        guard version <= RegistryDatabase.schemaVersion else {
            throw DatabaseError(
                .newerSchema,
                "the database \(connection.path) has schema \(version), this Martlet knows \(RegistryDatabase.schemaVersion); start the newer version that wrote it"
            )
        }
        if version == 1 { try upgradeFrom1() }
        guard version == 0 else { return }
        try connection.transaction { () throws(DatabaseError) in
            try connection.execute(
                """
                CREATE TABLE cluster (
                    name TEXT PRIMARY KEY, neighbourhood_size INTEGER NOT NULL, lease_pieces INTEGER NOT NULL,
                    upload_slots INTEGER NOT NULL, heartbeat_ms INTEGER NOT NULL, created_unix_ms INTEGER NOT NULL,
                    version INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE TABLE member (
                    cluster TEXT NOT NULL, role INTEGER NOT NULL, name TEXT NOT NULL, incarnation INTEGER NOT NULL,
                    addresses TEXT NOT NULL, zone TEXT NOT NULL, rack TEXT NOT NULL, machine TEXT NOT NULL,
                    version TEXT NOT NULL, is_live INTEGER NOT NULL, last_seen_unix_ms INTEGER NOT NULL,
                    PRIMARY KEY (cluster, role, name)
                ) STRICT, WITHOUT ROWID;
                \(RegistryDatabase.settingTable)
                PRAGMA user_version = \(RegistryDatabase.schemaVersion);
                """)
        }
    }

    /// Named settings came with version 2.
    private static let settingTable = """
        CREATE TABLE setting (
            cluster TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (cluster, name)
        ) STRICT, WITHOUT ROWID;
        """

    private func upgradeFrom1() throws(DatabaseError) {
        try connection.transaction { () throws(DatabaseError) in
            try connection.execute(
                "\(RegistryDatabase.settingTable) PRAGMA user_version = \(RegistryDatabase.schemaVersion);")
        }
    }

    /// All rows.
    func load() throws(DatabaseError) -> RegistryRows {
        var clusters: [Cluster] = []
        var named: [String: [String: String]] = [:]
        try connection.run("SELECT cluster, name, value FROM setting") { row throws(DatabaseError) in
            named[row.text(0), default: [:]][row.text(1)] = row.text(2)
        }
        try connection.run(
            """
            SELECT name, neighbourhood_size, lease_pieces, upload_slots, heartbeat_ms, created_unix_ms, version
            FROM cluster ORDER BY name
            """
        ) { row throws(DatabaseError) in
            let settings = ClusterSettings(
                neighbourhoodSize: UInt32(clamping: row.integer(1)),
                leasePieces: UInt32(clamping: row.integer(2)),
                uploadSlots: UInt32(clamping: row.integer(3)), heartbeatMs: UInt32(clamping: row.integer(4)),
                named: named[row.text(0)] ?? [:])
            clusters.append(
                Cluster(
                    name: row.text(0), settings: settings, createdUnixMs: UInt64(bitPattern: row.integer(5)),
                    version: UInt64(bitPattern: row.integer(6))))
        }
        var members: [Member] = []
        try connection.run(
            """
            SELECT cluster, role, name, incarnation, addresses, zone, rack, machine, version, is_live, last_seen_unix_ms
            FROM member ORDER BY cluster, role, name
            """
        ) { row throws(DatabaseError) in
            guard let role = MemberRole(rawValue: Int(row.integer(1))) else { return }
            members.append(
                Member(
                    key: MemberKey(cluster: row.text(0), role: role, name: row.text(2)),
                    incarnation: UInt64(bitPattern: row.integer(3)),
                    addresses: row.text(4).split(separator: "\n").map(String.init), zone: row.text(5),
                    rack: row.text(6),
                    machine: row.text(7), version: row.text(8), isLive: row.integer(9) != 0,
                    lastSeenUnixMs: UInt64(bitPattern: row.integer(10))))
        }
        return RegistryRows(clusters: clusters, members: members)
    }

    /// Makes the rows durable, all or none.
    func save(_ changes: [RegistryAction]) throws(DatabaseError) {
        try connection.transaction { () throws(DatabaseError) in
            for change in changes {
                switch change {
                case .saveCluster(let cluster): try save(cluster)
                case .saveMember(let member): try save(member)
                case .removeMember(let key):
                    try connection.run(
                        "DELETE FROM member WHERE cluster = ? AND role = ? AND name = ?",
                        [.text(key.cluster), .integer(Int64(key.role.rawValue)), .text(key.name)])
                case .configure, .renew, .close, .refuse: break
                }
            }
        }
    }

    private func save(_ cluster: Cluster) throws(DatabaseError) {
        let settings = cluster.settings
        try connection.run(
            "INSERT OR REPLACE INTO cluster VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                .text(cluster.name), .integer(Int64(settings.neighbourhoodSize)),
                .integer(Int64(settings.leasePieces)),
                .integer(Int64(settings.uploadSlots)), .integer(Int64(settings.heartbeatMs)),
                .integer(Int64(bitPattern: cluster.createdUnixMs)),
                .integer(Int64(bitPattern: cluster.version)),
            ])
        try connection.run("DELETE FROM setting WHERE cluster = ?", [.text(cluster.name)])
        for (name, value) in settings.named.sorted(by: { $0.key < $1.key }) {
            try connection.run(
                "INSERT INTO setting VALUES (?, ?, ?)", [.text(cluster.name), .text(name), .text(value)])
        }
    }

    private func save(_ member: Member) throws(DatabaseError) {
        // No address holds a line feed: it would not be one.
        let addresses = member.addresses.filter { !$0.contains("\n") }.joined(separator: "\n")
        try connection.run(
            "INSERT OR REPLACE INTO member VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                .text(member.key.cluster), .integer(Int64(member.key.role.rawValue)), .text(member.key.name),
                .integer(Int64(bitPattern: member.incarnation)), .text(addresses), .text(member.zone),
                .text(member.rack), .text(member.machine), .text(member.version),
                .integer(member.isLive ? 1 : 0),
                .integer(Int64(bitPattern: member.lastSeenUnixMs)),
            ])
    }

    /// Writes back the log and lets go of the file.
    func close() { connection.close() }
}
