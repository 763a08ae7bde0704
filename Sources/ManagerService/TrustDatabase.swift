import Identity

/// The rows of tokens and certificates, in the manager's database.
struct TrustDatabase: Sendable {
    let queue: DatabaseQueue

    /// All rows whose time is not over; the others are removed. Makes the tables where they are missing.
    func load() async throws(DatabaseError) -> ([TrustCore.Token], [TrustCore.Issued]) {
        try await queue.run { (connection) throws(DatabaseError) in
            try connection.execute(
                """
                CREATE TABLE IF NOT EXISTS token (
                    id TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, roles TEXT NOT NULL, host TEXT NOT NULL,
                    expires_unix_s INTEGER NOT NULL, uses_max INTEGER NOT NULL, uses INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                CREATE TABLE IF NOT EXISTS certificate (
                    serial TEXT PRIMARY KEY, uri TEXT NOT NULL, not_after_unix_s INTEGER NOT NULL,
                    is_revoked INTEGER NOT NULL
                ) STRICT, WITHOUT ROWID;
                DELETE FROM token WHERE expires_unix_s < unixepoch();
                DELETE FROM certificate WHERE not_after_unix_s < unixepoch();
                """)
            var tokens: [TrustCore.Token] = []
            try connection.run("SELECT id, secret_hash, roles, host, expires_unix_s, uses_max, uses FROM token") {
                row throws(DatabaseError) in
                tokens.append(
                    TrustCore.Token(
                        id: row.text(0), secretHash: row.text(1),
                        roles: row.text(2).split(separator: " ").compactMap { Role(rawValue: String($0)) },
                        host: row.text(3), expiresUnixS: row.integer(4), usesMax: UInt32(clamping: row.integer(5)),
                        uses: UInt32(clamping: row.integer(6))))
            }
            var issued: [TrustCore.Issued] = []
            try connection.run("SELECT serial, uri, not_after_unix_s, is_revoked FROM certificate") {
                row throws(DatabaseError) in
                guard let identity = MemberIdentity(uri: row.text(1)) else { return }
                issued.append(
                    TrustCore.Issued(
                        serial: row.text(0), identity: identity, notAfterUnixS: row.integer(2),
                        isRevoked: row.integer(3) != 0))
            }
            return (tokens, issued)
        }
    }

    /// Keeps a token, or what has changed of it.
    func save(_ token: TrustCore.Token) async throws(DatabaseError) {
        try await queue.run { (connection) throws(DatabaseError) in
            try connection.run(
                "INSERT OR REPLACE INTO token VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    .text(token.id), .text(token.secretHash),
                    .text(token.roles.map(\.rawValue).joined(separator: " ")), .text(token.host),
                    .integer(token.expiresUnixS), .integer(Int64(token.usesMax)), .integer(Int64(token.uses)),
                ])
        }
    }

    /// Forgets a token.
    func removeToken(_ id: String) async throws(DatabaseError) {
        try await queue.run { (connection) throws(DatabaseError) in
            try connection.run("DELETE FROM token WHERE id = ?", [.text(id)])
        }
    }

    /// Keeps certificates, all or none.
    func save(_ certificates: [TrustCore.Issued]) async throws(DatabaseError) {
        try await queue.run { (connection) throws(DatabaseError) in
            try connection.transaction { () throws(DatabaseError) in
                for issued in certificates {
                    try connection.run(
                        "INSERT OR REPLACE INTO certificate VALUES (?, ?, ?, ?)",
                        [
                            .text(issued.serial), .text(issued.identity.uri), .integer(issued.notAfterUnixS),
                            .integer(issued.isRevoked ? 1 : 0),
                        ])
                }
            }
        }
    }

    /// Forgets certificates that have expired.
    func remove(_ serials: [String]) async throws(DatabaseError) {
        guard !serials.isEmpty else { return }
        try await queue.run { (connection) throws(DatabaseError) in
            for serial in serials { try connection.run("DELETE FROM certificate WHERE serial = ?", [.text(serial)]) }
        }
    }
}
