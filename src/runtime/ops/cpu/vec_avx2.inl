// What vec.inl asks of AVX2. Only macros: included by isa_avx2.cpp and the int8_*.cpp of that width.
#define OCTET_VEC_FMA(a, b, c) ((Vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define OCTET_VEC_LOAD_F16(p) \
  ((Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))
#define OCTET_VEC_LOAD_BF16(p)                 \
  ((Vec)_mm256_castsi256_ps(_mm256_slli_epi32( \
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16)))
#define OCTET_VEC_LOAD_U8(p) \
  ((Vec)_mm256_cvtepi32_ps(  \
      _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))))
