// File calls the importer fails on: variadics (openat, ioctl), macros (FICLONE) and calls the C library lacks (openat2).
// Each returns >= 0, or -errno. Included by CLinux.h, which sets _GNU_SOURCE.
#pragma once

#include <linux/openat2.h>
#include <sys/file.h>

// openat(2) with O_CLOEXEC added. `directory` may be AT_FDCWD.
static inline int martlet_openat(int directory, const char *_Nonnull path, int flags, mode_t mode) {
    int descriptor = openat(directory, path, flags | O_CLOEXEC, mode);
    return descriptor >= 0 ? descriptor : -errno;
}

// openat2(2): the path stays beneath `directory` and crosses no symbolic link. -ENOSYS before Linux 5.6 and under
// some container profiles.
static inline int martlet_open_beneath(int directory, const char *_Nonnull path, int flags, mode_t mode) {
    struct open_how how;
    memset(&how, 0, sizeof how);
    how.flags = (unsigned)(flags | O_CLOEXEC);
    how.mode = (flags & O_CREAT) ? mode : 0;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    long descriptor = syscall(SYS_openat2, directory, path, &how, sizeof how);
    return descriptor >= 0 ? (int)descriptor : -errno;
}

// FICLONE: `target` shares the blocks of `source`. -EOPNOTSUPP, -EXDEV or -EINVAL where the file system cannot.
static inline int martlet_clone_file(int target, int source) {
    return ioctl(target, FICLONE, source) == 0 ? 0 : -errno;
}

// readdir reports an error only by setting errno: it must be cleared before.
static inline void martlet_clear_errno(void) { errno = 0; }
