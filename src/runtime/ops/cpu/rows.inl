// Operations on single rows: norms, gates, convolution, sums.

void add_rows(float* x, const float* delta, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) store(x + i, load(x + i) + load(delta + i));
  for (; i < n; ++i) x[i] += delta[i];
}

OCTET_INLINE float sum_of_squares(const float* x, std::int64_t n) {
  Vec sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    for (int v = 0; v < 4; ++v) {
      const Vec u = load(x + i + v * kWidth);
      sums[v] = fma(u, u, sums[v]);
    }
  for (; i < n; i += kWidth) {
    const Vec u = load_part(x + i, n - i < kWidth ? n - i : kWidth);
    sums[0] = fma(u, u, sums[0]);
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

OCTET_INLINE float inverse_rms(const float* x, std::int64_t n, float eps) {
  return 1.0f / __builtin_sqrtf(sum_of_squares(x, n) / static_cast<float>(n) + eps);
}

// Calls body(i, count) for each vector of a row; count < kWidth only at its end.
template <typename Body>
OCTET_INLINE void for_vectors(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) body(i, static_cast<std::int64_t>(kWidth));
  if (i < n) body(i, n - i);
}

OCTET_INLINE Vec get(const float* p, std::int64_t count) {
  return count == kWidth ? load(p) : load_part(p, count);
}

OCTET_INLINE void put(float* p, Vec v, std::int64_t count) {
  if (count == kWidth)
    store(p, v);
  else
    store_part(p, v, count);
}

void rms_norm_row(const float* x, const float* weight, float eps, std::int64_t n, float* y) {
  const Vec scale = splat(inverse_rms(x, n, eps));
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    put(y + i, get(x + i, count) * scale * (splat(1.0f) + get(weight + i, count)), count);
  });
}

void gated_norm_row(const float* x, const float* gate, const float* weight, float eps,
                    bool sigmoid_gate, std::int64_t n, float* y) {
  const Vec scale = splat(inverse_rms(x, n, eps));
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec z = get(gate + i, count);
    const Vec g = sigmoid_gate ? sigmoid(z) : silu(z);
    put(y + i, get(x + i, count) * scale * get(weight + i, count) * g, count);
  });
}

void l2_norm_row(const float* x, float scale, std::int64_t n, float* y) {
  const Vec s = splat(scale / __builtin_sqrtf(sum_of_squares(x, n) + 1e-6f));
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    put(y + i, get(x + i, count) * s, count);
  });
}

void silu_mul_row(const float* gate, const float* up, std::int64_t n, float* y) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    put(y + i, silu(get(gate + i, count)) * get(up + i, count), count);
  });
}

void conv4_silu_row(const float* const x[4], const float* const w[4], std::int64_t n, float* y) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    Vec s = get(x[0] + i, count) * get(w[0] + i, count);
    s = fma(get(x[1] + i, count), get(w[1] + i, count), s);
    s = fma(get(x[2] + i, count), get(w[2] + i, count), s);
    s = fma(get(x[3] + i, count), get(w[3] + i, count), s);
    put(y + i, silu(s), count);
  });
}

void delta_gates_row(const float* a, const float* b, const float* A_log, const float* dt_bias,
                     std::int64_t n, float* decay, float* beta) {
  for_vectors(n, [&](std::int64_t i, std::int64_t count) {
    const Vec x = get(a + i, count) + get(dt_bias + i, count);
    put(decay + i, exp(-exp(get(A_log + i, count)) * softplus(x)), count);
    put(beta + i, sigmoid(get(b + i, count)), count);
  });
}
