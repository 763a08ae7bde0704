// Keys, certificate requests and certificates by OpenSSL 3: only what a cluster's own authority and its members need.
//
// Contract
// - Keys are EC P-256, signatures ECDSA with SHA-256, certificates X.509 v3 as PEM texts.
// - Functions return >= 0 or -errno: -EINVAL for a text that is not what it should be, -ENOSPC where `capacity` is too small,
//   -EACCES for a signature that does not hold, -EIO for what OpenSSL refuses otherwise. Those that write a text return its
//   length; it ends with a NUL, which capacity counts and the length does not.
// - Thread-safe; nothing is kept, and OpenSSL's error queue is left empty. Key material that was copied is wiped.
// - Nothing blocks except martlet_crypto_fetch_chain, which says for how long.
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MARTLET_CRYPTO_HASH_BYTES = 32,
    MARTLET_CRYPTO_SERIAL_BYTES = 16,
    MARTLET_CRYPTO_NAMES_MAX = 8,
    MARTLET_CRYPTO_NAME_BYTES_MAX = 512,  // with the NUL
};

// A new private key: PKCS #8, unencrypted.
int martlet_crypto_make_key(char *_Nonnull pem, size_t capacity);
// A certificate request (PKCS #10) for the key, signed by it, with an empty name: the authority decides on names.
int martlet_crypto_make_request(const char *_Nonnull key_pem, char *_Nonnull pem, size_t capacity);
// A certificate for an authority, signed by its own key; it may sign members' certificates and no further authority's.
int martlet_crypto_make_authority(const char *_Nonnull key_pem, const char *_Nonnull common_name,
                                  const uint8_t *_Nonnull serial, int64_t not_before_unix_s, int64_t not_after_unix_s,
                                  char *_Nonnull pem, size_t capacity);

// What is to stand in a member's certificate. Strings end with NUL and are not kept.
typedef struct {
    const char *_Nonnull authority_pem;
    const char *_Nonnull authority_key_pem;
    // Only its public key is taken, after its signature was checked; names it asks for are passed over.
    const char *_Nonnull request_pem;
    const char *_Nonnull common_name;
    const char *_Nonnull uri;
    // `count` DNS names, at most MARTLET_CRYPTO_NAMES_MAX.
    const char *_Nonnull const *_Nonnull dns_names;
    size_t dns_name_count;
    const uint8_t *_Nonnull serial;  // MARTLET_CRYPTO_SERIAL_BYTES, the first below 0x80
    int64_t not_before_unix_s;
    int64_t not_after_unix_s;
} martlet_crypto_issue_order;
// A certificate for client and server use. -EACCES: the request is not signed by its key.
int martlet_crypto_issue(const martlet_crypto_issue_order *_Nonnull order, char *_Nonnull pem, size_t capacity);

// What a certificate says.
typedef struct {
    int64_t not_before_unix_s;
    int64_t not_after_unix_s;
    uint8_t serial[20];
    uint32_t serial_bytes;
    // SHA-256 of the public key (SubjectPublicKeyInfo, DER).
    uint8_t public_key_hash[MARTLET_CRYPTO_HASH_BYTES];
    int is_authority;
    // The only URI among its names; empty when there is none, or more than one.
    char uri[MARTLET_CRYPTO_NAME_BYTES_MAX];
} martlet_crypto_certificate;
// Reads the first certificate of a PEM text; does not verify it.
int martlet_crypto_describe(const char *_Nonnull pem, martlet_crypto_certificate *_Nonnull certificate);
// 0 when the authority (and nobody between) signed the certificate, and both are valid at this time; else -EACCES.
int martlet_crypto_verify(const char *_Nonnull pem, const char *_Nonnull authority_pem, int64_t now_unix_s);
// 1 when the private key is the certificate's, else 0.
int martlet_crypto_key_fits(const char *_Nonnull key_pem, const char *_Nonnull certificate_pem);

void martlet_crypto_sha256(const void *_Nullable bytes, size_t count, uint8_t *_Nonnull hash);
// 1 when equal; takes the same time wherever they differ.
int martlet_crypto_equal(const void *_Nonnull left, const void *_Nonnull right, size_t count);

// The certificates that a TLS 1.3 server shows, leaf first, without believing any: the caller compares a pin. Sends nothing but
// the handshake. Blocks for at most `timeout_ms`. -ETIMEDOUT, -ECONNREFUSED and so on; -EPROTO: no TLS 1.3 server;
// -ENXIO: the host is not known.
int martlet_crypto_fetch_chain(const char *_Nonnull host, const char *_Nonnull port, int timeout_ms, char *_Nonnull pem,
                               size_t capacity);
