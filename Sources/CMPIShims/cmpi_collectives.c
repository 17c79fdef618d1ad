// Collectives with 64-bit sizes.
//
// Counts and displacements of MPI 3.1 are `int`. A transfer that fits is one MPI call, so that the library's tuned
// algorithms run. A longer all-gather is a ring of chunked point-to-point messages: the algorithm the library itself picks
// for long messages, without its 2^31 limits. Bytes are copied either way, so the result is the same.
#include <limits.h>
#include <stdlib.h>

#include "cmpi_private.h"

enum { CMPI_TAG = 0x6D66 };

static int64_t chunk_limit = INT64_C(256) << 20;

int64_t cmpi_chunk_limit(void) { return chunk_limit; }

void cmpi_set_chunk_limit(int64_t bytes) {
  chunk_limit = bytes < 8 ? 8 : bytes > INT_MAX ? INT_MAX : bytes;  // 8: one element of a reduction
}

#define CHECKED(call)                               \
  do {                                              \
    const int code_ = (call);                       \
    if (code_ != MPI_SUCCESS) return (int32_t)code_; \
  } while (0)

// Room for 2 * n ints: counts and displacements. Grown once; the calls come from one thread.
static int *integers(int n) {
  static int *room;
  static int capacity;
  if (n > capacity) {
    int *grown = realloc(room, sizeof(int) * 2 * (size_t)n);
    if (grown == NULL) return NULL;
    room = grown;
    capacity = n;
  }
  return room;
}

static int64_t total(const int64_t *counts, int n) {
  int64_t sum = 0;
  for (int r = 0; r < n; r++) sum += counts[r];
  return sum;
}

// Callers have checked that the total is at most the chunk limit, hence that every value fits an int.
static void lay_out(const int64_t *counts, int n, int *narrow, int *displacements) {
  int offset = 0;
  for (int r = 0; r < n; r++) {
    narrow[r] = (int)counts[r];
    displacements[r] = offset;
    offset += (int)counts[r];
  }
}

static int64_t offset_of(const int64_t *counts, int rank) { return total(counts, rank); }

static int at_most_a_chunk(int64_t bytes) { return (int)(bytes < chunk_limit ? bytes : chunk_limit); }

// Sends `send_count` bytes to one rank while receiving `receive_count` from another, chunk by chunk. Chunk k of a sender
// meets chunk k of its receiver, and both post it before either waits for chunk k + 1: no deadlock in rings.
static int32_t exchange(MPI_Comm comm, const char *send, int64_t send_count, int to, char *receive,
                        int64_t receive_count, int from) {
  int64_t sent = 0, received = 0;
  while (sent < send_count || received < receive_count) {
    MPI_Request requests[2];
    int count = 0;
    if (received < receive_count) {
      const int chunk = at_most_a_chunk(receive_count - received);
      CHECKED(MPI_Irecv(receive + received, chunk, MPI_BYTE, from, CMPI_TAG, comm, &requests[count++]));
      received += chunk;
    }
    if (sent < send_count) {
      const int chunk = at_most_a_chunk(send_count - sent);
      CHECKED(MPI_Isend(send + sent, chunk, MPI_BYTE, to, CMPI_TAG, comm, &requests[count++]));
      sent += chunk;
    }
    CHECKED(MPI_Waitall(count, requests, MPI_STATUSES_IGNORE));
  }
  return MPI_SUCCESS;
}

int32_t cmpi_barrier(cmpi_comm comm) { return MPI_Barrier(cmpi_unwrap(comm)); }

int32_t cmpi_bcast(cmpi_comm comm, void *bytes, int64_t count, int32_t root) {
  for (int64_t done = 0; done < count;) {
    const int chunk = at_most_a_chunk(count - done);
    CHECKED(MPI_Bcast((char *)bytes + done, chunk, MPI_BYTE, root, cmpi_unwrap(comm)));
    done += chunk;
  }
  return MPI_SUCCESS;
}

int32_t cmpi_allgatherv(cmpi_comm comm, const void *own, void *all, const int64_t *counts) {
  const MPI_Comm raw = cmpi_unwrap(comm);
  int n = 0, rank = 0;
  CHECKED(MPI_Comm_size(raw, &n));
  CHECKED(MPI_Comm_rank(raw, &rank));
  if (total(counts, n) <= chunk_limit) {
    int *narrow = integers(n);
    if (narrow == NULL) return CMPI_ERROR_MEMORY;
    lay_out(counts, n, narrow, narrow + n);
    const void *send = own == NULL ? MPI_IN_PLACE : own;
    return MPI_Allgatherv(send, own == NULL ? 0 : narrow[rank], MPI_BYTE, all, narrow, narrow + n, MPI_BYTE, raw);
  }
  if (own != NULL) {  // its own segment, as a message to itself
    CHECKED(exchange(raw, own, counts[rank], rank, (char *)all + offset_of(counts, rank), counts[rank], rank));
  }
  for (int step = 1; step < n; step++) {
    const int passed_on = (rank - step + 1 + n) % n, arriving = (rank - step + n) % n;
    CHECKED(exchange(raw, (char *)all + offset_of(counts, passed_on), counts[passed_on], (rank + 1) % n,
                     (char *)all + offset_of(counts, arriving), counts[arriving], (rank - 1 + n) % n));
  }
  return MPI_SUCCESS;
}

int32_t cmpi_gatherv(cmpi_comm comm, const void *own, int64_t count, void *all, const int64_t *counts, int32_t root) {
  const MPI_Comm raw = cmpi_unwrap(comm);
  int n = 0, rank = 0;
  CHECKED(MPI_Comm_size(raw, &n));
  CHECKED(MPI_Comm_rank(raw, &rank));
  // Point to point: only the root knows the counts, so no rank could decide alike whether a collective call must be cut.
  if (rank != root) return exchange(raw, own, count, root, NULL, 0, root);
  int64_t offset = 0;
  for (int from = 0; from < n; from++) {
    const int64_t sent = from == rank ? count : 0;
    CHECKED(exchange(raw, own, sent, rank, (char *)all + offset, counts[from], from));
    offset += counts[from];
  }
  return MPI_SUCCESS;
}

int32_t cmpi_allreduce(cmpi_comm comm, void *values, int64_t count, cmpi_reduction reduction) {
  const MPI_Datatype type = reduction == CMPI_SUM_DOUBLE ? MPI_DOUBLE : MPI_INT64_T;
  const MPI_Op operation = reduction == CMPI_MAX_INT64   ? MPI_MAX
                           : reduction == CMPI_MIN_INT64 ? MPI_MIN
                                                         : MPI_SUM;
  const int64_t limit = chunk_limit / 8;
  for (int64_t done = 0; done < count;) {
    const int chunk = (int)(count - done < limit ? count - done : limit);
    CHECKED(MPI_Allreduce(MPI_IN_PLACE, (char *)values + 8 * done, chunk, type, operation, cmpi_unwrap(comm)));
    done += chunk;
  }
  return MPI_SUCCESS;
}
