// What `import` of gRPC C-core lacks: slices, byte buffers and batches are unions and macros that the importer does not
// see. Everything else is used from <grpc/grpc.h> as it is.
//
// Contract
// - martlet_rpc_init comes first, once a process.
// - A martlet_rpc_call belongs to its creator, who destroys it after every batch started on it has completed.
// - start functions return 0 and the tag will appear on the completion queue once, or a negative grpc_call_error and
//   the tag never appears.
// - Starting batches of one call needs the caller's mutual exclusion; cancel does not.
// - Results (message, metadata, status) are valid from the completion of the batch that asked for them until the call's
//   destruction, the message until the next batch that receives one.
// - Pointers given are not kept beyond the call.
#pragma once

#include <errno.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/string_util.h>
#include <stdint.h>

// Starts gRPC and silences its own log unless GRPC_VERBOSITY is set in the environment. TLS is 1.3 alone from then on: gRPC has
// no setting for it, but with no cipher of TLS 1.2 that could be agreed on (GRPC_SSL_CIPHER_SUITES names one that needs a key
// shared beforehand) no older version can be.
void martlet_rpc_init(void);
// TLS handshakes that failed in this process, as client and as server. Not counted where GRPC_VERBOSITY is set.
uint64_t martlet_rpc_handshake_failures(void);

// Starts a detached thread, all signals blocked, that calls `complete` for each operation that completes on the queue, until
// the queue is shut down. 0 or -errno.
int martlet_rpc_start_polling(grpc_completion_queue *_Nonnull queue,
                              void (*_Nonnull complete)(void *_Nonnull tag, int success));

typedef struct martlet_rpc_call martlet_rpc_call;

// Bytes that belong to a call.
typedef struct {
    const uint8_t *_Nullable bytes;
    size_t count;
} martlet_rpc_bytes;

// A client's call of `path`. timeout_ns < 0: without a deadline. NULL when out of memory.
martlet_rpc_call *_Nullable martlet_rpc_client_call(grpc_channel *_Nonnull channel, grpc_completion_queue *_Nonnull queue,
                                                    const char *_Nonnull path, int64_t timeout_ns);

// Asks a server for its next call; the tag appears when there is one (success), or the server shuts down (failure).
// NULL when out of memory or refused: then the tag never appears.
martlet_rpc_call *_Nullable martlet_rpc_server_request(grpc_server *_Nonnull server,
                                                       grpc_completion_queue *_Nonnull queue, void *_Nonnull tag);

void martlet_rpc_call_destroy(martlet_rpc_call *_Nonnull call);

// Adds a pair to the metadata that the call will send: initial, or trailing (a server's). Copies.
void martlet_rpc_add_metadata(martlet_rpc_call *_Nonnull call, int trailing, const uint8_t *_Nullable key,
                              size_t key_count, const uint8_t *_Nullable value, size_t value_count);

// Operations of a batch, to be combined.
enum {
    MARTLET_RPC_SEND_INITIAL_METADATA = 1 << 0,
    MARTLET_RPC_SEND_MESSAGE = 1 << 1,
    MARTLET_RPC_SEND_CLOSE = 1 << 2,   // client: no more messages
    MARTLET_RPC_SEND_STATUS = 1 << 3,  // server: ends the call
    MARTLET_RPC_RECEIVE_INITIAL_METADATA = 1 << 4,
    MARTLET_RPC_RECEIVE_MESSAGE = 1 << 5,
    MARTLET_RPC_RECEIVE_STATUS = 1 << 6,  // client: the call's end
    MARTLET_RPC_RECEIVE_CLOSE = 1 << 7,   // server: the call's end
    MARTLET_RPC_WAIT_FOR_READY = 1 << 8,  // modifies SEND_INITIAL_METADATA
};

// Starts a batch. message: for SEND_MESSAGE. status and status_text (UTF-8): for SEND_STATUS.
int martlet_rpc_start(martlet_rpc_call *_Nonnull call, uint32_t operations, const uint8_t *_Nullable message,
                      size_t message_count, int status, const uint8_t *_Nullable status_text,
                      size_t status_text_count, void *_Nonnull tag);

// Ends the call with this status as seen on this side. Thread-safe, any number of times, also after the end.
void martlet_rpc_cancel(martlet_rpc_call *_Nonnull call, int status, const char *_Nonnull text);

