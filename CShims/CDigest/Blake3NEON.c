#if defined(__aarch64__)
#include "Blake3Source.h"

#include BLAKE3_SOURCE(blake3_neon.c)
#endif

// A translation unit is not empty.
typedef int martlet_blake3_neon_unit;
