// What AVX-512 VNNI and AMX have in common; for int8_linear.inl.
constexpr int kWidth = 16;
// 32 registers. One term: 6 rows x 2 vectors of sums, as many of totals, 2 of weights, 1 broadcast;
// two terms: 4 rows x 2 vectors of sums twice.
constexpr int kInt8TileRows[2] = {6, 4}, kInt8Panels = 2, kInt8DirectPanels = 4;
// Eight rows in one pass: 16 sums, of two terms one after the other; the totals wait in memory.
constexpr int kInt8FewRows[2] = {8, 8}, kInt8FewPanels = 2;
constexpr int kInt8BothSums = 8;
constexpr int kQueryRows = 6, kQueryVecs = 4;  // attention: 24 sums, 4 of keys or values
constexpr bool kInt8Corrects = true;
#define OCTET_DOT_U8(acc, w, in) \
  ((VecI)_mm512_dpbusd_epi32((__m512i)(acc), (__m512i)(w), (__m512i)(in)))
#define OCTET_DOT_I16(acc, a, b) \
  ((VecI)_mm512_dpwssd_epi32((__m512i)(acc), (__m512i)(a), (__m512i)(b)))
#define OCTET_VEC_LOAD_I8_PAIRS(p) \
  ((VecI)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))))