// Length of the message received; -1: none, the stream of messages has ended.
int64_t martlet_rpc_message_count(martlet_rpc_call *_Nonnull call);
// Copies the message received to `into`, which has room for its length, and frees it.
void martlet_rpc_take_message(martlet_rpc_call *_Nonnull call, uint8_t *_Nullable into);

// Metadata received: initial (on a server: with the request), or trailing.
size_t martlet_rpc_metadata_count(martlet_rpc_call *_Nonnull call, int trailing);
martlet_rpc_bytes martlet_rpc_metadata_key(martlet_rpc_call *_Nonnull call, int trailing, size_t index);
martlet_rpc_bytes martlet_rpc_metadata_value(martlet_rpc_call *_Nonnull call, int trailing, size_t index);

// After RECEIVE_STATUS.
int martlet_rpc_status(martlet_rpc_call *_Nonnull call);
martlet_rpc_bytes martlet_rpc_status_text(martlet_rpc_call *_Nonnull call);
// After RECEIVE_CLOSE: not 0 when the call ended before the server's status was sent.
int martlet_rpc_was_cancelled(martlet_rpc_call *_Nonnull call);

// Of a server's call: the path asked for, and the nanoseconds left until its deadline (INT64_MAX: none).
martlet_rpc_bytes martlet_rpc_path(martlet_rpc_call *_Nonnull call);
int64_t martlet_rpc_remaining_ns(martlet_rpc_call *_Nonnull call);
// The other side's address as a URI; to be freed with gpr_free.
char *_Nullable martlet_rpc_peer(martlet_rpc_call *_Nonnull call);
// The names in the other side's verified certificate: calls `visit` once for each.
void martlet_rpc_peer_names(martlet_rpc_call *_Nonnull call, void *_Nullable context,
                            void (*_Nonnull visit)(void *_Nullable context, const char *_Nonnull name, size_t count));

// The other side's verified certificate as PEM: calls `visit` once, or never when there is none.
void martlet_rpc_peer_certificate(martlet_rpc_call *_Nonnull call, void *_Nullable context,
                                  void (*_Nonnull visit)(void *_Nullable context, const char *_Nonnull pem, size_t count));

// A channel argument; the strings are to outlive its use.
grpc_arg martlet_rpc_integer_argument(const char *_Nonnull key, int value);
grpc_arg martlet_rpc_string_argument(const char *_Nonnull key, const char *_Nonnull value);

// Credentials; PEM texts. NULL where gRPC refuses them.
grpc_channel_credentials *_Nullable martlet_rpc_client_tls(const char *_Nonnull ca, const char *_Nullable cert,
                                                           const char *_Nullable key);
// ca: clients must show a certificate signed by it; NULL: clients are not asked for one.
grpc_server_credentials *_Nullable martlet_rpc_server_tls(const char *_Nullable ca, const char *_Nonnull cert,
                                                          const char *_Nonnull key);

// The same with certificates that change: `fetch` is called at each handshake, by one thread at a time, with `context`, which
// outlives the process's last handshake. requires: clients without a certificate are refused in the handshake.
grpc_server_credentials *_Nullable martlet_rpc_rotating_server_tls(
    int requires, grpc_ssl_certificate_config_reload_status (*_Nonnull fetch)(
                      void *_Nullable context, grpc_ssl_server_certificate_config *_Nullable *_Nullable config),
    void *_Nullable context);
// What `fetch` hands over; PEM texts.
grpc_ssl_server_certificate_config *_Nullable martlet_rpc_certificate_config(const char *_Nonnull ca,
                                                                             const char *_Nonnull cert,
                                                                             const char *_Nonnull key);

// A deadline this long from now, on the clock that gRPC wants.
gpr_timespec martlet_rpc_deadline(int64_t timeout_ns);

// Why a TCP address cannot be listened on: tries it. 0 when it can, -errno, or -ENXIO when the host is not known.
int martlet_rpc_probe_bind(const char *_Nonnull host, const char *_Nonnull port);
// Does somebody listen on this Unix socket? 1 yes, 0 no (absent or left behind), -errno: cannot tell.
int martlet_rpc_probe_unix(const char *_Nonnull path);
// chmod, and the C library's sentence for an error number: libc cannot be imported next to gRPC's headers, which define
// _GNU_SOURCE. 0 or -errno; a static string.
int martlet_rpc_chmod(const char *_Nonnull path, uint32_t mode);
const char *_Nonnull martlet_rpc_error_text(int error);
