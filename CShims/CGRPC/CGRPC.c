#define _GNU_SOURCE
#include "CGRPC.h"

#include <grpc/byte_buffer_reader.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct martlet_rpc_call {
    grpc_call *call;
    // [0] initial, [1] trailing.
    grpc_metadata_array received[2];
    grpc_metadata_array sending[2];
    grpc_byte_buffer *message_received;
    // Kept until the next message is sent: its batch has completed by then.
    grpc_byte_buffer *message_sending;
    grpc_call_details details;
    grpc_status_code status;
    grpc_slice status_text;
    int cancelled;
};

static _Atomic uint64_t handshake_failures;

// gRPC tells of failed handshakes in its log alone.
static void drop_log(gpr_log_func_args *args) {
    if (args->severity == GPR_LOG_SEVERITY_ERROR && strncmp(args->message, "Handshake failed", 16) == 0) {
        handshake_failures++;
    }
}

uint64_t martlet_rpc_handshake_failures(void) { return handshake_failures; }

void martlet_rpc_init(void) {
    if (getenv("GRPC_VERBOSITY") == NULL) gpr_set_log_function(drop_log);
    setenv("GRPC_SSL_CIPHER_SUITES", "PSK-AES256-GCM-SHA384", 1);
    grpc_init();
}

typedef struct {
    grpc_completion_queue *queue;
    void (*complete)(void *tag, int success);
} poller;

static void *poll_queue(void *argument) {
    poller p = *(poller *)argument;
    free(argument);
    for (;;) {
        grpc_event event = grpc_completion_queue_next(p.queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN) return NULL;
        if (event.type == GRPC_OP_COMPLETE) p.complete(event.tag, event.success);
    }
}

int martlet_rpc_start_polling(grpc_completion_queue *queue, void (*complete)(void *tag, int success)) {
    poller *p = malloc(sizeof *p);
    if (p == NULL) return -ENOMEM;
    *p = (poller){queue, complete};
    // The new thread inherits the mask: signals are for the threads of the program that wait for them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, poll_queue, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free(p);
        return -error;
    }
    pthread_setname_np(thread, "rpc");
    pthread_detach(thread);
    return 0;
}

static martlet_rpc_bytes bytes_of(const grpc_slice *slice) {
    martlet_rpc_bytes bytes = {GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice)};
    return bytes;
}

gpr_timespec martlet_rpc_deadline(int64_t timeout_ns) {
    if (timeout_ns < 0) return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(timeout_ns, GPR_TIMESPAN));
}

// Calls

static martlet_rpc_call *new_call(void) {
    martlet_rpc_call *call = calloc(1, sizeof *call);
    if (call == NULL) return NULL;
    for (int i = 0; i < 2; i++) {
        grpc_metadata_array_init(&call->received[i]);
        grpc_metadata_array_init(&call->sending[i]);
    }
    grpc_call_details_init(&call->details);
    call->status_text = grpc_empty_slice();
    call->status = GRPC_STATUS_UNKNOWN;
    return call;
}

martlet_rpc_call *martlet_rpc_client_call(grpc_channel *channel, grpc_completion_queue *queue, const char *path,
                                          int64_t timeout_ns) {
    martlet_rpc_call *call = new_call();
    if (call == NULL) return NULL;
    grpc_slice method = grpc_slice_from_copied_string(path);
    call->call = grpc_channel_create_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, method, NULL,
                                          martlet_rpc_deadline(timeout_ns), NULL);
    grpc_slice_unref(method);
    if (call->call == NULL) {
        martlet_rpc_call_destroy(call);
        return NULL;
    }
    return call;
}

martlet_rpc_call *martlet_rpc_server_request(grpc_server *server, grpc_completion_queue *queue, void *tag) {
    martlet_rpc_call *call = new_call();
    if (call == NULL) return NULL;
    grpc_call_error error =
        grpc_server_request_call(server, &call->call, &call->details, &call->received[0], queue, queue, tag);
    if (error != GRPC_CALL_OK) {
        martlet_rpc_call_destroy(call);
        return NULL;
    }
    return call;
}

