#include "CLinux.h"

int martlet_socket_listen(int descriptor, const struct sockaddr_storage *address, uint32_t length, int backlog) {
    const int yes = 1;
    if (address->ss_family != AF_UNIX && setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0)
        return -errno;
    if (bind(descriptor, (const struct sockaddr *)address, length) < 0) return -errno;
    return (int)martlet_result(listen(descriptor, backlog));
}

int martlet_socket_parse(const char *host, const char *port, struct sockaddr_storage *address) {
    struct addrinfo hints = {0};
    struct addrinfo *found = NULL;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) return -EINVAL;
    const int length = (int)found->ai_addrlen;
    memset(address, 0, sizeof *address);
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return length;
}

int martlet_socket_path(const char *path, struct sockaddr_storage *address) {
    struct sockaddr_un *local = (struct sockaddr_un *)address;
    const size_t length = strlen(path);
    if (length == 0 || length >= sizeof local->sun_path) return -ENAMETOOLONG;
    memset(address, 0, sizeof *address);
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, path, length + 1);
    return (int)(offsetof(struct sockaddr_un, sun_path) + length + 1);
}

int martlet_socket_port(int descriptor) {
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) < 0) return -errno;
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port)
                                         : ntohs(((struct sockaddr_in *)&address)->sin_port);
}

int martlet_socket_peer_address(int descriptor, uint8_t *address) {
    struct sockaddr_storage theirs = {0};
    socklen_t length = sizeof theirs;
    if (getpeername(descriptor, (struct sockaddr *)&theirs, &length) < 0) return -errno;
    if (theirs.ss_family == AF_INET6) {
        memcpy(address, &((struct sockaddr_in6 *)&theirs)->sin6_addr, 16);
        return 0;
    }
    if (theirs.ss_family != AF_INET) return -EAFNOSUPPORT;
    memset(address, 0, 10);
    memset(address + 10, 0xff, 2);
    memcpy(address + 12, &((struct sockaddr_in *)&theirs)->sin_addr, 4);
    return 0;
}

int martlet_socket_is_loopback(int descriptor) {
    struct sockaddr_storage ours = {0}, theirs = {0};
    socklen_t ours_length = sizeof ours, theirs_length = sizeof theirs;
    if (getpeername(descriptor, (struct sockaddr *)&theirs, &theirs_length) < 0) return -errno;
    if (getsockname(descriptor, (struct sockaddr *)&ours, &ours_length) < 0) return -errno;
    // Two ends with one address are one machine, whatever the address.
    if (theirs.ss_family == AF_INET6) {
        const struct in6_addr *address = &((struct sockaddr_in6 *)&theirs)->sin6_addr;
        return memcmp(address, &((struct sockaddr_in6 *)&ours)->sin6_addr, sizeof *address) == 0 ||
               IN6_IS_ADDR_LOOPBACK(address);
    }
    const uint32_t address = ntohl(((struct sockaddr_in *)&theirs)->sin_addr.s_addr);
    return address == ntohl(((struct sockaddr_in *)&ours)->sin_addr.s_addr) || address >> 24 == 127;
}

int martlet_socket_pending_error(int descriptor) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) < 0) return errno;
    return error;
}

int64_t martlet_socket_peer_uid(int descriptor) {
    struct ucred credentials = {0};
    socklen_t length = sizeof credentials;
    if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    return (int64_t)credentials.uid;
}

int martlet_socket_tune(int descriptor, uint32_t unacknowledged_ms, int receive_bytes, int send_bytes) {
    const int yes = 1, idle_s = 10, interval_s = 3, probes = 3;
    if (setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes) < 0 ||
        setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes) < 0 ||
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s) < 0 ||
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s) < 0 ||
        setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes) < 0 ||
        setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms) < 0)
        return -errno;
    if (receive_bytes > 0 && setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes) < 0)
        return -errno;
    if (send_bytes > 0 && setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &send_bytes, sizeof send_bytes) < 0)
        return -errno;
    return 0;
}

int martlet_socket_close_abruptly(int descriptor) {
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    return (int)martlet_result(setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none));
}

int martlet_socket_unacknowledged(int descriptor) {
    int bytes = 0;
    return ioctl(descriptor, SIOCOUTQ, &bytes) < 0 ? -errno : bytes;
}

long martlet_socket_send_packet(int descriptor, const void *bytes, size_t length, int passed) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)bytes, length};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (passed >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    return martlet_result(sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

long martlet_socket_receive_packet(int descriptor, void *bytes, size_t length, int *passed) {
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct iovec part = {bytes, length};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    *passed = -1;
    const long count = martlet_result(recvmsg(descriptor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
    if (count < 0) return count;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const size_t descriptors = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t index = 0; index < descriptors; index++) {
            int number;
            memcpy(&number, CMSG_DATA(header) + index * sizeof(int), sizeof number);
            if (*passed < 0)
                *passed = number;
            else
                close(number);
        }
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        if (*passed >= 0) close(*passed);
        *passed = -1;
        return -EMSGSIZE;
    }
    return count;
}

int martlet_reopen_read_only(int descriptor) {
    char path[48];
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    return (int)martlet_result(open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
}

int martlet_epoll_wait(int queue, struct martlet_ready *ready, int count, int timeout_ms) {
    struct epoll_event events[64];
    const int found = epoll_wait(queue, events, count < 64 ? count : 64, timeout_ms);
    if (found < 0) return errno == EINTR ? 0 : -errno;
    for (int index = 0; index < found; index++) {
        ready[index].token = events[index].data.u64;
        ready[index].events = events[index].events;
    }
    return found;
}

int martlet_socket_source(const char *host, const char *port, char *text, int size) {
    struct addrinfo hints = {0};
    struct addrinfo *found = NULL;
    hints.ai_flags = AI_NUMERICSERV;
    hints.ai_socktype = SOCK_DGRAM;
    if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) return -EINVAL;
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    int result = 0;
    const int descriptor = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, found->ai_addr, found->ai_addrlen) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&address, &length) != 0)
        result = -errno;
    if (result == 0 &&
        getnameinfo((struct sockaddr *)&address, length, text, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        result = -EINVAL;
    if (descriptor >= 0) close(descriptor);
    freeaddrinfo(found);
    return result;
}
