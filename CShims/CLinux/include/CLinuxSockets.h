// Sockets and epoll: thin inline wrappers, since errno, MSG_ flags and control messages are macros the importer lacks.
// Included by CLinux.h; every call returns >= 0 or -errno, and none blocks on a descriptor opened here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <linux/sockios.h>

static inline long martlet_result(long result) { return result < 0 ? -errno : result; }

// A socket that does not block and is not inherited.
static inline int martlet_socket_open(int family, int type) {
    return (int)martlet_result(socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}
static inline int martlet_socket_accept(int listener) {
    return (int)martlet_result(accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
}
static inline int martlet_socket_connect(int descriptor, const struct sockaddr_storage *_Nonnull address, uint32_t length) {
    return (int)martlet_result(connect(descriptor, (const struct sockaddr *)address, length));
}
// Binds and listens; TCP sockets may take a port that waits in TIME_WAIT.
int martlet_socket_listen(int descriptor, const struct sockaddr_storage *_Nonnull address, uint32_t length, int backlog);

// Numeric host and port to an address; returns its length or -EINVAL.
int martlet_socket_parse(const char *_Nonnull host, const char *_Nonnull port, struct sockaddr_storage *_Nonnull address);
// A Unix-domain path to an address; returns its length or -ENAMETOOLONG.
int martlet_socket_path(const char *_Nonnull path, struct sockaddr_storage *_Nonnull address);
// The bound port of a TCP socket.
int martlet_socket_port(int descriptor);
// The far side's IP address as 16 bytes, IPv4 mapped into IPv6.
int martlet_socket_peer_address(int descriptor, uint8_t *_Nonnull address);
// 1 when the far side is this machine by its address, 0 when not.
int martlet_socket_is_loopback(int descriptor);
// The pending error as a positive number, 0 for none.
int martlet_socket_pending_error(int descriptor);
// The user id of the process at the far side of a Unix-domain socket.
int64_t martlet_socket_peer_uid(int descriptor);
// No delay, keepalive, and how long sent bytes may stay unacknowledged before the kernel gives up.
int martlet_socket_tune(int descriptor, uint32_t unacknowledged_ms, int receive_bytes, int send_bytes);
// Closing throws away what was not sent yet and resets the connection.
int martlet_socket_close_abruptly(int descriptor);
// Bytes handed to the kernel and not yet acknowledged by the far side's kernel.
int martlet_socket_unacknowledged(int descriptor);

static inline long martlet_socket_receive(
    int descriptor, void *_Nonnull first, size_t first_length, void *_Nullable second, size_t second_length) {
    if (second_length == 0) return martlet_result(recv(descriptor, first, first_length, MSG_DONTWAIT));
    struct iovec parts[2] = {{first, first_length}, {second, second_length}};
    struct msghdr message = {0};
    message.msg_iov = parts;
    message.msg_iovlen = 2;
    return martlet_result(recvmsg(descriptor, &message, MSG_DONTWAIT));
}
// The next byte, which stays: 1, or 0 when there will be none.
static inline long martlet_socket_peek(int descriptor, uint8_t *_Nonnull byte) {
    return martlet_result(recv(descriptor, byte, 1, MSG_DONTWAIT | MSG_PEEK));
}
static inline long martlet_socket_send(int descriptor, const struct iovec *_Nonnull parts, size_t count, int more_follows) {
    struct msghdr message = {0};
    message.msg_iov = (struct iovec *)parts;
    message.msg_iovlen = count;
    return martlet_result(sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (more_follows ? MSG_MORE : 0)));
}
static inline long martlet_socket_send_file(int descriptor, int file, uint64_t offset, size_t length) {
    off_t place = (off_t)offset;
    return martlet_result(sendfile(descriptor, file, &place, length));
}
// One packet with at most one descriptor (< 0: none).
long martlet_socket_send_packet(int descriptor, const void *_Nonnull bytes, size_t length, int passed);
// One packet and the descriptor that came with it (-1: none; further ones are closed). -EMSGSIZE when it was cut.
long martlet_socket_receive_packet(int descriptor, void *_Nonnull bytes, size_t length, int *_Nonnull passed);

// A read-only second opening of the file behind a descriptor: the far side cannot write through it.
int martlet_reopen_read_only(int descriptor);

struct martlet_ready {
    uint64_t token;
    uint32_t events;
};
static inline int martlet_epoll_open(void) { return (int)martlet_result(epoll_create1(EPOLL_CLOEXEC)); }
static inline int martlet_epoll_set(int queue, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return (int)martlet_result(epoll_ctl(queue, operation, descriptor, &event));
}
// Waits until something is ready; timeout in ms, 0 for none, -1 for ever. Interrupted: 0.
int martlet_epoll_wait(int queue, struct martlet_ready *_Nonnull ready, int count, int timeout_ms);

static inline int martlet_eventfd_open(void) { return (int)martlet_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// The numeric address from which this machine would send to host:port, by asking the routing table (a UDP socket is
// connected; nothing is sent). Resolves names: may block for the resolver's time. Writes at most `size` bytes with the
// terminating zero. 0, or -errno; -EINVAL when the host is not known.
int martlet_socket_source(const char *_Nonnull host, const char *_Nonnull port, char *_Nonnull text, int size);
