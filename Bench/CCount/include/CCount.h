/// Counts allocations by thread: linking this in puts malloc and its kin of the whole program behind counters.
///
/// For measuring programs only. Every call goes on to glibc's own allocator; memory from either may be freed by either.
/// Under a sanitizer, which needs malloc for itself, nothing is counted.
#ifndef MARTLET_CCOUNT_H
#define MARTLET_CCOUNT_H

#include <stdint.h>

/// How often the calling thread has asked for memory so far (malloc, calloc, realloc, aligned_alloc, posix_memalign,
/// memalign). Does not allocate. Always 0 where `martlet_allocations_are_counted` is 0.
uint64_t martlet_thread_allocations(void);

/// 1 where allocations are counted, 0 where a sanitizer has malloc.
int martlet_allocations_are_counted(void);

#endif
