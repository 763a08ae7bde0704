// TLS 1.3 on sockets that never block, both sides certified by one authority: a thin cut through OpenSSL 3.
//
// A context may be used by any number of threads; a session by one at a time. Nothing is resumed: no tickets, no early data.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
    // The far side has sent no more than it has; or the socket takes no more.
    MARTLET_TLS_WANTS_READ = -1,
    MARTLET_TLS_WANTS_WRITE = -2,
    // The far side ended the session, or its connection.
    MARTLET_TLS_ENDED = -3,
    // The session is of no use any more: see martlet_tls_error.
    MARTLET_TLS_FAILED = -4,
    MARTLET_TLS_ERROR_BYTES = 256,
};

typedef struct martlet_tls_context martlet_tls_context;
typedef struct martlet_tls_session martlet_tls_session;

// Makes a context of PEM texts (NUL-terminated, copied): the authority's certificates, the own chain, its key. NULL when one of
// them cannot be used; `error` (MARTLET_TLS_ERROR_BYTES) then says why, without any of the key.
martlet_tls_context *_Nullable martlet_tls_context_new(
    const char *_Nonnull authority_pem, const char *_Nonnull certificate_pem, const char *_Nonnull key_pem,
    char *_Nonnull error);
// Lets go of a context; sessions made of it go on.
void martlet_tls_context_free(martlet_tls_context *_Nonnull context);

// Makes a session on a connected, non-blocking socket, which is lent and must outlive it. NULL without memory.
martlet_tls_session *_Nullable martlet_tls_session_new(
    martlet_tls_context *_Nonnull context, int descriptor, int is_server);
void martlet_tls_session_free(martlet_tls_session *_Nonnull session);

// Takes the handshake as far as it goes: 1 once it is over, or one of the codes above. A far side whose certificate the
// authority has not signed, that shows none, or whose certificate is not valid now, never gets to 1.
int martlet_tls_handshake(martlet_tls_session *_Nonnull session);
// Reads at most `room` bytes (> 0): their number, or one of the codes above.
long martlet_tls_read(martlet_tls_session *_Nonnull session, void *_Nonnull bytes, size_t room);
// Writes of `count` bytes (> 0) as many as go: their number, or one of the codes above; after WANTS_* the next write must
// begin with the same bytes.
long martlet_tls_write(martlet_tls_session *_Nonnull session, const void *_Nonnull bytes, size_t count);
// Bytes that are decrypted and not read: the socket does not tell of these.
size_t martlet_tls_pending(martlet_tls_session *_Nonnull session);

// Copies the far side's URI name number `index` of its certificate, NUL-terminated: its length, 0 when there is no such
// name (any more), -1 when it is longer than `room` or no text.
long martlet_tls_peer_uri(martlet_tls_session *_Nonnull session, unsigned index, char *_Nonnull text, size_t room);
// Copies the serial number of the far side's certificate, big-endian: its length, 0 when there is none or no room.
size_t martlet_tls_peer_serial(martlet_tls_session *_Nonnull session, uint8_t *_Nonnull bytes, size_t room);
// Why the last call failed, in a few words (MARTLET_TLS_ERROR_BYTES).
void martlet_tls_error(martlet_tls_session *_Nonnull session, char *_Nonnull error);