void martlet_rpc_call_destroy(martlet_rpc_call *call) {
    for (int i = 0; i < 2; i++) {
        // What was received belongs to the call; what is sent was made here.
        grpc_metadata_array_destroy(&call->received[i]);
        for (size_t j = 0; j < call->sending[i].count; j++) {
            grpc_slice_unref(call->sending[i].metadata[j].key);
            grpc_slice_unref(call->sending[i].metadata[j].value);
        }
        free(call->sending[i].metadata);
    }
    if (call->message_received != NULL) grpc_byte_buffer_destroy(call->message_received);
    if (call->message_sending != NULL) grpc_byte_buffer_destroy(call->message_sending);
    grpc_call_details_destroy(&call->details);
    grpc_slice_unref(call->status_text);
    if (call->call != NULL) grpc_call_unref(call->call);
    free(call);
}

void martlet_rpc_add_metadata(martlet_rpc_call *call, int trailing, const uint8_t *key, size_t key_count,
                              const uint8_t *value, size_t value_count) {
    grpc_metadata_array *array = &call->sending[trailing != 0];
    if (array->count == array->capacity) {
        size_t capacity = array->capacity == 0 ? 8 : array->capacity * 2;
        grpc_metadata *grown = realloc(array->metadata, capacity * sizeof *grown);
        if (grown == NULL) abort();
        array->metadata = grown;
        array->capacity = capacity;
    }
    grpc_metadata *pair = &array->metadata[array->count++];
    memset(pair, 0, sizeof *pair);
    pair->key = grpc_slice_from_copied_buffer((const char *)key, key_count);
    pair->value = grpc_slice_from_copied_buffer((const char *)value, value_count);
}

int martlet_rpc_start(martlet_rpc_call *call, uint32_t operations, const uint8_t *message, size_t message_count,
                      int status, const uint8_t *status_text, size_t status_text_count, void *tag) {
    grpc_op ops[8];
    memset(ops, 0, sizeof ops);
    grpc_op *op = ops;
    grpc_slice text = grpc_empty_slice();
    if (operations & MARTLET_RPC_SEND_INITIAL_METADATA) {
        op->op = GRPC_OP_SEND_INITIAL_METADATA;
        if (operations & MARTLET_RPC_WAIT_FOR_READY) {
            op->flags = GRPC_INITIAL_METADATA_WAIT_FOR_READY | GRPC_INITIAL_METADATA_WAIT_FOR_READY_EXPLICITLY_SET;
        }
        op->data.send_initial_metadata.count = call->sending[0].count;
        op->data.send_initial_metadata.metadata = call->sending[0].metadata;
        op++;
    }
    if (operations & MARTLET_RPC_SEND_MESSAGE) {
        if (call->message_sending != NULL) grpc_byte_buffer_destroy(call->message_sending);
        grpc_slice slice = grpc_slice_from_copied_buffer((const char *)message, message_count);
        call->message_sending = grpc_raw_byte_buffer_create(&slice, 1);
        grpc_slice_unref(slice);
        op->op = GRPC_OP_SEND_MESSAGE;
        op->data.send_message.send_message = call->message_sending;
        op++;
    }
    if (operations & MARTLET_RPC_SEND_CLOSE) (op++)->op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    if (operations & MARTLET_RPC_SEND_STATUS) {
        text = grpc_slice_from_copied_buffer((const char *)status_text, status_text_count);
        op->op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        op->data.send_status_from_server.trailing_metadata_count = call->sending[1].count;
        op->data.send_status_from_server.trailing_metadata = call->sending[1].metadata;
        op->data.send_status_from_server.status = (grpc_status_code)status;
        op->data.send_status_from_server.status_details = &text;
        op++;
    }
    if (operations & MARTLET_RPC_RECEIVE_INITIAL_METADATA) {
        op->op = GRPC_OP_RECV_INITIAL_METADATA;
        op->data.recv_initial_metadata.recv_initial_metadata = &call->received[0];
        op++;
    }
    if (operations & MARTLET_RPC_RECEIVE_MESSAGE) {
        if (call->message_received != NULL) grpc_byte_buffer_destroy(call->message_received);
        call->message_received = NULL;
        op->op = GRPC_OP_RECV_MESSAGE;
        op->data.recv_message.recv_message = &call->message_received;
        op++;
    }
    if (operations & MARTLET_RPC_RECEIVE_STATUS) {
        op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
        op->data.recv_status_on_client.trailing_metadata = &call->received[1];
        op->data.recv_status_on_client.status = &call->status;
        op->data.recv_status_on_client.status_details = &call->status_text;
        op++;
    }
    if (operations & MARTLET_RPC_RECEIVE_CLOSE) {
        op->op = GRPC_OP_RECV_CLOSE_ON_SERVER;
        op->data.recv_close_on_server.cancelled = &call->cancelled;
        op++;
    }
    grpc_call_error error = grpc_call_start_batch(call->call, ops, (size_t)(op - ops), tag, NULL);
    grpc_slice_unref(text);
    return -(int)error;
}

