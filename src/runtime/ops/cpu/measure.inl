// What the machine gives: memory read and multiply-adds, for `octet bench` and `octet doctor`.

std::uint64_t read_words(const std::byte* data, std::size_t bytes) {
  VecI sums[8] = {};
  constexpr std::size_t kStep = sizeof(VecI) * 8;
  for (std::size_t i = 0; i + kStep <= bytes; i += kStep) {
    __builtin_prefetch(data + i + 4096);
    for (int v = 0; v < 8; ++v) sums[v] ^= load_words(data + i + static_cast<std::size_t>(v) * sizeof(VecI));
  }
  std::uint64_t total = 0;
  for (int v = 0; v < 8; ++v)
    for (int l = 0; l < kWidth; ++l) total += static_cast<std::uint32_t>(sums[v][l]);
  return total;
}

double fma_peak_loop(std::int64_t iterations, float* sink) {
  // Twelve chains cover latency times ports on every core we know, and fit 16 registers.
  constexpr int kChains = 12;
  Vec sums[kChains];
  for (int c = 0; c < kChains; ++c) sums[c] = splat(static_cast<float>(c));
  // Unknown to the compiler, so that the loop stays.
  volatile float a_source = 0.999f, b_source = 0.001f;
  const Vec a = splat(a_source), b = splat(b_source);
  for (std::int64_t i = 0; i < iterations; ++i)
    for (int c = 0; c < kChains; ++c) sums[c] = fma(sums[c], a, b);
  Vec total = {};
  for (int c = 0; c < kChains; ++c) total += sums[c];
  *sink = sum(total);
  return 2.0 * kChains * kWidth * static_cast<double>(iterations);
}
