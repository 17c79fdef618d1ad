// Causal attention of one head over lanes, in tiles of 64 queries by 64 keys; the definition is in reference/attention.h.
//
// Scores are kept transposed, [key][query]: a lane is a query, so maxima and sums over keys need no tree, and every
// product below reads its operands as they lie. Keys, values and one tile of queries are packed first, rows padded with
// zeros to whole lanes: a head's rows lie a power of two apart in the activations and would evict each other.
//   scores = K · Qᵀ   y = P · V   dP = V · dYᵀ   dV += P · dY   dK += dS · Q   dQ += dS · K
// The softmax is the running one of Dao et al. 2022 (algorithm 1): a row's maximum so far, the sum below it, and the
// output so far, rescaled when the maximum rises. The scale is multiplied into the packed queries.
// What lies above the diagonal is left out in groups of 16 keys and queries.

enum { GROUP = 16, TILE = CK_ATTENTION_TILE };

INLINE int64_t in_groups(int64_t n) { return (n + GROUP - 1) / GROUP * GROUP; }

// to (rows padded to groups, d padded to lanes) = factor * from
static void pack_head(int64_t rows, int64_t d, float factor, const float *from, int64_t stride, float *to) {
  const int64_t width = in_groups(d), end = in_groups(rows);
  const lanes f = splat(factor);
  for (int64_t r = 0; r < rows; r++, from += stride, to += width)
    for (int64_t c = 0; c < width; c += LANES)
      store(to + c, d - c >= LANES ? times(load(from + c, LANES), f) : times(load(from + c, d - c), f), LANES);
  memset(to, 0, (size_t)((end - rows) * width) * sizeof(float));
}

static void unpack_head(int64_t rows, int64_t d, float factor, const float *from, float *to, int64_t stride) {
  const int64_t width = in_groups(d);
  const lanes f = splat(factor);
  for (int64_t r = 0; r < rows; r++, from += width, to += stride)
    for (int64_t c = 0; c < d; c += LANES) store(to + c, times(load(from + c, LANES), f), d - c);
}

// scores[key][query] = rows of `keys` times the columns of `queries` (d, TILE); on the diagonal only groups that see.
static void tile_scores(int64_t key_rows, int64_t query_rows, int64_t d, const float *keys, const float *queries,
                        bool diagonal, float *scores) {
  const int64_t width = in_groups(d), columns = query_rows / LANES;
  if (!diagonal) {
    product(key_rows, columns, d, keys, width, 1, queries, TILE, scores, TILE, false);
    return;
  }
  for (int64_t g = 0; g < key_rows; g += GROUP)
    product(GROUP, columns - g / LANES, d, keys + g * width, width, 1, queries + g, TILE, scores + g * TILE + g, TILE,
            false);
}

// out (queries, d) += what the keys' rows give under `weights` [key][query]
static void tile_to_queries(int64_t key_rows, int64_t query_rows, int64_t width, const float *weights, const float *rows,
                            bool diagonal, float *out, bool accumulate) {
  if (!diagonal) {
    product(query_rows, width / LANES, key_rows, weights, 1, TILE, rows, width, out, width, accumulate);
    return;
  }
  for (int64_t g = 0; g < query_rows; g += GROUP)
    product(GROUP, width / LANES, g + GROUP, weights + g, 1, TILE, rows, width, out + g * width, width, accumulate);
}

// out (keys, d) += what the queries' rows give under `weights` [key][query]
static void tile_to_keys(int64_t key_rows, int64_t query_rows, int64_t width, const float *weights, const float *rows,
                         bool diagonal, float *out) {
  if (!diagonal) {
    product(key_rows, width / LANES, query_rows, weights, TILE, 1, rows, width, out, width, true);
    return;
  }
  for (int64_t g = 0; g < key_rows; g += GROUP)
    product(GROUP, width / LANES, query_rows - g, weights + g * TILE + g, TILE, 1, rows + g * width, width,
            out + g * width, width, true);
}

