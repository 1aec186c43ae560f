// Conversion of many values.
#include "base/half.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace blade {
namespace {

void convert_each(const float* from, uint16_t* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = float_to_float16(from[i]);
}

void convert_each(const uint16_t* from, float* to, size_t count) {
  for (size_t i = 0; i < count; ++i) to[i] = float16_to_float(from[i]);
}

#if defined(__x86_64__)
// Every processor with AVX2 has F16C, which Clang's builtin cannot be asked for.
bool has_instructions() {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  return has_avx2;
}

__attribute__((target("avx,f16c"))) void convert_by_eights(const float* from, uint16_t* to, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), half);
  }
  convert_each(from + i, to + i, count - i);
}

__attribute__((target("avx,f16c"))) void convert_by_eights(const uint16_t* from, float* to, size_t count) {
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
  }
  convert_each(from + i, to + i, count - i);
}
#endif

}  // namespace

void floats_to_float16(const float* from, uint16_t* to, size_t count) {
#if defined(__x86_64__)
  if (has_instructions()) return convert_by_eights(from, to, count);
#endif
  convert_each(from, to, count);
}

void float16_to_floats(const uint16_t* from, float* to, size_t count) {
#if defined(__x86_64__)
  if (has_instructions()) return convert_by_eights(from, to, count);
#endif
  convert_each(from, to, count);
}

}  // namespace blade
