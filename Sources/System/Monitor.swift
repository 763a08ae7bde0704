import CLinux

/// A lock that threads can wait under until another signals: what a bounded queue between threads is made of.
///
/// Only for threads of our own; a task of Swift concurrency must neither wait nor hold it across an `await`.
public final class Monitor: @unchecked Sendable {
    // Safety: both are used through the C library only, at an address that stays the same until deinit.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    /// Makes an unlocked monitor.
    public init() {
        mutex.initialize(to: pthread_mutex_t())
        condition.initialize(to: pthread_cond_t())
        let failures = (pthread_mutex_init(mutex, nil), pthread_cond_init(condition, nil))
        precondition(failures == (0, 0), "the C library refused a mutex")
    }

    /// Takes the lock; blocks while another thread has it.
    public func lock() { pthread_mutex_lock(mutex) }
    /// Gives the lock back.
    public func unlock() { pthread_mutex_unlock(mutex) }
    /// Gives the lock back, waits for a signal (or for nothing: check again), and takes the lock.
    public func wait() { pthread_cond_wait(condition, mutex) }
    /// Wakes one waiting thread.
    public func signal() { pthread_cond_signal(condition) }
    /// Wakes all waiting threads.
    public func broadcast() { pthread_cond_broadcast(condition) }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }
}
