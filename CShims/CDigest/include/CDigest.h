// Digests of bytes in memory: SHA-256 and SHA-1 by OpenSSL's EVP, BLAKE3 by the reference C and assembly sources.
// No call keeps a pointer. A stream is used by one thread at a time; different streams are independent.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    MARTLET_DIGEST_SHA256 = 1,
    MARTLET_DIGEST_SHA1 = 2,
    MARTLET_DIGEST_BLAKE3 = 3,
    MARTLET_DIGEST_BYTES_MAX = 32,
};

// Digests `count` bytes at once. Writes 32 bytes (SHA-1: 20) to `digest`. Returns their number, or -EINVAL for an
// unknown algorithm, -EIO when the crypto library refuses the algorithm. `bytes` may be NULL when `count` is 0.
int martlet_digest(int algorithm, const void *_Nullable bytes, size_t count, uint8_t *_Nonnull digest);

// A digest fed in parts.
typedef struct martlet_digest_stream martlet_digest_stream;

// Opens a stream; NULL for an unknown algorithm, one that the crypto library refuses, or no memory.
martlet_digest_stream *_Nullable martlet_digest_open(int algorithm);
// Feeds `count` bytes. Returns 0 or -EIO.
int martlet_digest_update(martlet_digest_stream *_Nonnull stream, const void *_Nullable bytes, size_t count);
// Writes the digest of everything fed. Returns its length or -EIO. The stream takes no bytes after this.
int martlet_digest_finish(martlet_digest_stream *_Nonnull stream, uint8_t *_Nonnull digest);
// Frees the stream, finished or not.
void martlet_digest_close(martlet_digest_stream *_Nonnull stream);

// Which instructions BLAKE3 uses on this processor: a static string, e.g. "AVX-512".
const char *_Nonnull martlet_blake3_instructions(void);
