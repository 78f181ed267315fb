// What vec.inl asks of AVX-512. Only macros: included by isa_avx512.cpp and the int8_*.cpp of that width.
#define OCTET_VEC_FMA(a, b, c) ((Vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define OCTET_VEC_LOAD_F16(p) \
  ((Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))))
#define OCTET_VEC_LOAD_BF16(p)                 \
  ((Vec)_mm512_castsi512_ps(_mm512_slli_epi32( \
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16)))
#define OCTET_VEC_LOAD_U8(p) \
  ((Vec)_mm512_cvtepi32_ps(  \
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))))