// Sixteen queries of a tile: scores become exp(score - maximum so far); `most` and `sum` are brought up to date, and
// what came before must be multiplied by the result. Of the last 16 keys of `keys`, with `diagonal`, lane i sees i + 1.
INLINE lanes tile_softmax(int64_t keys, bool diagonal, float *scores, float *most, float *sum, bool first) {
  const int64_t open = diagonal ? keys - GROUP : keys;
  const lanes before = load(most, LANES), none = splat(-INFINITY);
  lanes m0 = first ? none : before, m1 = none, m2 = none, m3 = none;
  for (int64_t k = 0; k < open; k += 4) {
    m0 = larger(load(scores + k * TILE, LANES), m0);
    m1 = larger(load(scores + (k + 1) * TILE, LANES), m1);
    m2 = larger(load(scores + (k + 2) * TILE, LANES), m2);
    m3 = larger(load(scores + (k + 3) * TILE, LANES), m3);
  }
  for (int64_t k = open; k < keys; k++) m0 = larger(pad_front(load(scores + k * TILE, LANES), k - open, -INFINITY), m0);
  const lanes now = larger(larger(m0, m1), larger(m2, m3));
  lanes s0 = splat(0), s1 = splat(0);
  for (int64_t k = 0; k < open; k += 2) {
    const lanes e0 = exponential(minus(load(scores + k * TILE, LANES), now));
    const lanes e1 = exponential(minus(load(scores + (k + 1) * TILE, LANES), now));
    store(scores + k * TILE, e0, LANES);
    store(scores + (k + 1) * TILE, e1, LANES);
    s0 = plus(s0, e0);
    s1 = plus(s1, e1);
  }
  for (int64_t k = open; k < keys; k++) {
    const lanes e = pad_front(exponential(minus(load(scores + k * TILE, LANES), now)), k - open, 0);
    store(scores + k * TILE, e, LANES);
    s0 = plus(s0, e);
  }
  const lanes kept = first ? splat(1) : exponential(minus(before, now));
  store(most, now, LANES);
  store(sum, first ? plus(s0, s1) : times_plus(load(sum, LANES), kept, plus(s0, s1)), LANES);
  return kept;
}

static void scale_rows(int64_t rows, int64_t width, const float *factors, float *x) {
  for (int64_t r = 0; r < rows; r++, x += width) scale(width, factors[r], x);
}

static void attention_forward(int64_t S, int64_t d, float scale, const float *q, const float *k, int64_t stride,
                              const float *v, int64_t v_stride, float *y, int64_t y_stride, float *lse, float *scratch) {
  const int64_t width = in_groups(d);
  float *keys = scratch, *values = keys + in_groups(S) * width, *queries = values + in_groups(S) * width;
  float *turned = queries + TILE * width, *out = turned + TILE * width, *scores = out + TILE * width;
  float *most = scores + TILE * TILE, *sum = most + TILE, *kept = sum + TILE;
  pack_head(S, d, 1, k, stride, keys);
  pack_head(S, d, 1, v, v_stride, values);
  for (int64_t from = 0; from < S; from += TILE) {
    const int64_t count = S - from < TILE ? S - from : TILE, query_rows = in_groups(count);
    pack_head(count, d, scale, q + from * stride, stride, queries);
    transpose(query_rows, width, queries, width, turned, TILE);
    for (int64_t first = 0; first <= from; first += TILE) {
      const bool diagonal = first == from;
      const int64_t key_rows = diagonal ? query_rows : TILE;
      tile_scores(key_rows, query_rows, d, keys + first * width, turned, diagonal, scores);
      for (int64_t c = 0; c < query_rows; c += LANES) {
        const lanes factor =
            tile_softmax(diagonal ? c + GROUP : TILE, diagonal, scores + c, most + c, sum + c, first == 0);
        store(kept + c, factor, LANES);
      }
      if (first > 0) scale_rows(query_rows, width, kept, out);
      tile_to_queries(key_rows, query_rows, width, scores, values + first * width, diagonal, out, first > 0);
    }
    for (int64_t r = 0; r < count; r++) {
      unpack_head(1, d, 1 / sum[r], out + r * width, y + (from + r) * y_stride, y_stride);
      lse[from + r] = (float)((double)most[r] + log((double)sum[r]));
    }
  }
}

static void attention_delta(int64_t T, int64_t H, int64_t d, const float *y, const float *dy, int64_t stride,
                            float *delta) {
  for (int64_t t = 0; t < T; t++, y += stride, dy += stride)
    for (int64_t h = 0; h < H; h++) {
      const float *a = y + h * d, *b = dy + h * d;
      lanes sums = splat(0);
      int64_t i = 0;
      for (; i + LANES <= d; i += LANES) sums = times_plus(load(a + i, LANES), load(b + i, LANES), sums);
      if (i < d) sums = times_plus(load(a + i, d - i), load(b + i, d - i), sums);
      delta[t * H + h] = lanes_sum(sums);
    }
}

