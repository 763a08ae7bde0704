#if defined(__x86_64__)
#include "Blake3Source.h"

#include BLAKE3_SOURCE(blake3_avx2_x86-64_unix.S)
#endif
