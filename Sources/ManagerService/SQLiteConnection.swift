import CSQLite

/// One connection to an SQLite file, with prepared statements. Used by one thread at a time; every call may block.
final class SQLiteConnection {
    let path: String
    private let handle: OpaquePointer
    private var statements: [String: OpaquePointer] = [:]

    /// Opens the file, or makes it.
    init(path: String, busyMs: Int32) throws(DatabaseError) {
        self.path = path
        var opened: OpaquePointer?
        let flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX
        let result = sqlite3_open_v2(path, &opened, flags, nil)
        guard let opened, result == SQLITE_OK else {
            let why = opened.map { String(cString: sqlite3_errmsg($0)) } ?? "out of memory"
            if let opened { sqlite3_close_v2(opened) }
            throw DatabaseError(
                .cannotOpen,
                "cannot open the database \(path): \(why); is its directory there, and writable? [sqlite: \(result)]"
            )
        }
        handle = opened
        martlet_sqlite_prepare_connection(opened, busyMs)
    }

    /// Finishes the statements and closes the file. The last thing done with the connection.
    func close() {
        for statement in statements.values { sqlite3_finalize(statement) }
        statements = [:]
        sqlite3_close_v2(handle)
    }

    /// Runs statements that answer nothing.
    func execute(_ sql: String) throws(DatabaseError) {
        let result = sqlite3_exec(handle, sql, nil, nil, nil)
        guard result == SQLITE_OK else { throw failure(result) }
    }

    /// Runs a prepared statement with these values, and calls `row` for each row it answers.
    func run(
        _ sql: String, _ values: [SQLiteValue] = [], row: (SQLiteRow) throws(DatabaseError) -> Void = { _ in }
    ) throws(DatabaseError) {
        let statement = try prepared(sql)
        defer {
            sqlite3_reset(statement)
            sqlite3_clear_bindings(statement)
        }
        for (index, value) in values.enumerated() {
            let result =
                switch value {
                case .integer(let number): sqlite3_bind_int64(statement, Int32(index + 1), number)
                case .text(let text):
                    martlet_sqlite_bind_text(statement, Int32(index + 1), text, Int32(text.utf8.count))
                }
            guard result == SQLITE_OK else { throw failure(result) }
        }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW: try row(SQLiteRow(statement: statement))
            case SQLITE_DONE: return
            case let result: throw failure(result)
            }
        }
    }

    /// Runs everything, or nothing of it.
    func transaction(_ body: () throws(DatabaseError) -> Void) throws(DatabaseError) {
        try execute("BEGIN IMMEDIATE")
        do throws(DatabaseError) {
            try body()
            try execute("COMMIT")
        } catch {
            // Some failures have rolled back already; then this one is expected to fail.
            try? execute("ROLLBACK")
            throw error
        }
    }

    private func prepared(_ sql: String) throws(DatabaseError) -> OpaquePointer {
        if let known = statements[sql] { return known }
        var statement: OpaquePointer?
        let result = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard result == SQLITE_OK, let statement else { throw failure(result) }
        statements[sql] = statement
        return statement
    }

    private func failure(_ result: Int32) -> DatabaseError {
        let why = "\(String(cString: sqlite3_errmsg(handle))) [sqlite: \(result)]"
        switch result & 0xFF {
        case SQLITE_BUSY, SQLITE_LOCKED:
            return DatabaseError(
                .locked,
                "the database \(path) is in use by another process; stop that manager, or set manager.database: \(why)"
            )
        case SQLITE_CORRUPT, SQLITE_NOTADB:
            return DatabaseError(
                .corrupt,
                "\(path) is no database, or is damaged; restore it from a copy, or move it away to begin anew: \(why)"
            )
        case SQLITE_FULL:
            return DatabaseError(.full, "the disk of the database \(path) is full; free some space: \(why)")
        case SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM:
            return DatabaseError(
                .cannotOpen,
                "the database \(path) cannot be written; check its directory's permissions: \(why)")
        default:
            return DatabaseError(.failed, "the database \(path) failed: \(why)")
        }
    }
}

/// A value of a statement.
enum SQLiteValue {
    case integer(Int64)
    case text(String)
}

/// A row a statement answers; valid until the next.
struct SQLiteRow {
    fileprivate let statement: OpaquePointer

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(statement, column) }

    func text(_ column: Int32) -> String {
        guard let bytes = sqlite3_column_text(statement, column) else { return "" }
        let count = Int(sqlite3_column_bytes(statement, column))
        return String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