// Sixteen queries of a tile: scores become p = exp(score - lse), slopes become p * (slope - delta).
INLINE void tile_softmax_back(int64_t keys, bool diagonal, float *scores, float *slopes, const float *lse,
                              const float *delta) {
  const int64_t open = diagonal ? keys - GROUP : keys;
  const lanes log_sum = load(lse, LANES), mean = load(delta, LANES);
  for (int64_t k = 0; k < open; k++) {
    const lanes p = exponential(minus(load(scores + k * TILE, LANES), log_sum));
    store(scores + k * TILE, p, LANES);
    store(slopes + k * TILE, times(p, minus(load(slopes + k * TILE, LANES), mean)), LANES);
  }
  for (int64_t k = open; k < keys; k++) {
    const lanes p = exponential(minus(load(scores + k * TILE, LANES), log_sum));
    const lanes slope = times(p, minus(load(slopes + k * TILE, LANES), mean));
    store(scores + k * TILE, pad_front(p, k - open, 0), LANES);
    store(slopes + k * TILE, pad_front(slope, k - open, 0), LANES);
  }
}

static void attention_backward(int64_t S, int64_t H, int64_t d, float scale, const float *q, const float *k,
                               int64_t stride, const float *v, int64_t v_stride, const float *dy, int64_t dy_stride,
                               const float *lse, const float *delta, int64_t delta_stride, float *dq, float *dk,
                               int64_t d_stride, float *dv, int64_t dv_stride, float *scratch) {
  const int64_t width = in_groups(d), head = in_groups(S) * width;
  float *keys = scratch, *values = keys + head, *key_slopes = values + head, *value_slopes = key_slopes + head;
  float *queries = value_slopes + head, *turned = queries + TILE * width, *given = turned + TILE * width;
  float *given_turned = given + TILE * width, *query_slopes = given_turned + TILE * width;
  float *scores = query_slopes + TILE * width, *slopes = scores + TILE * TILE;
  float *log_sums = slopes + TILE * TILE, *means = log_sums + TILE;
  pack_head(S, d, 1, k, stride, keys);
  pack_head(S, d, 1, v, v_stride, values);
  memset(key_slopes, 0, (size_t)(2 * head) * sizeof(float));
  for (int64_t h = 0; h < H; h++)
    for (int64_t from = 0; from < S; from += TILE) {
      const int64_t count = S - from < TILE ? S - from : TILE, query_rows = in_groups(count);
      pack_head(count, d, scale, q + from * stride + h * d, stride, queries);
      pack_head(count, d, 1, dy + from * dy_stride + h * d, dy_stride, given);
      transpose(query_rows, width, queries, width, turned, TILE);
      transpose(query_rows, width, given, width, given_turned, TILE);
      for (int64_t r = 0; r < query_rows; r++) {
        log_sums[r] = r < count ? lse[h * S + from + r] : 0;
        means[r] = r < count ? delta[(from + r) * delta_stride + h] : 0;
      }
      for (int64_t first = 0; first <= from; first += TILE) {
        const bool diagonal = first == from;
        const int64_t key_rows = diagonal ? query_rows : TILE;
        tile_scores(key_rows, query_rows, d, keys + first * width, turned, diagonal, scores);
        tile_scores(key_rows, query_rows, d, values + first * width, given_turned, diagonal, slopes);
        for (int64_t c = 0; c < query_rows; c += LANES)
          tile_softmax_back(diagonal ? c + GROUP : TILE, diagonal, scores + c, slopes + c, log_sums + c, means + c);
        tile_to_keys(key_rows, query_rows, width, scores, given, diagonal, value_slopes + first * width);
        tile_to_keys(key_rows, query_rows, width, slopes, queries, diagonal, key_slopes + first * width);
        tile_to_queries(key_rows, query_rows, width, slopes, keys + first * width, diagonal, query_slopes, first > 0);
      }
      unpack_head(count, d, scale, query_slopes, dq + from * d_stride + h * d, d_stride);
    }
  unpack_head(S, d, 1, key_slopes, dk, d_stride);
  unpack_head(S, d, 1, value_slopes, dv, dv_stride);
}
