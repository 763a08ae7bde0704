// Threads, memory and signals: wrappers where the importer fails (macros, variadics, handlers in C).
// Included by CLinux.h; every call returns >= 0 or -errno.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Binds pages not yet touched in [base, base + length) to one NUMA node: mbind(2) with MPOL_BIND.
int martlet_bind_memory(void *_Nonnull base, size_t length, int node);

// fcntl(F_ADD_SEALS) on a memfd: its length is fixed for good, and nobody but those who have it mapped now can
// write to it; whoever gets the descriptor can only read.
int martlet_seal_memory(int descriptor);

// Starts a thread with a CPU mask, bit n of the words is CPU n; no words: no mask. -EINVAL when none of the CPUs is usable.
int martlet_thread_start(
    pthread_t *_Nonnull thread, const uint64_t *_Nullable words, size_t wordCount,
    void *_Nullable (*_Nonnull body)(void *_Nullable), void *_Nullable argument);

// The calling thread's CPU mask, into `wordCount` words. Returns the number of words the kernel filled.
int martlet_thread_cpus(uint64_t *_Nonnull words, size_t wordCount);

// Lets the kernel write the number of each signal that arrives, as one byte, to a non-blocking descriptor;
// `descriptor` < 0 gives the signal its default action back. One descriptor serves all signals of the process.
int martlet_signal_forward(int signal, int descriptor);

// Ignores a signal: SIGPIPE, whose news every socket call returns anyway.
int martlet_signal_ignore(int signal);
