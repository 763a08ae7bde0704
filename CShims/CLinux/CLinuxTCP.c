#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinuxTCP.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

// linux/tcp.h has the fields that the C library's header lacks; the two cannot be included together.
_Static_assert(sizeof(struct tcp_info) >= 224, "tcp_info has tcpi_bytes_sent");

int martlet_socket_tcp_state(int descriptor, struct martlet_tcp_state *state) {
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    socklen_t length = sizeof info;
    memset(state, 0, sizeof *state);
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) < 0) return -errno;
    state->segment_bytes = info.tcpi_snd_mss;
    state->round_trip_us = info.tcpi_rtt;
    state->congestion_segments = info.tcpi_snd_cwnd;
    state->retransmitted_segments = info.tcpi_total_retrans;
    state->receive_space_bytes = info.tcpi_rcv_space;
    state->is_established = info.tcpi_state == 1;
    state->sent_bytes = info.tcpi_bytes_sent;
    state->received_bytes = info.tcpi_bytes_received;
    state->busy_us = info.tcpi_busy_time;
    state->window_limited_us = info.tcpi_rwnd_limited;
    state->buffer_limited_us = info.tcpi_sndbuf_limited;
    return 0;
}

int martlet_wait_ready(int descriptor, short events, int timeout_ms) {
    struct pollfd entry = {.fd = descriptor, .events = events};
    const int ready = poll(&entry, 1, timeout_ms);
    if (ready < 0) return errno == EINTR ? 0 : -errno;
    return ready;
}

int martlet_socket_local_host(int descriptor, char *text, int size) {
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) < 0) return -errno;
    if (getnameinfo((struct sockaddr *)&address, length, text, (socklen_t)size, NULL, 0, NI_NUMERICHOST) != 0)
        return -EINVAL;
    return 0;
}

int martlet_resolve(const char *host, const char *port, char *text, int size) {
    struct addrinfo hints;
    struct addrinfo *found = NULL;
    memset(&hints, 0, sizeof hints);
    hints.ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG;
    hints.ai_socktype = SOCK_STREAM;
    // Without AI_ADDRCONFIG where nothing but the loopback has an address.
    if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) {
        hints.ai_flags = AI_NUMERICSERV;
        if (getaddrinfo(host, port, &hints, &found) != 0 || found == NULL) return -EINVAL;
    }
    const int result =
        getnameinfo(found->ai_addr, found->ai_addrlen, text, (socklen_t)size, NULL, 0, NI_NUMERICHOST) == 0 ? 0 : -EINVAL;
    freeaddrinfo(found);
    return result;
}

int martlet_interface_of(const char *address, char *text, int size) {
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0) return -errno;
    int result = -ENODEV;
    for (const struct ifaddrs *entry = all; entry != NULL && result != 0; entry = entry->ifa_next) {
        if (entry->ifa_addr == NULL) continue;
        const int family = entry->ifa_addr->sa_family;
        if (family != AF_INET && family != AF_INET6) continue;
        char here[NI_MAXHOST];
        const socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        if (getnameinfo(entry->ifa_addr, length, here, sizeof here, NULL, 0, NI_NUMERICHOST) != 0) continue;
        const size_t name_length = strlen(entry->ifa_name);
        if (strcmp(here, address) == 0 && name_length < (size_t)size) {
            memcpy(text, entry->ifa_name, name_length + 1);
            result = 0;
        }
    }
    freeifaddrs(all);
    return result;
}

int martlet_drop_cached(int descriptor) { return -posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED); }
