#include "CAccel.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int martlet_accel_load(const char *library, struct martlet_accel_table *table, char *why, size_t why_bytes) {
    // The driver's threads and state do not survive being unloaded: never dlclose once it has been used.
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char *reason = dlerror();
        snprintf(why, why_bytes, "%s", reason ? reason : "it cannot be loaded");
        return MARTLET_ACCEL_NO_LIBRARY;
    }
    memset(table, 0, sizeof *table);
#define NEEDED(field, symbol, arguments) {symbol, &table->field, 0},
#define NEWER(field, symbol, arguments) {symbol, &table->field, 1},
    const struct {
        const char *name;
        void *place;
        int optional;
    } calls[] = {MARTLET_ACCEL_CALLS(NEEDED, NEWER)};
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++) {
        void *symbol = dlsym(handle, calls[index].name);
        if (!symbol && !calls[index].optional) {
            snprintf(why, why_bytes, "%s lacks %s", library, calls[index].name);
            dlclose(handle);
            return MARTLET_ACCEL_TOO_OLD;
        }
        // A function's address into a pointer of its type, without the cast ISO C does not define.
        memcpy(calls[index].place, &symbol, sizeof symbol);
    }
    return MARTLET_ACCEL_LOADED;
}
