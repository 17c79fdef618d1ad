// cmpi: the few MPI calls this package makes. Nothing else includes mpi.h.
//
// Why a shim: in Open MPI the handles (MPI_COMM_WORLD, MPI_BYTE, MPI_SUM ...) are macros that cast the address of a
// global, which Swift cannot import, and every count is a C `int`. Here handles are values, sizes are int64_t and long
// transfers are cut into chunks inside. The shim may go when the toolchain imports such macros and the installed MPI has
// the `_c` functions of MPI 4.0.
//
// Contract of every function that returns int32_t: the MPI return code, 0 for success; `cmpi_error_text` words it.
// Handlers return (MPI_ERRORS_RETURN), so a failure reaches the caller. Collectives are collective over `comm`: all of
// its ranks call the same ones in the same order. All calls come from the thread that called `cmpi_init`
// (MPI_THREAD_FUNNELED; MPI 3.1 section 12.4). No call allocates once the rank count has been seen.
#ifndef CMPI_H
#define CMPI_H

#include <stdbool.h>
#include <stdint.h>

// A communicator, whatever type the MPI library gives it.
typedef struct cmpi_comm {
  intptr_t handle;
} cmpi_comm;

typedef enum cmpi_reduction {
  CMPI_SUM_DOUBLE = 0,  // exact only where at most one rank holds a nonzero: the order of addition is MPI's own
  CMPI_SUM_INT64 = 1,
  CMPI_MAX_INT64 = 2,
  CMPI_MIN_INT64 = 3,
} cmpi_reduction;

// The library grants less than MPI_THREAD_FUNNELED. Not an MPI code: those are positive.
enum { CMPI_ERROR_THREADS = -1, CMPI_ERROR_FINALIZED = -2, CMPI_ERROR_MEMORY = -3 };

// --- Life cycle. -----------------------------------------------------------------------------------------------------

// Starts MPI once (a second call does nothing) and has it ended at process exit: status 0 finalizes, any other status
// aborts the job with that status, so that a rank that gives up never leaves its peers waiting in a collective.
int32_t cmpi_init(void);
// True between cmpi_init and the end of the process. The functions down to `cmpi_world` work without MPI started.
bool cmpi_is_running(void);
// True on the thread that called cmpi_init.
bool cmpi_is_own_thread(void);
// Writes the NUL-terminated text of a return code into text[0..<size].
void cmpi_error_text(int32_t code, char *text, int32_t size);
// Writes the NUL-terminated name and version of the MPI library.
void cmpi_library_text(char *text, int32_t size);
// Seconds of the monotonic clock.
double cmpi_wtime(void);
// Seconds for which the calling thread has had a processor.
double cmpi_cpu_time(void);

cmpi_comm cmpi_world(void);
// Ends every process of the job; mpirun returns `code`.
_Noreturn void cmpi_abort(int32_t code);

// --- Communicators. --------------------------------------------------------------------------------------------------

int32_t cmpi_rank(cmpi_comm comm, int32_t *rank);
int32_t cmpi_size(cmpi_comm comm, int32_t *size);
// A communicator of the same ranks whose messages never meet those of `comm`.
int32_t cmpi_dup(cmpi_comm comm, cmpi_comm *copy);
// The ranks of `comm` that share memory (one node), in the order of their ranks.
int32_t cmpi_split_shared(cmpi_comm comm, cmpi_comm *node);
// The ranks of `comm` that passed the same color, in the order of `key`, then of their ranks.
int32_t cmpi_split(cmpi_comm comm, int32_t color, int32_t key, cmpi_comm *part);

// --- Collectives. ----------------------------------------------------------------------------------------------------

int32_t cmpi_barrier(cmpi_comm comm);
int32_t cmpi_bcast(cmpi_comm comm, void *bytes, int64_t count, int32_t root);
// all = the ranks' bytes, one after another, counts[r] from rank r. own == NULL: this rank's bytes already lie there.
int32_t cmpi_allgatherv(cmpi_comm comm, const void *own, void *all, const int64_t *counts);
// Like cmpi_allgatherv, but only `root` receives; `counts` and `all` are read there alone.
int32_t cmpi_gatherv(cmpi_comm comm, const void *own, int64_t count, void *all, const int64_t *counts, int32_t root);
// Elementwise over ranks, in place, `count` elements of 8 bytes.
int32_t cmpi_allreduce(cmpi_comm comm, void *values, int64_t count, cmpi_reduction reduction);

// --- Exchanges in flight. --------------------------------------------------------------------------------------------

// Bytes to and from every rank of a communicator, on their way while the caller computes. One object serves exchange
// after exchange; it allocates only when it grows.
typedef struct cmpi_exchange cmpi_exchange;

// NULL: out of memory.
cmpi_exchange *cmpi_exchange_make(void);
void cmpi_exchange_free(cmpi_exchange *exchange);
// Posts every receive, then every send: send_counts[r] bytes at send + send_offsets[r] go to rank r, receive_counts[r]
// bytes from rank r arrive at receive + receive_offsets[r]. Bytes to oneself are not moved. Until the exchange is done
// nobody touches either memory. Exchanges on one communicator start in the same order on all of its ranks; `tag`, in
// 0 ..< 16384, is the same on all of them and differs between exchanges that are in flight together.
int32_t cmpi_exchange_start(cmpi_exchange *exchange, cmpi_comm comm, int32_t tag, const void *send,
                            const int64_t *send_offsets, const int64_t *send_counts, void *receive,
                            const int64_t *receive_offsets, const int64_t *receive_counts);
// Moves bytes; *done says whether all of them have arrived and left.
int32_t cmpi_exchange_test(cmpi_exchange *exchange, bool *done);
int32_t cmpi_exchange_wait(cmpi_exchange *exchange);

// The longest single MPI transfer in bytes, 256 MiB at start. Tests lower it to reach the chunked paths; the same value
// on every rank.
int64_t cmpi_chunk_limit(void);
void cmpi_set_chunk_limit(int64_t bytes);

#endif
