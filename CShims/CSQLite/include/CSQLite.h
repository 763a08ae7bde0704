// SQLite as Swift can call it: what the importer takes from <sqlite3.h> it takes from there; this adds what it cannot.
#pragma once

#include <sqlite3.h>

// Binds a copy of `length` bytes of UTF-8 to parameter `index` (from 1). Answers an SQLite result code.
// (SQLITE_TRANSIENT is a cast the importer does not take.)
int martlet_sqlite_bind_text(sqlite3_stmt *_Nonnull statement, int index, const char *_Nonnull text, int length);

// Makes SQLite wait so long for another process's lock before it answers SQLITE_BUSY, and turns on extended result codes.
int martlet_sqlite_prepare_connection(sqlite3 *_Nonnull database, int busy_ms);
