// Attention of some query rows over one span of the pages of a KV head, with a running softmax:
// what float and integer pages share. Pages are visited in order and each is one step of the
// running sums, so a row's bits don't depend on its neighbours: a page beyond a row's limit changes
// nothing of that row.
//
// Pages has the types and products of one kind of page:
//   pack(rows, count, d, query, scales)                 queries of a tile, side by side
//   scores<kRows>(query, scales, d, page, ahead, out)   [kRows][64]
//   weights(weights, values, d, codes)                  rounds a row's weights; gives their scale
//   values<kRows>(tile, d, values, ahead)               adds weights times values to the sums

constexpr int kPageVecs = 64 / kWidth;
constexpr float kMinusInfinity = -__builtin_inff();

// A tile of query rows within a step.
struct QueryTile {
  const float* weights;               // [rows][64]
  const std::int16_t* codes;          // the same as integers
  const float *scales, *corrections;  // [rows]: of the codes, of the sums so far
  const std::int64_t* keys;           // [rows] that they see of the page
  float* sums;                        // [rows], attention_sums apart
};

// Asks for memory that is needed soon, `step` bytes at each call.
struct Ahead {
  const std::byte* at;
  std::int64_t step;
  OCTET_INLINE void fetch() {
    for (std::int64_t i = 0; i < step; i += 64) __builtin_prefetch(at + i);
    at += step;
  }
};

// Scores of one row in a page, of which it sees `keys`, become weights exp(score - largest so far).
// Gives what earlier sums are to be multiplied by. top, total: running.
OCTET_INLINE float page_weights(float* s, std::int64_t keys, float* top, float* total) {
  for (std::int64_t t = keys; t < 64; ++t) s[t] = kMinusInfinity;
  Vec best = load(s);
  for (int v = 1; v < kPageVecs; ++v) best = max(best, load(s + v * kWidth));
  const float page_top = max_lane(best);
  const float old_top = *top, new_top = page_top > old_top ? page_top : old_top;
  Vec sums = {};
  for (int v = 0; v < kPageVecs; ++v) {
    const Vec p = exp(load(s + v * kWidth) - splat(new_top));
    store(s + v * kWidth, p);
    sums += p;
  }
  *top = new_top;
  // No score so far: nothing to correct. (The difference of infinities has no value.)
  float correction = 1;
  if (old_top == kMinusInfinity) {
    correction = 0;
  } else if (old_top != new_top) {
    float lanes[kWidth];
    store(lanes, exp(splat(old_top - new_top)));
    correction = lanes[0];
  }
  *total = *total * correction + sum(sums);
  return correction;
}

template <class Pages, int kRows>
OCTET_INLINE void scores_of_any(std::int64_t rows, const float* query, const float* scales,
                                std::int64_t d, const std::byte* page, Ahead ahead, float* out) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return scores_of_any<Pages, kRows - 1>(rows, query, scales, d, page, ahead, out);
  }
  Pages::template scores<kRows>(query, scales, d, page, ahead, out);
}

template <class Pages, int kRows>
OCTET_INLINE void values_of_any(std::int64_t rows, const QueryTile& tile, std::int64_t d,
                                const std::byte* page, Ahead ahead) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return values_of_any<Pages, kRows - 1>(rows, tile, d, page, ahead);
  }
  Pages::template values<kRows>(tile, d, page, ahead);
}

template <class Pages>
void attention_span_of(const QueryRow* rows, int count, const AttentionPages& kv, std::int64_t span,
                       float* sums, float* scratch) {
  const std::int64_t d = kv.head_dim, stride = attention_sums(d);
  float* queries = scratch;
  float* scores = queries + kQueryBlock * d;
  auto* codes = reinterpret_cast<std::int16_t*>(scores + kQueryBlock * 64);
  float scales[kQueryBlock], weight_scales[kQueryBlock], corrections[kQueryBlock];
  std::int64_t keys[kQueryBlock];
  for (int r = 0; r < count; r += kQueryRows)
    Pages::pack(rows + r, count - r < kQueryRows ? count - r : kQueryRows, d, queries + r * d,
                scales + r);
  for (int r = 0; r < count; ++r) {
    float* s = sums + r * stride;
    for (std::int64_t i = 0; i < d; ++i) s[i] = 0;
    s[d] = kMinusInfinity;
    s[d + 1] = 0;
  }
  const std::int64_t end = (span + 1) * kSpanPages * 64, limit = rows[count - 1].limit;
  const std::int64_t longest = limit < end ? limit : end;
  const auto page_at = [&](std::int64_t first) {
    return kv.base + static_cast<std::size_t>(kv.pages[first / 64]) * kv.page_stride;
  };
  const auto tile_rows = [&](int r) { return count - r < kQueryRows ? count - r : kQueryRows; };
  constexpr int kVecs = kQueryVecs * kWidth;
  const std::int64_t score_steps = d / Pages::kPerStep * (64 / kVecs);
  const std::int64_t value_steps = 64 / Pages::kPerStep * (d < kVecs ? 1 : d / kVecs);
  const auto side_bytes = static_cast<std::int64_t>(kv.side_bytes);
  for (std::int64_t first = span * kSpanPages * 64; first < longest; first += 64) {
    const std::byte* keys_at = page_at(first);
    const std::byte* values_at = keys_at + side_bytes;
    int begin = 0;  // the first tile that sees anything of the page
    while (begin + kQueryRows < count && rows[begin + kQueryRows - 1].limit <= first)
      begin += kQueryRows;
    // What comes next is fetched meanwhile, a part of it with every tile.
    const std::int64_t tiles = (count - begin + kQueryRows - 1) / kQueryRows;
    Ahead ahead{values_at, (side_bytes + tiles * score_steps - 1) / (tiles * score_steps)};
    for (int r = begin; r < count; r += kQueryRows, ahead.at += score_steps * ahead.step)
      scores_of_any<Pages, kQueryRows>(tile_rows(r), queries + r * d, scales + r, d, keys_at, ahead,
                                       scores + r * 64);
    for (int r = begin; r < count; ++r) {
      const std::int64_t left = rows[r].limit - first;
      keys[r] = left < 64 ? left : 64;
      float* running = sums + r * stride + d;
      if (left > 0) {
        corrections[r] = page_weights(scores + r * 64, keys[r], running, running + 1);
        weight_scales[r] = Pages::weights(scores + r * 64, values_at, d, codes + r * 64);
      } else {
        keys[r] = 0;
        corrections[r] = 1;
        weight_scales[r] = 0;
        for (int t = 0; t < 64; ++t) codes[r * 64 + t] = 0;
      }
    }
    ahead = {page_at(first + 64 < limit ? first + 64 : first), (side_bytes + tiles * value_steps - 1) / (tiles * value_steps)};
    for (int r = begin; r < count; r += kQueryRows, ahead.at += value_steps * ahead.step)
      values_of_any<Pages, kQueryRows>(tile_rows(r),
                                       {scores + r * 64, codes + r * 64, weight_scales + r,
                                        corrections + r, keys + r, sums + r * stride},
                                       d, values_at, ahead);
  }
}
