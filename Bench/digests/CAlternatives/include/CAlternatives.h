// The digests that were not chosen, for the benchmark alone: loaded at run time, so that nothing else needs them.
#pragma once

#include <stddef.h>
#include <stdint.h>

// SHA-256 of the leaves of a piece in the lanes of one core (intel-ipsec-mb), for a tree of depth one.
// `count` is a multiple of `leafBytes`, at most 4096 leaves. Writes 32 bytes per leaf. Returns 0, or -ENOENT when the
// library or its header was not there, -EIO when it did not do all leaves.
int martlet_sha256_leaves(
    const void *_Nonnull bytes, size_t count, size_t leafBytes, uint8_t *_Nonnull digests);

// CRC32C (isa-l). Returns 0, or -ENOENT when the library is not there.
int martlet_crc32c(const void *_Nonnull bytes, size_t count, uint32_t *_Nonnull sum);
