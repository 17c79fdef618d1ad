// Exchanges that run while the caller computes.
//
// Point-to-point messages rather than MPI_Ialltoallv: the nonblocking collectives of Open MPI 4.1 post the same messages
// in one round, but allocate a schedule for every call, take `int` displacements and overflowed in several releases.
// A message longer than the chunk limit is cut; MPI keeps messages of one pair, communicator and tag in order, so chunk k
// of the sender meets chunk k of the receiver.
#include <stdlib.h>

#include "cmpi_private.h"

struct cmpi_exchange {
  MPI_Request *requests;
  int count, capacity;
};

cmpi_exchange *cmpi_exchange_make(void) { return calloc(1, sizeof(cmpi_exchange)); }

void cmpi_exchange_free(cmpi_exchange *exchange) {
  if (exchange == NULL) return;
  free(exchange->requests);
  free(exchange);
}

static int64_t chunks_of(int64_t bytes, int64_t limit) { return (bytes + limit - 1) / limit; }

static int32_t reserve(cmpi_exchange *exchange, int64_t needed) {
  if (needed <= exchange->capacity) return MPI_SUCCESS;
  if (needed > INT32_MAX) return MPI_ERR_COUNT;
  MPI_Request *grown = realloc(exchange->requests, sizeof(MPI_Request) * (size_t)needed);
  if (grown == NULL) return CMPI_ERROR_MEMORY;
  exchange->requests = grown;
  exchange->capacity = (int)needed;
  return MPI_SUCCESS;
}

int32_t cmpi_exchange_start(cmpi_exchange *exchange, cmpi_comm comm, int32_t tag, const void *send,
                            const int64_t *send_offsets, const int64_t *send_counts, void *receive,
                            const int64_t *receive_offsets, const int64_t *receive_counts) {
  const MPI_Comm raw = cmpi_unwrap(comm);
  const int64_t limit = cmpi_chunk_limit();
  int n = 0, rank = 0;
  int code = MPI_Comm_size(raw, &n);
  if (code == MPI_SUCCESS) code = MPI_Comm_rank(raw, &rank);
  if (code != MPI_SUCCESS) return code;
  if (exchange->count != 0) return MPI_ERR_PENDING;

  int64_t needed = 0;
  for (int r = 0; r < n; r++) {
    if (r != rank) needed += chunks_of(send_counts[r], limit) + chunks_of(receive_counts[r], limit);
  }
  code = reserve(exchange, needed);
  if (code != MPI_SUCCESS) return code;

  // Peers in rotated order, so that not everybody sends to rank 0 first.
  for (int step = 1; step < n; step++) {
    const int from = (rank - step + n) % n;
    for (int64_t done = 0; done < receive_counts[from]; done += limit) {
      const int64_t rest = receive_counts[from] - done;
      code = MPI_Irecv((char *)receive + receive_offsets[from] + done, (int)(rest < limit ? rest : limit), MPI_BYTE, from,
                       tag, raw, &exchange->requests[exchange->count]);
      if (code != MPI_SUCCESS) return code;
      exchange->count++;
    }
  }
  for (int step = 1; step < n; step++) {
    const int to = (rank + step) % n;
    for (int64_t done = 0; done < send_counts[to]; done += limit) {
      const int64_t rest = send_counts[to] - done;
      code = MPI_Isend((const char *)send + send_offsets[to] + done, (int)(rest < limit ? rest : limit), MPI_BYTE, to, tag,
                       raw, &exchange->requests[exchange->count]);
      if (code != MPI_SUCCESS) return code;
      exchange->count++;
    }
  }
  return MPI_SUCCESS;
}

// A caller that computes comes by every few milliseconds, in which a link carries more than one test moves. So a visit goes
// on testing as long as tests take the time of a copy, within bounds: where ranks share processors a test may give the
// processor away. Of 1.04 s of exposed communication (1 Gbit/s, one rank a node, fp32) 0.79 s stayed with 8 tests a visit,
// 0.37 s with 64, 0.30 s with this rule; one run each.
#define CMPI_IDLE_TEST 5e-6   // seconds below which a test has moved nothing
#define CMPI_LONGEST_VISIT 2e-3

int32_t cmpi_exchange_test(cmpi_exchange *exchange, bool *done) {
  int all = exchange->count == 0, idle = 0;
  int code = MPI_SUCCESS;
  const double start = cmpi_wtime();
  double before = start;
  while (!all && code == MPI_SUCCESS && idle < 2 && before - start < CMPI_LONGEST_VISIT) {
    code = MPI_Testall(exchange->count, exchange->requests, &all, MPI_STATUSES_IGNORE);
    const double now = cmpi_wtime();
    idle = now - before < CMPI_IDLE_TEST ? idle + 1 : 0;
    before = now;
  }
  *done = all != 0;
  if (all) exchange->count = 0;
  return code;
}

int32_t cmpi_exchange_wait(cmpi_exchange *exchange) {
  int code = MPI_SUCCESS;
  if (exchange->count > 0) code = MPI_Waitall(exchange->count, exchange->requests, MPI_STATUSES_IGNORE);
  exchange->count = 0;
  return code;
}
