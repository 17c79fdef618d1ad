// A fork-join team for loops of some hundred microseconds, on machines that may have more threads than processors.
//
// One word says whether a loop is open and how many workers are inside. A worker enters an open loop by itself; the
// caller takes items too, closes the loop when they have run out, and waits only for workers that have entered. One that
// the system did not get round to running is never waited for. Both sides spin briefly, then sleep.
#include "../ck_strict.h"
#include "../include/ck_team.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

// A Swift closure (Int, Int) -> Void: its code, and the context that the code finds in a register of its own.
typedef __attribute__((swiftcall)) void (*loop_body)(int64_t item, int64_t worker,
                                                     __attribute__((swift_context)) void *context);

enum { OPEN = 1, WORKER = 2 };   // of `gate`: bit 0, and the workers inside above it
enum { SPINS = 2000 };           // some tens of microseconds

static struct {
  // Written by the caller before the gate opens.
  loop_body body;
  void *context;
  int64_t count, workers;
  // Items taken, on a line of its own, as is what idle workers look at.
  _Alignas(64) atomic_int_fast64_t next;
  _Alignas(64) atomic_int_fast64_t gate;
  _Alignas(64) atomic_int_fast64_t loops;   // counts the loops opened
  atomic_int_fast64_t sleeping;             // workers that wait for `opened`
  atomic_bool caller_sleeps;
  _Alignas(64) atomic_int_fast64_t size;
  int64_t started;                          // workers, guarded by `use`
  pthread_mutex_t use, mutex;
  pthread_cond_t opened, left;
} team = {.size = 1, .use = PTHREAD_MUTEX_INITIALIZER, .mutex = PTHREAD_MUTEX_INITIALIZER,
          .opened = PTHREAD_COND_INITIALIZER, .left = PTHREAD_COND_INITIALIZER};

static _Thread_local bool inside;

static inline void spin(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void take_items(int64_t worker) {
  const loop_body body = team.body;
  void *const context = team.context;
  const int64_t count = team.count;
  inside = true;
  for (int64_t item; (item = atomic_fetch_add_explicit(&team.next, 1, memory_order_relaxed)) < count;)
    body(item, worker, context);
  inside = false;
}

static bool enter(void) {
  int_fast64_t gate = atomic_load(&team.gate);
  while (gate & OPEN)
    if (atomic_compare_exchange_weak(&team.gate, &gate, gate + WORKER)) return true;
  return false;
}

static void leave(void) {
  // The last one out of a closed loop tells the caller, if it sleeps.
  if (atomic_fetch_sub(&team.gate, WORKER) != WORKER || !atomic_load(&team.caller_sleeps)) return;
  pthread_mutex_lock(&team.mutex);
  pthread_cond_signal(&team.left);
  pthread_mutex_unlock(&team.mutex);
}

static void wait_for_another(int_fast64_t seen) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&team.loops) != seen) return;
    spin();
  }
  pthread_mutex_lock(&team.mutex);
  atomic_fetch_add(&team.sleeping, 1);
  while (atomic_load(&team.loops) == seen) pthread_cond_wait(&team.opened, &team.mutex);
  atomic_fetch_sub(&team.sleeping, 1);
  pthread_mutex_unlock(&team.mutex);
}

static void *work(void *number) {
  const int64_t worker = (int64_t)(intptr_t)number;
  int_fast64_t seen = 0;
  for (;;) {
    wait_for_another(seen);
    seen = atomic_load(&team.loops);
    if (worker >= ck_team_size() || !enter()) continue;
    if (worker < team.workers) take_items(worker);
    leave();
  }
  return NULL;
}

int64_t ck_team_size(void) { return atomic_load_explicit(&team.size, memory_order_relaxed); }

int64_t ck_team_configure(int64_t threads) {
  const int64_t size = threads < 1 ? 1 : threads > CK_TEAM_LIMIT ? CK_TEAM_LIMIT : threads;
  pthread_mutex_lock(&team.use);
  while (team.started < size - 1) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, (void *)(intptr_t)(team.started + 1)) != 0) break;
    pthread_detach(thread);
    team.started++;
  }
  atomic_store(&team.size, size - 1 < team.started ? size : team.started + 1);
  pthread_mutex_unlock(&team.use);
  return ck_team_size();
}

static void close_and_wait(void) {
  if (atomic_fetch_sub(&team.gate, OPEN) == OPEN) return;
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&team.gate) == 0) return;
    spin();
  }
  pthread_mutex_lock(&team.mutex);
  atomic_store(&team.caller_sleeps, true);
  while (atomic_load(&team.gate) != 0) pthread_cond_wait(&team.left, &team.mutex);
  atomic_store(&team.caller_sleeps, false);
  pthread_mutex_unlock(&team.mutex);
}

// Swift passes a closure that does not escape as two words, its code and its context, and keeps the context on the stack
// of the caller: nothing is allocated, and it lives until this returns.
__attribute__((swiftcall)) void ck_team_run(int64_t count, int64_t workers, loop_body body, void *context);
__attribute__((swiftcall)) void ck_team_run(int64_t count, int64_t workers, loop_body body, void *context) {
  if (count <= 1 || workers <= 1 || inside || ck_team_size() == 1 || pthread_mutex_trylock(&team.use) != 0) {
    for (int64_t item = 0; item < count; item++) body(item, 0, context);
    return;
  }
  team.body = body;
  team.context = context;
  team.count = count;
  team.workers = workers;
  atomic_store(&team.next, 0);
  atomic_store(&team.gate, OPEN);
  atomic_fetch_add(&team.loops, 1);
  if (atomic_load(&team.sleeping) > 0) {
    pthread_mutex_lock(&team.mutex);
    pthread_cond_broadcast(&team.opened);
    pthread_mutex_unlock(&team.mutex);
  }
  take_items(0);
  close_and_wait();
  pthread_mutex_unlock(&team.use);
}
