#include "CDigest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "Blake3Source.h"

#include BLAKE3_SOURCE(blake3.h)

static const EVP_MD *evp(int algorithm) {
    switch (algorithm) {
        case MARTLET_DIGEST_SHA256: return EVP_sha256();
        case MARTLET_DIGEST_SHA1: return EVP_sha1();
        default: return NULL;
    }
}

int martlet_digest(int algorithm, const void *bytes, size_t count, uint8_t *digest) {
    if (algorithm == MARTLET_DIGEST_BLAKE3) {
        blake3_hasher hasher;
        blake3_hasher_init(&hasher);
        if (count > 0) blake3_hasher_update(&hasher, bytes, count);
        blake3_hasher_finalize(&hasher, digest, BLAKE3_OUT_LEN);
        return BLAKE3_OUT_LEN;
    }
    const EVP_MD *type = evp(algorithm);
    if (type == NULL) return -EINVAL;
    unsigned int length = 0;
    return EVP_Digest(bytes, count, digest, &length, type, NULL) == 1 ? (int)length : -EIO;
}

struct martlet_digest_stream {
    EVP_MD_CTX *context;  // NULL: BLAKE3
    blake3_hasher hasher;
};

martlet_digest_stream *martlet_digest_open(int algorithm) {
    const EVP_MD *type = evp(algorithm);
    if (type == NULL && algorithm != MARTLET_DIGEST_BLAKE3) return NULL;
    martlet_digest_stream *stream = malloc(sizeof *stream);
    if (stream == NULL) return NULL;
    stream->context = NULL;
    if (type == NULL) {
        blake3_hasher_init(&stream->hasher);
        return stream;
    }
    stream->context = EVP_MD_CTX_new();
    if (stream->context == NULL || EVP_DigestInit_ex(stream->context, type, NULL) != 1) {
        martlet_digest_close(stream);
        return NULL;
    }
    return stream;
}

int martlet_digest_update(martlet_digest_stream *stream, const void *bytes, size_t count) {
    if (count == 0) return 0;
    if (stream->context == NULL) {
        blake3_hasher_update(&stream->hasher, bytes, count);
        return 0;
    }
    return EVP_DigestUpdate(stream->context, bytes, count) == 1 ? 0 : -EIO;
}

int martlet_digest_finish(martlet_digest_stream *stream, uint8_t *digest) {
    if (stream->context == NULL) {
        blake3_hasher_finalize(&stream->hasher, digest, BLAKE3_OUT_LEN);
        return BLAKE3_OUT_LEN;
    }
    unsigned int length = 0;
    return EVP_DigestFinal_ex(stream->context, digest, &length) == 1 ? (int)length : -EIO;
}

void martlet_digest_close(martlet_digest_stream *stream) {
    EVP_MD_CTX_free(stream->context);
    free(stream);
}
