#define _GNU_SOURCE
#include "CCrypto.h"
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

// 0, or -errno: -ETIMEDOUT when the time is over.
static int wait_for(int fd, short events, int64_t end_ms) {
    for (;;) {
        int64_t left = end_ms - now_ms();
        if (left <= 0) return -ETIMEDOUT;
        struct pollfd p = {.fd = fd, .events = events};
        int ready = poll(&p, 1, (int)left);
        if (ready > 0) return 0;
        if (ready < 0 && errno != EINTR) return -errno;
    }
}

static int connected(const char *host, const char *port, int64_t end_ms) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(host, port, &hints, &list) != 0 || list == NULL) return -ENXIO;
    int result = -ENXIO;
    for (struct addrinfo *a = list; a != NULL && result < 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
        if (fd < 0) {
            result = -errno;
            continue;
        }
        result = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : -errno;
        if (result == -EINPROGRESS) {
            result = wait_for(fd, POLLOUT, end_ms);
            int error = 0;
            socklen_t size = sizeof error;
            if (result == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0) result = -error;
        }
        if (result == 0) {
            result = fd;
        } else {
            close(fd);
        }
    }
    freeaddrinfo(list);
    return result;
}

static int handshake(SSL *ssl, int fd, int64_t end_ms) {
    for (;;) {
        int done = SSL_connect(ssl);
        if (done == 1) return 0;
        int result;
        switch (SSL_get_error(ssl, done)) {
            case SSL_ERROR_WANT_READ: result = wait_for(fd, POLLIN, end_ms); break;
            case SSL_ERROR_WANT_WRITE: result = wait_for(fd, POLLOUT, end_ms); break;
            default: result = -EPROTO;
        }
        if (result != 0) return result;
    }
}

// A chain of ours has two certificates; four is room for a given authority's.
enum { CHAIN_MAX = 4 };

static int write_chain(SSL *ssl, char *pem, size_t capacity) {
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    BIO *bio = BIO_new(BIO_s_mem());
    int result = -EPROTO;
    if (bio != NULL && chain != NULL && sk_X509_num(chain) <= CHAIN_MAX) {
        int ok = 1;
        for (int i = 0; ok && i < sk_X509_num(chain); i++) ok = PEM_write_bio_X509(bio, sk_X509_value(chain, i)) == 1;
        char *bytes = NULL;
        long count = BIO_get_mem_data(bio, &bytes);
        if (!ok || count < 0) {
            result = -EIO;
        } else if ((size_t)count + 1 > capacity) {
            result = -ENOSPC;
        } else {
            memcpy(pem, bytes, (size_t)count);
            pem[count] = 0;
            result = (int)count;
        }
    }
    BIO_free(bio);
    return result;
}

int martlet_crypto_fetch_chain(const char *host, const char *port, int timeout_ms, char *pem, size_t capacity) {
    int64_t end_ms = now_ms() + timeout_ms;
    int fd = connected(host, port, end_ms);
    if (fd < 0) return fd;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = NULL;
    int result = -EIO;
    if (context != NULL && SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1) {
        // Believes nobody, on purpose: what comes back is compared with a pin, and nothing is sent.
        SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2", 3);
        ssl = SSL_new(context);
    }
    if (ssl != NULL && SSL_set_fd(ssl, fd) == 1) {
        result = handshake(ssl, fd, end_ms);
        if (result == 0) result = write_chain(ssl, pem, capacity);
    }
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    ERR_clear_error();
    return result;
}
