// What `import Glibc` lacks: the GNU extensions, by defining _GNU_SOURCE above the includes.
// Wrappers stand below only where the importer fails (variadics, macros); they return >= 0 or -errno.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/mempolicy.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "CLinuxFiles.h"

// fcntl is variadic. Returns a new close-on-exec descriptor, or -1 with errno set.
int martlet_dup_cloexec(int descriptor);

// errno is a macro the importer does not see, and mixing this module with Glibc's clashes.
static inline int martlet_errno(void) { return errno; }
// The C library's sentence for an error number: a static string, or NULL for an unknown number.
static inline const char *_Nullable martlet_error_text(int code) { return strerrordesc_np(code); }

#include "CLinuxMachine.h"
#include "CLinuxSockets.h"
#include "CLinuxTCP.h"
