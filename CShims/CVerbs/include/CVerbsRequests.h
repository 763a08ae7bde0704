// Work requests and attributes with the anonymous unions and bit fields that the importer gets wrong. Included by
// CVerbs.h. The fillers write every member a provider reads for that operation, except `next`, which stays as it is.
#pragma once

#include <infiniband/verbs.h>

// RDMA READ or WRITE of one local range. `flags`: IBV_SEND_*.
static inline __attribute__((always_inline)) void martlet_wr_rdma(
    struct ibv_send_wr *_Nonnull request, struct ibv_sge *_Nonnull range, int is_write, uint64_t id,
    uint64_t local_address, uint32_t length, uint32_t local_key, uint64_t remote_address, uint32_t remote_key,
    unsigned flags) {
    range->addr = local_address;
    range->length = length;
    range->lkey = local_key;
    request->wr_id = id;
    request->sg_list = range;
    request->num_sge = 1;
    request->opcode = is_write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ;
    request->send_flags = flags;
    request->wr.rdma.remote_addr = remote_address;
    request->wr.rdma.rkey = remote_key;
}

// Binds a type-2 window to a part of a region, with the remote key it has from then on.
static inline void martlet_wr_bind(
    struct ibv_send_wr *_Nonnull request, uint64_t id, struct ibv_mw *_Nonnull window, uint32_t new_key,
    struct ibv_mr *_Nonnull region, uint64_t address, uint64_t length, unsigned access, unsigned flags) {
    request->wr_id = id;
    request->sg_list = NULL;
    request->num_sge = 0;
    request->opcode = IBV_WR_BIND_MW;
    // The place may have held another kind of request: rxe's provider refuses a binding with a number left here.
    request->imm_data = 0;
    request->send_flags = flags;
    request->bind_mw.mw = window;
    request->bind_mw.rkey = new_key;
    request->bind_mw.bind_info.mr = region;
    request->bind_mw.bind_info.addr = address;
    request->bind_mw.bind_info.length = length;
    request->bind_mw.bind_info.mw_access_flags = access;
}

// Makes a window's remote key void.
static inline void martlet_wr_invalidate(
    struct ibv_send_wr *_Nonnull request, uint64_t id, uint32_t remote_key, unsigned flags) {
    request->wr_id = id;
    request->sg_list = NULL;
    request->num_sge = 0;
    request->opcode = IBV_WR_LOCAL_INV;
    request->send_flags = flags;
    request->invalidate_rkey = remote_key;
}

// What a bind request holds: its window, whose own record of its key the poster must keep.
static inline struct ibv_mw *_Nonnull martlet_wr_bind_window(const struct ibv_send_wr *_Nonnull request) {
    return request->bind_mw.mw;
}
static inline uint32_t martlet_wr_bind_key(const struct ibv_send_wr *_Nonnull request) {
    return request->bind_mw.rkey;
}
static inline struct ibv_mw_bind_info martlet_wr_bind_info(const struct ibv_send_wr *_Nonnull request) {
    return request->bind_mw.bind_info;
}
static inline uint32_t martlet_wr_invalidated_key(const struct ibv_send_wr *_Nonnull request) {
    return request->invalidate_rkey;
}
static inline uint64_t martlet_wr_remote_address(const struct ibv_send_wr *_Nonnull request) {
    return request->wr.rdma.remote_addr;
}
static inline uint32_t martlet_wr_remote_key(const struct ibv_send_wr *_Nonnull request) {
    return request->wr.rdma.rkey;
}

// The 16 bytes of a GID, as on the wire.
static inline void martlet_gid_bytes(const union ibv_gid *_Nonnull gid, uint8_t bytes[_Nonnull 16]) {
    __builtin_memcpy(bytes, gid->raw, 16);
}
static inline void martlet_gid_set(union ibv_gid *_Nonnull gid, const uint8_t bytes[_Nonnull 16]) {
    __builtin_memcpy(gid->raw, bytes, 16);
}

// The element of an asynchronous event, by what the event's type says it is.
static inline struct ibv_qp *_Nullable martlet_event_pair(const struct ibv_async_event *_Nonnull event) {
    return event->element.qp;
}
static inline int martlet_event_port(const struct ibv_async_event *_Nonnull event) { return event->element.port_num; }
static inline void martlet_event_set_pair(struct ibv_async_event *_Nonnull event, struct ibv_qp *_Nonnull pair) {
    event->element.qp = pair;
}
static inline void martlet_event_set_port(struct ibv_async_event *_Nonnull event, int port) {
    event->element.port_num = port;
}