void martlet_rpc_cancel(martlet_rpc_call *call, int status, const char *text) {
    grpc_call_cancel_with_status(call->call, (grpc_status_code)status, text, NULL);
}

// Results

int64_t martlet_rpc_message_count(martlet_rpc_call *call) {
    return call->message_received == NULL ? -1 : (int64_t)grpc_byte_buffer_length(call->message_received);
}

void martlet_rpc_take_message(martlet_rpc_call *call, uint8_t *into) {
    grpc_byte_buffer_reader reader;
    if (call->message_received == NULL || !grpc_byte_buffer_reader_init(&reader, call->message_received)) return;
    grpc_slice *slice;
    while (grpc_byte_buffer_reader_peek(&reader, &slice)) {
        size_t count = GRPC_SLICE_LENGTH(*slice);
        if (count == 0) continue;
        memcpy(into, GRPC_SLICE_START_PTR(*slice), count);
        into += count;
    }
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(call->message_received);
    call->message_received = NULL;
}

size_t martlet_rpc_metadata_count(martlet_rpc_call *call, int trailing) { return call->received[trailing != 0].count; }

martlet_rpc_bytes martlet_rpc_metadata_key(martlet_rpc_call *call, int trailing, size_t index) {
    return bytes_of(&call->received[trailing != 0].metadata[index].key);
}

martlet_rpc_bytes martlet_rpc_metadata_value(martlet_rpc_call *call, int trailing, size_t index) {
    return bytes_of(&call->received[trailing != 0].metadata[index].value);
}

int martlet_rpc_status(martlet_rpc_call *call) { return (int)call->status; }
martlet_rpc_bytes martlet_rpc_status_text(martlet_rpc_call *call) { return bytes_of(&call->status_text); }
int martlet_rpc_was_cancelled(martlet_rpc_call *call) { return call->cancelled; }
martlet_rpc_bytes martlet_rpc_path(martlet_rpc_call *call) { return bytes_of(&call->details.method); }

int64_t martlet_rpc_remaining_ns(martlet_rpc_call *call) {
    gpr_timespec deadline = gpr_convert_clock_type(call->details.deadline, GPR_CLOCK_MONOTONIC);
    gpr_timespec left = gpr_time_sub(deadline, gpr_now(GPR_CLOCK_MONOTONIC));
    if (gpr_time_cmp(deadline, gpr_inf_future(GPR_CLOCK_MONOTONIC)) == 0) return INT64_MAX;
    // 292 years fit; a deadline beyond a century is none.
    if (left.tv_sec > 3153600000LL) return INT64_MAX;
    if (left.tv_sec < 0) return 0;
    return left.tv_sec * 1000000000LL + left.tv_nsec;
}

char *martlet_rpc_peer(martlet_rpc_call *call) { return grpc_call_get_peer(call->call); }

