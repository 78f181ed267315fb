// Included once by each isa_*.cpp, inside its namespace and target region, which define kBytes
// (of a vector), kTileRows, kTileVecs, kName and the two OCTET_FMA macros. No standard containers,
// exceptions or allocation in here (see ops/cpu/kernels.inl).
#define OCTET_INLINE inline __attribute__((always_inline))

template <typename T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float Type __attribute__((vector_size(kBytes)));
  typedef float Memory __attribute__((vector_size(kBytes), aligned(4), may_alias));
};
template <>
struct VecOf<double> {
  typedef double Type __attribute__((vector_size(kBytes)));
  typedef double Memory __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <typename T>
using Vec = typename VecOf<T>::Type;

OCTET_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return OCTET_FMA_F32(a, b, c); }
OCTET_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return OCTET_FMA_F64(a, b, c); }

template <typename T>
constexpr int kLanes = kBytes / static_cast<int>(sizeof(T));

// One tile: kTileRows x kTileVecs vectors of sums in registers.
template <typename T, typename C>
OCTET_INLINE void tile(const GemmBlock<T, C>& g, const T* a, const T* b, std::int64_t row,
                       std::int64_t column) {
  using V = Vec<T>;
  using M = typename VecOf<T>::Memory;
  constexpr int kColumns = kTileVecs * kLanes<T>;
  V sums[kTileRows][kTileVecs] = {};
  for (std::int64_t k = 0; k < g.depth; ++k) {
    V right[kTileVecs];
    for (int v = 0; v < kTileVecs; ++v)
      right[v] = *reinterpret_cast<const M*>(b + k * kColumns + v * kLanes<T>);
    for (int r = 0; r < kTileRows; ++r) {
      const V left = V{} + a[k * kTileRows + r];
      for (int v = 0; v < kTileVecs; ++v) sums[r][v] = fma(left, right[v], sums[r][v]);
    }
  }
  const std::int64_t rows = g.rows - row < kTileRows ? g.rows - row : kTileRows;
  const std::int64_t columns = g.columns - column < kColumns ? g.columns - column : kColumns;
  C* c = g.c + row * g.ldc + column;
  if (columns == kColumns && sizeof(C) == sizeof(T)) {
    for (int r = 0; r < kTileRows; ++r) {
      if (r >= rows) break;
      for (int v = 0; v < kTileVecs; ++v) {
        M* to = reinterpret_cast<M*>(c + r * g.ldc + v * kLanes<T>);
        *to = *to + g.alpha * sums[r][v];
      }
    }
    return;
  }
  for (int r = 0; r < kTileRows; ++r) {
    if (r >= rows) break;
    T line[kColumns];
    for (int v = 0; v < kTileVecs; ++v) *reinterpret_cast<M*>(line + v * kLanes<T>) = sums[r][v];
    C* to = c + r * g.ldc;
    if (columns == kColumns)
      for (int j = 0; j < kColumns; ++j) to[j] += static_cast<C>(g.alpha * line[j]);
    else
      for (std::int64_t j = 0; j < columns; ++j) to[j] += static_cast<C>(g.alpha * line[j]);
  }
}

// A strip of a stays in the first cache while the strips of b pass, which stay in the second.
template <typename T, typename C>
void gemm_block(const GemmBlock<T, C>& g) {
  constexpr std::int64_t kColumns = kTileVecs * kLanes<T>;
  for (std::int64_t row = 0; row < g.rows; row += kTileRows)
    for (std::int64_t column = 0; column < g.columns; column += kColumns) {
      if (column + kColumns <= row + g.diagonal) continue;
      tile<T, C>(g, g.a + row * g.depth, g.b + column * g.depth, row, column);
    }
}

constexpr LinalgKernels kKernels{kName,
                                 kTileRows,
                                 kTileVecs * kLanes<float>,
                                 kTileRows,
                                 kTileVecs * kLanes<double>,
                                 gemm_block<float, float>,
                                 gemm_block<float, double>,
                                 gemm_block<double, double>};
