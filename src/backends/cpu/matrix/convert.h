// Conversion of rows between bfloat16 and float32, and what is done on the way.
#pragma once

#include <cstdint>

#include "base/half.h"

namespace blade::backends::cpu {

void widen(const BFloat16* from, float* to, int64_t count);
// Rounds to nearest even.
void narrow(const float* from, BFloat16* to, int64_t count);
// to[row][c] = from[row][c] * factors[c], rounded once; `to` may be `from`.
void scale_rows(const BFloat16* from, const float* factors, BFloat16* to, int64_t rows, int64_t channels);
// What becomes of each element of a channel: x * scale[c] + shift[c], at least `lo` and at most `hi`.
struct ChannelAffine {
  const float *scale, *shift;
  float lo, hi;
};
// The same for rows of pixels, rounded once; `to` may be `from`.
void affine_rows(const BFloat16* from, const ChannelAffine& affine, BFloat16* to, int64_t rows, int64_t channels);

// For templates over the type of activations.
inline void convert(const BFloat16* from, float* to, int64_t count) { widen(from, to, count); }
inline void convert(const float* from, BFloat16* to, int64_t count) { narrow(from, to, count); }

}  // namespace blade::backends::cpu
