#include "CVerbs.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>

// The fillers and the table stand for layouts of libibverbs.so.1's stable ABI.
_Static_assert(sizeof(struct ibv_sge) == 16, "ibv_sge");
_Static_assert(sizeof(struct ibv_send_wr) == 128, "ibv_send_wr");
_Static_assert(sizeof(struct ibv_wc) == 48, "ibv_wc");
_Static_assert(sizeof(struct ibv_gid_entry) == 32, "ibv_gid_entry");

// The exported ibv_query_port knows only the part of ibv_port_attr up to here.
static int (*older_query_port)(struct ibv_context *, uint8_t, struct _compat_ibv_port_attr *);

static int query_whole_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attributes) {
    struct verbs_context *extended = verbs_get_ctx_op(context, query_port);
    memset(attributes, 0, sizeof *attributes);
    if (extended) return extended->query_port(context, port, attributes, sizeof *attributes);
    return older_query_port(context, port, (struct _compat_ibv_port_attr *)attributes);
}

int martlet_verbs_load(struct martlet_verbs_table *table, char *why, size_t why_bytes) {
    void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *reason = dlerror();
        snprintf(why, why_bytes, "%s", reason ? reason : "libibverbs.so.1 cannot be loaded");
        return -ENOENT;
    }
    memset(table, 0, sizeof *table);
    const struct {
        const char *name, *version;
        void *place;
        int optional;
    } calls[] = {
        {"ibv_get_device_list", "IBVERBS_1.1", &table->get_device_list, 0},
        {"ibv_free_device_list", "IBVERBS_1.1", &table->free_device_list, 0},
        {"ibv_get_device_name", "IBVERBS_1.1", &table->get_device_name, 0},
        {"ibv_get_device_guid", "IBVERBS_1.1", &table->get_device_guid, 0},
        {"ibv_open_device", "IBVERBS_1.1", &table->open_device, 0},
        {"ibv_close_device", "IBVERBS_1.1", &table->close_device, 0},
        {"ibv_query_device", "IBVERBS_1.1", &table->query_device, 0},
        {"ibv_query_port", "IBVERBS_1.1", &older_query_port, 0},
        {"_ibv_query_gid_table", "IBVERBS_1.11", &table->query_gid_table, 0},
        {"ibv_query_pkey", "IBVERBS_1.1", &table->query_pkey, 0},
        {"ibv_alloc_pd", "IBVERBS_1.1", &table->alloc_pd, 0},
        {"ibv_dealloc_pd", "IBVERBS_1.1", &table->dealloc_pd, 0},
        {"ibv_reg_mr", "IBVERBS_1.1", &table->reg_mr, 0},
        {"ibv_reg_mr_iova2", "IBVERBS_1.8", &table->reg_mr_iova2, 0},
        {"ibv_reg_dmabuf_mr", "IBVERBS_1.12", &table->reg_dmabuf_mr, 1},
        {"ibv_dereg_mr", "IBVERBS_1.1", &table->dereg_mr, 0},
        {"ibv_create_comp_channel", "IBVERBS_1.0", &table->create_comp_channel, 0},
        {"ibv_destroy_comp_channel", "IBVERBS_1.0", &table->destroy_comp_channel, 0},
        {"ibv_create_cq", "IBVERBS_1.1", &table->create_cq, 0},
        {"ibv_destroy_cq", "IBVERBS_1.1", &table->destroy_cq, 0},
        {"ibv_get_cq_event", "IBVERBS_1.1", &table->get_cq_event, 0},
        {"ibv_ack_cq_events", "IBVERBS_1.1", &table->ack_cq_events, 0},
        {"ibv_create_qp", "IBVERBS_1.1", &table->create_qp, 0},
        {"ibv_modify_qp", "IBVERBS_1.1", &table->modify_qp, 0},
        {"ibv_query_qp", "IBVERBS_1.1", &table->query_qp, 0},
        {"ibv_destroy_qp", "IBVERBS_1.1", &table->destroy_qp, 0},
        {"ibv_get_async_event", "IBVERBS_1.1", &table->get_async_event, 0},
        {"ibv_ack_async_event", "IBVERBS_1.1", &table->ack_async_event, 0},
        {"ibv_wc_status_str", "IBVERBS_1.1", &table->wc_status_str, 0},
        {"ibv_event_type_str", "IBVERBS_1.1", &table->event_type_str, 0},
    };
    for (size_t index = 0; index < sizeof calls / sizeof *calls; index++) {
        void *symbol = dlvsym(library, calls[index].name, calls[index].version);
        if (!symbol && !calls[index].optional) {
            snprintf(why, why_bytes, "libibverbs.so.1 lacks %s@%s", calls[index].name, calls[index].version);
            dlclose(library);
            return -ENOENT;
        }
        // A function's address into a pointer of its type, without the cast ISO C does not define.
        memcpy(calls[index].place, &symbol, sizeof symbol);
    }
    table->query_port = query_whole_port;
    return 0;
}

int martlet_verbs_locks_freely(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (syscall(SYS_capget, &header, data) != 0 || !(data[0].effective & (1u << CAP_IPC_LOCK))) return 0;
    FILE *map = fopen("/proc/self/uid_map", "re");
    if (!map) return 1;
    unsigned long inside = 1, outside = 1, count = 0;
    int fields = fscanf(map, "%lu %lu %lu", &inside, &outside, &count);
    fclose(map);
    // The first user namespace maps every id to itself.
    return fields == 3 && inside == 0 && outside == 0 && count == 4294967295ul;
}

uint64_t martlet_verbs_pinned_bytes(void) {
    FILE *status = fopen("/proc/self/status", "re");
    if (!status) return 0;
    char line[256];
    unsigned long long kilobytes = 0;
    while (fgets(line, sizeof line, status)) {
        if (sscanf(line, "VmPin: %llu kB", &kilobytes) == 1) break;
    }
    fclose(status);
    return (uint64_t)kilobytes << 10;
}

int martlet_verbs_interface_name(uint32_t index, char name[16]) {
    _Static_assert(IF_NAMESIZE == 16, "interface names");
    return if_indextoname(index, name) ? (int)strnlen(name, 16) : -errno;
}

int martlet_verbs_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return -errno;
    return fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0 ? 0 : -errno;
}
