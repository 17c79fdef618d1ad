#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A mutex and one condition: what threads of this process share lies behind the first, and they wait for its changes
/// by the second.
///
/// Sendable by protocol of use: whoever owns one touches what it guards only inside `locked`.
@safe package final class Monitor: @unchecked Sendable {
  // Addresses that do not change while threads wait: neither may be a stored property.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

  package init() {
    unsafe pthread_mutex_init(mutex, nil)
    // Waits end by the monotonic clock: setting the time of day ends none of them.
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(changed, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(changed)
    unsafe pthread_mutex_destroy(mutex)
    unsafe changed.deallocate()
    unsafe mutex.deallocate()
  }

  package func locked<Value, Failure: Error>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    unsafe pthread_mutex_lock(mutex)
    defer { unsafe pthread_mutex_unlock(mutex) }
    return try body()
  }

  /// Inside `locked`: lets others in until one of them calls `wakeAll`, or for no reason: look again, then.
  package func wait() { unsafe pthread_cond_wait(changed, mutex) }

  /// As `wait`, at most until `deadline`, in seconds of the monotonic clock; false when that has passed.
  package func wait(until deadline: Double) -> Bool {
    var time = timespec()
    time.tv_sec = Int(deadline)
    time.tv_nsec = Int((deadline - deadline.rounded(.down)) * 1e9)
    return unsafe pthread_cond_timedwait(changed, mutex, &time) != ETIMEDOUT
  }

  /// Inside `locked`, after a change.
  package func wakeAll() { unsafe pthread_cond_broadcast(changed) }
}
