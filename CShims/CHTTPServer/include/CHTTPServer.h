// A small HTTP server on libmicrohttpd: one epoll thread, whole replies.
// libmicrohttpd's start function is variadic and its log goes to stderr; both are hidden here.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A running server.
typedef struct martlet_http_server martlet_http_server;
// A request that waits for its reply; valid only during the handler's call.
typedef struct martlet_http_exchange martlet_http_exchange;

// Called on the server's thread for every request; it must call martlet_http_reply exactly once and not block.
typedef void (*martlet_http_handler)(void *_Nullable context, const char *_Nonnull method, const char *_Nonnull path,
                                     martlet_http_exchange *_Nonnull exchange);

// At most connections_max connections, an eighth of them from one address; each may be silent for idle_seconds.
// Listens on a numeric address ("127.0.0.1", "::", …; port 0 lets the kernel choose) and starts the thread.
// Returns 0 with *server set, or -errno: -EADDRINUSE, -EACCES, -EADDRNOTAVAIL, -EINVAL (not a numeric address), …
int martlet_http_server_start(const char *_Nonnull address, uint16_t port, unsigned connections_max,
                              unsigned idle_seconds, martlet_http_handler _Nonnull handler, void *_Nullable context,
                              martlet_http_server *_Nullable *_Nonnull server);

// The port the server listens on.
uint16_t martlet_http_server_port(const martlet_http_server *_Nonnull server);

// Closes the listener and every connection, joins the thread and frees the server. Not to be called from a handler.
void martlet_http_server_stop(martlet_http_server *_Nonnull server);

// Queues the reply; the body is copied. Returns 0, or -1 when memory or the connection is gone.
int martlet_http_reply(martlet_http_exchange *_Nonnull exchange, unsigned status, const char *_Nonnull content_type,
                       const void *_Nullable body, size_t body_bytes);
