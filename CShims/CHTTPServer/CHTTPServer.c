#define _GNU_SOURCE
#include "CHTTPServer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct martlet_http_server {
    struct MHD_Daemon *daemon;
    martlet_http_handler handler;
    void *context;
    uint16_t port;
};

struct martlet_http_exchange {
    struct MHD_Connection *connection;
    enum MHD_Result result;
};

static void silent(void *context, const char *format, va_list arguments) {
    (void)context;
    (void)format;
    (void)arguments;
}

static enum MHD_Result answer(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_bytes, void **state) {
    static int seen;
    martlet_http_server *server = context;
    (void)version;
    (void)upload;
    if (*state == NULL) {  // The head has come; the reply is queued once the (ignored) body has.
        *state = &seen;
        return MHD_YES;
    }
    if (*upload_bytes != 0) {
        *upload_bytes = 0;
        return MHD_YES;
    }
    martlet_http_exchange exchange = {.connection = connection, .result = MHD_NO};
    server->handler(server->context, method, url, &exchange);
    return exchange.result;
}

static int listen_on(const char *address, uint16_t port, uint16_t *bound) {
    struct sockaddr_storage storage = {0};
    socklen_t length;
    struct sockaddr_in *v4 = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        length = sizeof *v4;
    } else if (inet_pton(AF_INET6, address, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        length = sizeof *v6;
    } else {
        return -EINVAL;
    }
    int listener = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0) return -errno;
    int on = 1;
    // Not SO_REUSEPORT: two servers on one port must be an error.
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&storage, length) < 0 || listen(listener, 128) < 0 ||
        getsockname(listener, (struct sockaddr *)&storage, &length) < 0) {
        int code = errno;
        close(listener);
        return -code;
    }
    *bound = ntohs(storage.ss_family == AF_INET ? v4->sin_port : v6->sin6_port);
    return listener;
}

int martlet_http_server_start(const char *address, uint16_t port, unsigned connections_max, unsigned idle_seconds,
                              martlet_http_handler handler, void *context, martlet_http_server **result) {
    *result = NULL;
    martlet_http_server *server = calloc(1, sizeof *server);
    if (server == NULL) return -ENOMEM;
    int listener = listen_on(address, port, &server->port);
    if (listener < 0) {
        free(server);
        return listener;
    }
    server->handler = handler;
    server->context = context;
    errno = 0;
    server->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, answer, server, MHD_OPTION_EXTERNAL_LOGGER,
        silent, NULL, MHD_OPTION_LISTEN_SOCKET, (MHD_socket)listener, MHD_OPTION_CONNECTION_LIMIT, connections_max,
        MHD_OPTION_PER_IP_CONNECTION_LIMIT, connections_max / 8,
        MHD_OPTION_CONNECTION_TIMEOUT, idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(32 << 10),
        MHD_OPTION_END);
    if (server->daemon == NULL) {
        // The listener was given away: libmicrohttpd closes it on most of its failure paths, and a second
        // close could hit another thread's descriptor.
        int code = errno != 0 ? errno : EAGAIN;
        free(server);
        return -code;
    }
    *result = server;
    return 0;
}

uint16_t martlet_http_server_port(const martlet_http_server *server) { return server->port; }

void martlet_http_server_stop(martlet_http_server *server) {
    MHD_stop_daemon(server->daemon);
    free(server);
}

int martlet_http_reply(martlet_http_exchange *exchange, unsigned status, const char *content_type, const void *body,
                       size_t body_bytes) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body_bytes, (void *)body, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) return -1;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    exchange->result = MHD_queue_response(exchange->connection, status, response);
    MHD_destroy_response(response);
    return exchange->result == MHD_YES ? 0 : -1;
}
