#include "CSQLite.h"

int martlet_sqlite_bind_text(sqlite3_stmt *_Nonnull statement, int index, const char *_Nonnull text, int length) {
    return sqlite3_bind_text(statement, index, text, length, SQLITE_TRANSIENT);
}

int martlet_sqlite_prepare_connection(sqlite3 *_Nonnull database, int busy_ms) {
    int result = sqlite3_extended_result_codes(database, 1);
    return result == SQLITE_OK ? sqlite3_busy_timeout(database, busy_ms) : result;
}