void martlet_rpc_peer_names(martlet_rpc_call *call, void *context,
                            void (*visit)(void *context, const char *name, size_t count)) {
    grpc_auth_context *auth = grpc_call_auth_context(call->call);
    if (auth == NULL) return;
    if (grpc_auth_context_peer_is_authenticated(auth)) {
        grpc_auth_property_iterator names = grpc_auth_context_peer_identity(auth);
        const grpc_auth_property *name;
        while ((name = grpc_auth_property_iterator_next(&names)) != NULL) visit(context, name->value, name->value_length);
    }
    grpc_auth_context_release(auth);
}

void martlet_rpc_peer_certificate(martlet_rpc_call *call, void *context,
                                  void (*visit)(void *context, const char *pem, size_t count)) {
    grpc_auth_context *auth = grpc_call_auth_context(call->call);
    if (auth == NULL) return;
    if (grpc_auth_context_peer_is_authenticated(auth)) {
        grpc_auth_property_iterator found =
            grpc_auth_context_find_properties_by_name(auth, GRPC_X509_PEM_CERT_PROPERTY_NAME);
        const grpc_auth_property *pem = grpc_auth_property_iterator_next(&found);
        if (pem != NULL) visit(context, pem->value, pem->value_length);
    }
    grpc_auth_context_release(auth);
}

// Arguments and credentials

grpc_arg martlet_rpc_integer_argument(const char *key, int value) {
    grpc_arg argument = {.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
    return argument;
}

grpc_arg martlet_rpc_string_argument(const char *key, const char *value) {
    grpc_arg argument = {.type = GRPC_ARG_STRING, .key = (char *)key, .value.string = (char *)value};
    return argument;
}

grpc_channel_credentials *martlet_rpc_client_tls(const char *ca, const char *cert, const char *key) {
    grpc_ssl_pem_key_cert_pair pair = {key, cert};
    return grpc_ssl_credentials_create_ex(ca, key == NULL ? NULL : &pair, NULL, NULL);
}

grpc_server_credentials *martlet_rpc_server_tls(const char *ca, const char *cert, const char *key) {
    grpc_ssl_pem_key_cert_pair pair = {key, cert};
    return grpc_ssl_server_credentials_create_ex(ca, &pair, 1,
                                                 ca == NULL ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                            : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY,
                                                 NULL);
}

grpc_server_credentials *martlet_rpc_rotating_server_tls(
    int requires,
    grpc_ssl_certificate_config_reload_status (*fetch)(void *context, grpc_ssl_server_certificate_config **config),
    void *context) {
    grpc_ssl_server_credentials_options *options = grpc_ssl_server_credentials_create_options_using_config_fetcher(
        requires ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                 : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY,
        fetch, context);
    // Takes the options over.
    return options == NULL ? NULL : grpc_ssl_server_credentials_create_with_options(options);
}

grpc_ssl_server_certificate_config *martlet_rpc_certificate_config(const char *ca, const char *cert, const char *key) {
    grpc_ssl_pem_key_cert_pair pair = {key, cert};
    return grpc_ssl_server_certificate_config_create(ca, &pair, 1);
}

// Probes: gRPC tells why it cannot listen in its log only.

int martlet_rpc_probe_bind(const char *host, const char *port) {
    struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *list = NULL;
    if (getaddrinfo(host, port, &hints, &list) != 0 || list == NULL) return -ENXIO;
    int result = 0;
    for (struct addrinfo *a = list; a != NULL && result == 0; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            result = -errno;
            break;
        }
        int one = 1;
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (a->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 1) != 0) result = -errno;
        close(fd);
    }
    freeaddrinfo(list);
    return result;
}

int martlet_rpc_probe_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -errno;
    int result = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 1 : -errno;
    close(fd);
    if (result == -EAGAIN) return 1;  // its backlog is full
    if (result == -ENOENT || result == -ECONNREFUSED) return 0;
    return result;
}

int martlet_rpc_chmod(const char *path, uint32_t mode) { return chmod(path, (mode_t)mode) == 0 ? 0 : -errno; }

const char *martlet_rpc_error_text(int error) {
    const char *text = strerrordesc_np(error);
    return text == NULL ? "unknown error" : text;
}
