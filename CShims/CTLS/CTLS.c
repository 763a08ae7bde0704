#include "CTLS.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct martlet_tls_context {
    SSL_CTX *ssl;
};

struct martlet_tls_session {
    SSL *ssl;
    int descriptor;
    // The connection has ended, whatever TLS makes of it.
    int is_over;
    char error[MARTLET_TLS_ERROR_BYTES];
};

enum { CERTIFICATES_BYTES_MAX = 32 << 10, CHAIN_DEPTH_MAX = 3 };

// OpenSSL's own way to a socket raises SIGPIPE.
static BIO_METHOD *way;

static int way_write(BIO *bio, const char *bytes, size_t count, size_t *written) {
    martlet_tls_session *session = BIO_get_data(bio);
    ssize_t result;
    do {
        result = send(session->descriptor, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (result < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    *written = result > 0 ? (size_t)result : 0;
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_write(bio);
    if (result < 0 && (errno == EPIPE || errno == ECONNRESET)) session->is_over = 1;
    return result > 0;
}

static int way_read(BIO *bio, char *bytes, size_t room, size_t *count) {
    martlet_tls_session *session = BIO_get_data(bio);
    ssize_t result;
    do {
        result = recv(session->descriptor, bytes, room, MSG_DONTWAIT);
    } while (result < 0 && errno == EINTR);
    BIO_clear_retry_flags(bio);
    *count = result > 0 ? (size_t)result : 0;
    if (result == 0 || (result < 0 && errno == ECONNRESET)) session->is_over = 1;
    if (result == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
    return result > 0;
}

static long way_control(BIO *bio, int command, long number, void *pointer) {
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

__attribute__((constructor)) static void make_way(void) {
    way = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without SIGPIPE");
    if (!way) return;
    BIO_meth_set_write_ex(way, way_write);
    BIO_meth_set_read_ex(way, way_read);
    BIO_meth_set_ctrl(way, way_control);
}

static void tell(char *error, const char *what) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(error, MARTLET_TLS_ERROR_BYTES, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
}

// Every certificate of a text, the first into `first` when that is not NULL; false when there is none or one is broken.
static int take_certificates(const char *pem, X509_STORE *store, SSL_CTX *chain) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (!bio) return 0;
    int count = 0, is_good = 1;
    X509 *certificate;
    while (is_good && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
        if (store)
            is_good = X509_STORE_add_cert(store, certificate) == 1;
        else if (count == 0)
            is_good = SSL_CTX_use_certificate(chain, certificate) == 1;
        else
            is_good = SSL_CTX_add1_chain_cert(chain, certificate) == 1;
        X509_free(certificate);
        count++;
    }
    BIO_free(bio);
    // The text's end is told as an error.
    if (is_good && count > 0) ERR_clear_error();
    return is_good && count > 0;
}

static int take_key(const char *pem, SSL_CTX *ssl) {
    BIO *bio = BIO_new_mem_buf(pem, -1);
    if (!bio) return 0;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    if (!key) return 0;
    int is_good = SSL_CTX_use_PrivateKey(ssl, key) == 1 && SSL_CTX_check_private_key(ssl) == 1;
    EVP_PKEY_free(key);
    return is_good;
}

martlet_tls_context *martlet_tls_context_new(
    const char *authority_pem, const char *certificate_pem, const char *key_pem, char *error) {
    ERR_clear_error();
    error[0] = 0;
    martlet_tls_context *context = calloc(1, sizeof *context);
    SSL_CTX *ssl = SSL_CTX_new(TLS_method());
    if (!context || !ssl) {
        tell(error, "no memory for TLS");
        goto failed;
    }
    SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_num_tickets(ssl, 0);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_max_cert_list(ssl, CERTIFICATES_BYTES_MAX);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ssl, CHAIN_DEPTH_MAX);
    if (!take_certificates(authority_pem, SSL_CTX_get_cert_store(ssl), NULL)) {
        tell(error, "the authority's certificate is of no use");
        goto failed;
    }
    if (!take_certificates(certificate_pem, NULL, ssl)) {
        tell(error, "the certificate is of no use");
        goto failed;
    }
    if (!take_key(key_pem, ssl)) {
        tell(error, "the key is of no use, or not the certificate's");
        goto failed;
    }
    context->ssl = ssl;
    return context;
failed:
    SSL_CTX_free(ssl);
    free(context);
    return NULL;
}

void martlet_tls_context_free(martlet_tls_context *context) {
    SSL_CTX_free(context->ssl);
    free(context);
}

martlet_tls_session *martlet_tls_session_new(martlet_tls_context *context, int descriptor, int is_server) {
    martlet_tls_session *session = calloc(1, sizeof *session);
    if (!session) return NULL;
    session->descriptor = descriptor;
    session->ssl = SSL_new(context->ssl);
    BIO *bio = session->ssl && way ? BIO_new(way) : NULL;
    if (!bio) {
        martlet_tls_session_free(session);
        ERR_clear_error();
        return NULL;
    }
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    if (is_server)
        SSL_set_accept_state(session->ssl);
    else
        SSL_set_connect_state(session->ssl);
    return session;
}

void martlet_tls_session_free(martlet_tls_session *session) {
    SSL_free(session->ssl);
    free(session);
}

static long outcome(martlet_tls_session *session, int result) {
    int system_error = errno;
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ: return MARTLET_TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE: return MARTLET_TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN: return MARTLET_TLS_ENDED;
    case SSL_ERROR_SYSCALL:
        if (session->is_over || system_error == 0) break;
        snprintf(session->error, sizeof session->error, "%s", strerror(system_error));
        ERR_clear_error();
        return MARTLET_TLS_FAILED;
    default: {
        long verdict = SSL_get_verify_result(session->ssl);
        if (session->is_over && verdict == X509_V_OK) break;
        if (verdict != X509_V_OK) {
            snprintf(session->error, sizeof session->error, "its certificate is refused: %s",
                     X509_verify_cert_error_string(verdict));
            ERR_clear_error();
        } else {
            tell(session->error, "TLS failed");
        }
        return MARTLET_TLS_FAILED;
    }
    }
    // With a goodbye or without: whoever speaks over us knows the length of what it reads.
    snprintf(session->error, sizeof session->error, "the connection ended");
    ERR_clear_error();
    return MARTLET_TLS_ENDED;
}

int martlet_tls_handshake(martlet_tls_session *session) {
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(session->ssl);
    return result == 1 ? 1 : (int)outcome(session, result);
}

long martlet_tls_read(martlet_tls_session *session, void *bytes, size_t room) {
    ERR_clear_error();
    errno = 0;
    size_t count = 0;
    int result = SSL_read_ex(session->ssl, bytes, room, &count);
    return result == 1 ? (long)count : outcome(session, result);
}

long martlet_tls_write(martlet_tls_session *session, const void *bytes, size_t count) {
    ERR_clear_error();
    errno = 0;
    size_t written = 0;
    int result = SSL_write_ex(session->ssl, bytes, count, &written);
    return result == 1 ? (long)written : outcome(session, result);
}

size_t martlet_tls_pending(martlet_tls_session *session) { return (size_t)SSL_pending(session->ssl); }

long martlet_tls_peer_uri(martlet_tls_session *session, unsigned index, char *text, size_t room) {
    X509 *certificate = SSL_get0_peer_certificate(session->ssl);
    if (!certificate) return 0;
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    long length = 0;
    unsigned seen = 0;
    for (int at = 0; at < sk_GENERAL_NAME_num(names); at++) {
        GENERAL_NAME *name = sk_GENERAL_NAME_value(names, at);
        if (name->type != GEN_URI || seen++ != index) continue;
        const unsigned char *bytes = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        int count = ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (count <= 0 || (size_t)count >= room || memchr(bytes, 0, (size_t)count)) {
            length = -1;
        } else {
            memcpy(text, bytes, (size_t)count);
            text[count] = 0;
            length = count;
        }
        break;
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return length;
}

size_t martlet_tls_peer_serial(martlet_tls_session *session, uint8_t *bytes, size_t room) {
    X509 *certificate = SSL_get0_peer_certificate(session->ssl);
    if (!certificate) return 0;
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    int count = ASN1_STRING_length(serial);
    if (count <= 0 || (size_t)count > room) return 0;
    memcpy(bytes, ASN1_STRING_get0_data(serial), (size_t)count);
    return (size_t)count;
}

void martlet_tls_error(martlet_tls_session *session, char *error) {
    snprintf(error, MARTLET_TLS_ERROR_BYTES, "%s", session->error);
}
