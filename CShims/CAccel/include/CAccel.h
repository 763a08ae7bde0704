// The CUDA driver API as Swift can call it. Nothing of it is linked and no header of it is needed: a program that has
// this shim starts on a machine without GPUs, and martlet_accel_load says why there is none.
//
// Calls answer 0 or a CUresult above it. Those that need a context use the one that is current on the calling thread.
// Source: the CUDA driver API's reference. The types are those of its stable ABI on 64-bit Linux.
#pragma once

#include <stddef.h>
#include <stdint.h>

// CUdevice: a number. CUdeviceptr: an address in the device's space, of no meaning to the processor.
typedef int martlet_accel_device;
typedef unsigned long long martlet_accel_address;
// CUcontext: opaque.
typedef struct martlet_accel_context *martlet_accel_context;

_Static_assert(sizeof(martlet_accel_address) == 8 && sizeof(size_t) == 8, "the driver API's ABI on 64-bit Linux");

// Each call once: its name in the table, its symbol, its arguments. `needed` ones came with CUDA 3 or 7, `newer` ones
// with CUDA 11.3 and 11.7: NULL where the driver is older.
#define MARTLET_ACCEL_CALLS(needed, newer)                                                                            \
    needed(init, "cuInit", (unsigned flags))                                                                          \
    needed(driver_version, "cuDriverGetVersion", (int *_Nonnull version))                                             \
    needed(device_count, "cuDeviceGetCount", (int *_Nonnull count))                                                   \
    needed(device, "cuDeviceGet", (martlet_accel_device *_Nonnull device, int ordinal))                               \
    needed(device_name, "cuDeviceGetName", (char *_Nonnull name, int bytes, martlet_accel_device device))             \
    needed(device_pci, "cuDeviceGetPCIBusId", (char *_Nonnull address, int bytes, martlet_accel_device device))       \
    needed(device_attribute, "cuDeviceGetAttribute", (int *_Nonnull value, int attribute, martlet_accel_device device)) \
    needed(retain_context, "cuDevicePrimaryCtxRetain",                                                                \
        (martlet_accel_context _Nullable *_Nonnull context, martlet_accel_device device))                             \
    needed(release_context, "cuDevicePrimaryCtxRelease_v2", (martlet_accel_device device))                            \
    needed(set_context, "cuCtxSetCurrent", (martlet_accel_context _Nullable context))                                 \
    needed(allocate, "cuMemAlloc_v2", (martlet_accel_address *_Nonnull address, size_t bytes))                        \
    needed(free, "cuMemFree_v2", (martlet_accel_address address))                                                     \
    needed(set_pointer_attribute, "cuPointerSetAttribute",                                                            \
        (const void *_Nonnull value, int attribute, martlet_accel_address address))                                   \
    needed(copy_out, "cuMemcpyDtoH_v2", (void *_Nonnull target, martlet_accel_address source, size_t bytes))          \
    needed(copy_in, "cuMemcpyHtoD_v2", (martlet_accel_address target, const void *_Nonnull source, size_t bytes))     \
    newer(flush_remote_writes, "cuFlushGPUDirectRDMAWrites", (int target, int scope))                                 \
    newer(range_handle, "cuMemGetHandleForAddressRange",                                                              \
        (void *_Nonnull handle, martlet_accel_address address, size_t bytes, int kind, unsigned long long flags))

#define MARTLET_ACCEL_NEEDED(field, symbol, arguments) int (*_Nonnull field) arguments;
#define MARTLET_ACCEL_NEWER(field, symbol, arguments) int (*_Nullable field) arguments;
struct martlet_accel_table {
    MARTLET_ACCEL_CALLS(MARTLET_ACCEL_NEEDED, MARTLET_ACCEL_NEWER)
};
#undef MARTLET_ACCEL_NEEDED
#undef MARTLET_ACCEL_NEWER

// Values of the API that are used here, by their names there.
enum {
    // CUresult.
    MARTLET_ACCEL_INVALID_VALUE = 1,
    MARTLET_ACCEL_OUT_OF_MEMORY = 2,
    MARTLET_ACCEL_STUB_LIBRARY = 34,
    MARTLET_ACCEL_DEVICE_UNAVAILABLE = 46,
    MARTLET_ACCEL_NO_DEVICE = 100,
    MARTLET_ACCEL_ECC_UNCORRECTABLE = 214,
    MARTLET_ACCEL_NOT_PERMITTED = 800,
    MARTLET_ACCEL_NOT_SUPPORTED = 801,
    MARTLET_ACCEL_SYSTEM_NOT_READY = 802,
    MARTLET_ACCEL_SYSTEM_DRIVER_MISMATCH = 803,
    // CUdevice_attribute.
    MARTLET_ACCEL_GPU_DIRECT_RDMA_SUPPORTED = 116,
    MARTLET_ACCEL_GPU_DIRECT_RDMA_WRITES_ORDERING = 118,
    MARTLET_ACCEL_DMA_BUF_SUPPORTED = 124,
    // CUpointer_attribute.
    MARTLET_ACCEL_SYNC_MEMOPS = 6,
    // CUGPUDirectRDMAWritesOrdering and CUflushGPUDirectRDMAWritesScope: the owning device.
    MARTLET_ACCEL_TO_OWNER = 100,
    // CUflushGPUDirectRDMAWritesTarget: the current context.
    MARTLET_ACCEL_CURRENT_CONTEXT = 0,
    // CUmemRangeHandleType.
    MARTLET_ACCEL_DMA_BUF_DESCRIPTOR = 1,
};

// What became of loading.
enum {
    MARTLET_ACCEL_LOADED = 0,
    // The file is not there or cannot be loaded.
    MARTLET_ACCEL_NO_LIBRARY = 1,
    // It lacks a needed call.
    MARTLET_ACCEL_TOO_OLD = 2,
};

// Loads the driver's library by name or path and fills the table; the library stays loaded for good. Returns one of the
// three above, with a sentence in `why` for the latter two. Safe from any thread.
int martlet_accel_load(
    const char *_Nonnull library, struct martlet_accel_table *_Nonnull table, char *_Nonnull why, size_t why_bytes);
