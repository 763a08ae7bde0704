// RDMA verbs as Swift can call them. Nothing of libibverbs is linked: a program that has this shim starts on a machine
// without RDMA, and martlet_verbs_load says why there is none.
//
// What is exported by libibverbs is called through a table, which a test may fill with functions of its own. What the
// header defines inline (ibv_post_send, ibv_poll_cq, ibv_req_notify_cq, ibv_alloc_mw, ibv_dealloc_mw) goes through the
// context's own operations and is called directly. The other inline functions of the header must not be called: they
// refer to symbols that are not linked.
#pragma once

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <infiniband/verbs.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

// The calls of libibverbs, by their names without `ibv_`. Contracts: the man pages of those names. Calls that answer
// int answer 0, an error number, or -1 with errno set, as libibverbs does; those that answer a pointer answer NULL with
// errno set.
struct martlet_verbs_table {
    struct ibv_device *_Nullable *_Nullable (*_Nonnull get_device_list)(int *_Nullable count);
    void (*_Nonnull free_device_list)(struct ibv_device *_Nullable *_Nonnull list);
    const char *_Nullable (*_Nonnull get_device_name)(struct ibv_device *_Nonnull device);
    // In network byte order.
    __be64 (*_Nonnull get_device_guid)(struct ibv_device *_Nonnull device);
    struct ibv_context *_Nullable (*_Nonnull open_device)(struct ibv_device *_Nonnull device);
    int (*_Nonnull close_device)(struct ibv_context *_Nonnull context);

    int (*_Nonnull query_device)(struct ibv_context *_Nonnull context, struct ibv_device_attr *_Nonnull attributes);
    // The whole of ibv_port_attr: the symbol of that name fills only the older part.
    int (*_Nonnull query_port)(
        struct ibv_context *_Nonnull context, uint8_t port, struct ibv_port_attr *_Nonnull attributes);
    // Number of valid entries, or -errno.
    ssize_t (*_Nonnull query_gid_table)(
        struct ibv_context *_Nonnull context, struct ibv_gid_entry *_Nonnull entries, size_t entries_max,
        uint32_t flags, size_t entry_bytes);
    int (*_Nonnull query_pkey)(
        struct ibv_context *_Nonnull context, uint8_t port, int index, __be16 *_Nonnull key);

    struct ibv_pd *_Nullable (*_Nonnull alloc_pd)(struct ibv_context *_Nonnull context);
    int (*_Nonnull dealloc_pd)(struct ibv_pd *_Nonnull domain);

    struct ibv_mr *_Nullable (*_Nonnull reg_mr)(
        struct ibv_pd *_Nonnull domain, void *_Nonnull address, size_t length, int access);
    // As reg_mr, with access flags that a device may ignore (relaxed ordering).
    struct ibv_mr *_Nullable (*_Nonnull reg_mr_iova2)(
        struct ibv_pd *_Nonnull domain, void *_Nonnull address, size_t length, uint64_t iova, unsigned access);
    // NULL before rdma-core 34.
    struct ibv_mr *_Nullable (*_Nullable reg_dmabuf_mr)(
        struct ibv_pd *_Nonnull domain, uint64_t offset, size_t length, uint64_t iova, int descriptor, int access);
    int (*_Nonnull dereg_mr)(struct ibv_mr *_Nonnull region);

    struct ibv_comp_channel *_Nullable (*_Nonnull create_comp_channel)(struct ibv_context *_Nonnull context);
    int (*_Nonnull destroy_comp_channel)(struct ibv_comp_channel *_Nonnull channel);
    struct ibv_cq *_Nullable (*_Nonnull create_cq)(
        struct ibv_context *_Nonnull context, int entries, void *_Nullable cq_context,
        struct ibv_comp_channel *_Nullable channel, int vector);
    int (*_Nonnull destroy_cq)(struct ibv_cq *_Nonnull queue);
    int (*_Nonnull get_cq_event)(
        struct ibv_comp_channel *_Nonnull channel, struct ibv_cq *_Nullable *_Nonnull queue,
        void *_Nullable *_Nonnull cq_context);
    void (*_Nonnull ack_cq_events)(struct ibv_cq *_Nonnull queue, unsigned count);

    struct ibv_qp *_Nullable (*_Nonnull create_qp)(
        struct ibv_pd *_Nonnull domain, struct ibv_qp_init_attr *_Nonnull attributes);
    int (*_Nonnull modify_qp)(struct ibv_qp *_Nonnull pair, struct ibv_qp_attr *_Nonnull attributes, int mask);
    int (*_Nonnull query_qp)(
        struct ibv_qp *_Nonnull pair, struct ibv_qp_attr *_Nonnull attributes, int mask,
        struct ibv_qp_init_attr *_Nonnull initial);
    int (*_Nonnull destroy_qp)(struct ibv_qp *_Nonnull pair);

    int (*_Nonnull get_async_event)(struct ibv_context *_Nonnull context, struct ibv_async_event *_Nonnull event);
    void (*_Nonnull ack_async_event)(struct ibv_async_event *_Nonnull event);

    const char *_Nullable (*_Nonnull wc_status_str)(enum ibv_wc_status status);
    const char *_Nullable (*_Nonnull event_type_str)(enum ibv_event_type type);
};

// Loads libibverbs.so.1 and fills the table; the library stays loaded for good. Returns 0, or -ENOENT with a sentence in
// `why`: the library is missing, or is older than rdma-core 32 and lacks a call. Safe from any thread.
int martlet_verbs_load(struct martlet_verbs_table *_Nonnull table, char *_Nonnull why, size_t why_bytes);

// Whether pinned memory is not limited for this process: CAP_IPC_LOCK is effective, and in the first user namespace (the
// kernel asks there; inside a user namespace of a container the capability is held and does nothing). 1 or 0.
int martlet_verbs_locks_freely(void);

// Bytes this process has pinned for devices (VmPin of /proc/self/status), each registration counted; 0 when unknown.
uint64_t martlet_verbs_pinned_bytes(void);

// The name of a network interface. Returns its length, or -errno.
int martlet_verbs_interface_name(uint32_t index, char name[_Nonnull 16]);

// Makes a descriptor non-blocking. Returns 0 or -errno.
int martlet_verbs_nonblocking(int descriptor);

// errno is a macro the importer does not see.
static inline int martlet_verbs_errno(void) { return errno; }
static inline void martlet_verbs_set_errno(int code) { errno = code; }

#include "CVerbsRequests.h"
