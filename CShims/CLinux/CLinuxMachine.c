#include "CLinux.h"

#include <numaif.h>
#include <stdatomic.h>

int martlet_bind_memory(void *base, size_t length, int node) {
    unsigned long mask[16] = {0};  // 1024 nodes, the kernel's own limit
    const unsigned bits = 8 * sizeof(unsigned long);
    if (node < 0 || (unsigned)node >= 16 * bits) return -EINVAL;
    mask[(unsigned)node / bits] = 1UL << ((unsigned)node % bits);
    return mbind(base, length, MPOL_BIND, mask, 16 * bits, 0) == 0 ? 0 : -errno;
}

int martlet_seal_memory(int descriptor) {
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL;
    return fcntl(descriptor, F_ADD_SEALS, seals) == 0 ? 0 : -errno;
}

int martlet_thread_start(
    pthread_t *thread, const uint64_t *words, size_t wordCount, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    int failure = pthread_attr_init(&attributes);
    if (failure != 0) return -failure;
    if (wordCount > 0)
        failure = pthread_attr_setaffinity_np(
            &attributes, wordCount * sizeof(uint64_t), (const cpu_set_t *)(const void *)words);
    if (failure == 0) failure = pthread_create(thread, &attributes, body, argument);
    pthread_attr_destroy(&attributes);
    return -failure;
}

int martlet_thread_cpus(uint64_t *words, size_t wordCount) {
    // The system call, unlike its wrapper, says how many bytes the kernel's mask has.
    const long bytes = syscall(SYS_sched_getaffinity, 0, wordCount * sizeof(uint64_t), words);
    return bytes < 0 ? -errno : (int)(bytes / (long)sizeof(uint64_t));
}

static atomic_int signal_descriptor = -1;

static void forward_signal(int signal) {
    const int saved = errno;
    const int descriptor = atomic_load_explicit(&signal_descriptor, memory_order_relaxed);
    const uint8_t number = (uint8_t)signal;
    // A full pipe already holds news enough.
    if (descriptor >= 0 && write(descriptor, &number, 1) < 0) {
    }
    errno = saved;
}

static int set_handler(int signal, void (*handler)(int)) {
    struct sigaction action = {0};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    return sigaction(signal, &action, NULL) == 0 ? 0 : -errno;
}

int martlet_signal_forward(int signal, int descriptor) {
    if (descriptor < 0) return set_handler(signal, SIG_DFL);
    atomic_store_explicit(&signal_descriptor, descriptor, memory_order_relaxed);
    return set_handler(signal, forward_signal);
}

int martlet_signal_ignore(int signal) { return set_handler(signal, SIG_IGN); }
