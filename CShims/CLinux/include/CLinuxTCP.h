// What the kernel knows of a TCP connection, and a few questions to sockets that the bandwidth tool asks.
// Included by CLinux.h; every call returns >= 0 or -errno.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A part of the kernel's struct tcp_info (tcp(7)); 0 where a kernel does not fill a field.
struct martlet_tcp_state {
    uint32_t segment_bytes;          // tcpi_snd_mss
    uint32_t round_trip_us;          // tcpi_rtt
    uint32_t congestion_segments;    // tcpi_snd_cwnd
    uint32_t retransmitted_segments; // tcpi_total_retrans
    uint32_t receive_space_bytes;    // tcpi_rcv_space
    uint32_t is_established;
    uint64_t sent_bytes;          // tcpi_bytes_sent
    uint64_t received_bytes;      // tcpi_bytes_received
    uint64_t busy_us;             // tcpi_busy_time: something was waiting to be sent
    uint64_t window_limited_us;   // tcpi_rwnd_limited: the far side's window was full
    uint64_t buffer_limited_us;   // tcpi_sndbuf_limited: our send buffer was too small
};
// getsockopt(TCP_INFO); -EOPNOTSUPP or -ENOTSOCK for what is no TCP connection.
int martlet_socket_tcp_state(int descriptor, struct martlet_tcp_state *_Nonnull state);

// Waits until a descriptor is ready for `events` (POLLIN, POLLOUT) or the time is over. 0: the time is over.
int martlet_wait_ready(int descriptor, short events, int timeout_ms);
// The numeric address that a socket is bound to, without port, as text with a terminating zero.
int martlet_socket_local_host(int descriptor, char *_Nonnull text, int size);
// Host (a name too) and port to a numeric address as text. Blocks for the resolver's time. -EINVAL: not known.
int martlet_resolve(const char *_Nonnull host, const char *_Nonnull port, char *_Nonnull text, int size);
// The interface that has this numeric address, as text; -ENODEV when none has.
int martlet_interface_of(const char *_Nonnull address, char *_Nonnull text, int size);
// posix_fadvise(POSIX_FADV_DONTNEED) for a whole file: its clean pages leave the page cache.
int martlet_drop_cached(int descriptor);
