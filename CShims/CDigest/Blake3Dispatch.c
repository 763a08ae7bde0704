#include "Blake3Source.h"
#include "CDigest.h"

#include BLAKE3_SOURCE(blake3_dispatch.c)

// The lanes tell the instruction set, by the dispatcher's own choice.
const char *martlet_blake3_instructions(void) {
    switch (blake3_simd_degree()) {
        case 16: return "AVX-512";
        case 8: return "AVX2";
        case 4:
#if defined(__aarch64__)
            return "NEON";
#else
            return "SSE";
#endif
        default: return "portable";
    }
}
