// A GPU driver's library that plays its devices: memory is memfds, so that what is written by another way in is seen.
// Addresses are those of nothing in this process; whoever uses one as a pointer faults. Compiled by AcceleratorDouble
// with -D settings: DEVICES, INIT_RESULT, DMA_BUF (whether it is said to be supported), EXPORT_RESULT, ORDERING,
// ADDRESS_OFFSET (of allocations), WITHOUT_EXPORT, WITHOUT_FLUSH, WITHOUT_COPY.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <fcntl.h>

#ifndef DEVICES
#define DEVICES 2
#endif
#ifndef INIT_RESULT
#define INIT_RESULT 0
#endif
#ifndef DMA_BUF
#define DMA_BUF 1
#endif
#ifndef EXPORT_RESULT
#define EXPORT_RESULT 0
#endif
#ifndef ORDERING
#define ORDERING 100
#endif
#ifndef ADDRESS_OFFSET
#define ADDRESS_OFFSET 0
#endif

enum { ok, invalid_value, out_of_memory, invalid_context = 201, unknown = 999, allocations_max = 64 };
static const size_t device_bytes = 256u << 20;

typedef unsigned long long address_t;
static struct allocation {
    address_t address;
    size_t bytes;
    int descriptor, device;
} allocations[allocations_max];
static int retained[DEVICES + 1];
static int flushes;
static address_t next_address = 0x7d0000000000ull;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread int current = -1;
// The next call of this name fails with this result.
static char failing[64];
static int failure;

static int enter(const char *call) {
    pthread_mutex_lock(&lock);
    if (failure && !strcmp(call, failing)) {
        int result = failure;
        failure = 0;
        return result;
    }
    return ok;
}

static int leave(int result) {
    pthread_mutex_unlock(&lock);
    return result;
}

// What a test asks and orders.
void double_fail(const char *call, int result) {
    pthread_mutex_lock(&lock);
    snprintf(failing, sizeof failing, "%s", call);
    failure = result;
    pthread_mutex_unlock(&lock);
}

// Allocations, retained contexts, flushes so far.
void double_census(int counts[3]) {
    pthread_mutex_lock(&lock);
    counts[0] = counts[1] = 0;
    for (int place = 0; place < allocations_max; place++) counts[0] += allocations[place].bytes != 0;
    for (int device = 0; device < DEVICES; device++) counts[1] += retained[device];
    counts[2] = flushes;
    pthread_mutex_unlock(&lock);
}

int cuInit(unsigned flags) { return flags ? invalid_value : INIT_RESULT; }
int cuDriverGetVersion(int *version) { return *version = 12040, ok; }
int cuDeviceGetCount(int *count) { return *count = DEVICES, ok; }

int cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= DEVICES) return 101;
    *device = ordinal;
    return ok;
}

int cuDeviceGetName(char *name, int bytes, int device) {
    snprintf(name, (size_t)bytes, "Double %d", device);
    return ok;
}

int cuDeviceGetPCIBusId(char *address, int bytes, int device) {
    snprintf(address, (size_t)bytes, "0000:A%d:00.0", device);
    return ok;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 116: *value = 1; return ok;
    case 118: *value = ORDERING; return ok;
    case 124: *value = DMA_BUF; return ok;
    default: return invalid_value;
    }
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    int result = enter(__func__);
    if (result == ok) {
        retained[device]++;
        *context = (void *)(uintptr_t)(device + 1);
    }
    return leave(result);
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    int result = enter(__func__);
    if (result == ok && retained[device] == 0) result = invalid_context;
    if (result == ok) retained[device]--;
    return leave(result);
}

int cuCtxSetCurrent(void *context) {
    int result = enter(__func__);
    if (result == ok) current = (int)(uintptr_t)context - 1;
    return leave(result);
}

int cuMemAlloc_v2(address_t *address, size_t bytes) {
    int result = enter(__func__);
    if (result == ok && (current < 0 || retained[current] == 0)) result = invalid_context;
    size_t used = 0;
    struct allocation *free_place = NULL;
    for (int place = 0; place < allocations_max; place++) {
        if (allocations[place].bytes == 0) free_place = &allocations[place];
        else if (allocations[place].device == current) used += allocations[place].bytes;
    }
    if (result == ok && (!free_place || bytes > device_bytes - used)) result = out_of_memory;
    if (result != ok) return leave(result);
    int descriptor = memfd_create("gpu", MFD_CLOEXEC);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes) != 0) return leave(unknown);
    *free_place = (struct allocation){next_address + ADDRESS_OFFSET, bytes, descriptor, current};
    next_address += (bytes + (4u << 20)) & ~((2ull << 20) - 1);
    *address = free_place->address;
    return leave(ok);
}

static struct allocation *holding(address_t address, size_t bytes) {
    for (int place = 0; place < allocations_max; place++) {
        struct allocation *entry = &allocations[place];
        if (entry->bytes && current == entry->device && address >= entry->address && bytes <= entry->bytes
            && address - entry->address <= entry->bytes - bytes)
            return entry;
    }
    return NULL;
}

int cuMemFree_v2(address_t address) {
    int result = enter(__func__);
    struct allocation *entry = holding(address, 1);
    if (result == ok && (!entry || entry->address != address)) result = invalid_value;
    if (result == ok) {
        close(entry->descriptor);
        entry->bytes = 0;
    }
    return leave(result);
}

int cuPointerSetAttribute(const void *value, int attribute, address_t address) {
    int result = enter(__func__);
    if (result == ok && (attribute != 6 || *(const unsigned *)value != 1 || !holding(address, 1))) result = invalid_value;
    return leave(result);
}

int cuMemcpyDtoH_v2(void *target, address_t source, size_t bytes) {
    int result = enter(__func__);
    struct allocation *entry = holding(source, bytes);
    if (result == ok && !entry) result = invalid_value;
    if (result == ok && pread(entry->descriptor, target, bytes, (off_t)(source - entry->address)) != (ssize_t)bytes)
        result = unknown;
    return leave(result);
}

#ifndef WITHOUT_COPY
int cuMemcpyHtoD_v2(address_t target, const void *source, size_t bytes) {
    int result = enter(__func__);
    struct allocation *entry = holding(target, bytes);
    if (result == ok && !entry) result = invalid_value;
    if (result == ok && pwrite(entry->descriptor, source, bytes, (off_t)(target - entry->address)) != (ssize_t)bytes)
        result = unknown;
    return leave(result);
}
#endif

#ifndef WITHOUT_FLUSH
int cuFlushGPUDirectRDMAWrites(int target, int scope) {
    int result = enter(__func__);
    if (result == ok && (target != 0 || scope != 100 || current < 0)) result = invalid_value;
    if (result == ok) flushes++;
    return leave(result);
}
#endif

#ifndef WITHOUT_EXPORT
// Whole allocations alone, page-aligned, as a real driver asks for the latter.
int cuMemGetHandleForAddressRange(void *handle, address_t address, size_t bytes, int kind, unsigned long long flags) {
    int result = enter(__func__);
    struct allocation *entry = holding(address, bytes);
    if (result == ok) result = EXPORT_RESULT;
    if (result == ok
        && (!entry || kind != 1 || flags || address != entry->address || address % 4096 || bytes % 4096))
        result = invalid_value;
    if (result == ok) {
        int copy = fcntl(entry->descriptor, F_DUPFD_CLOEXEC, 3);
        if (copy < 0) result = unknown;
        else memcpy(handle, &copy, sizeof copy);
    }
    return leave(result);
}
#endif
