#include "backends/cpu/matrix/conv_split.h"

#include <cstring>

#include "backends/cpu/matrix/amx_split.h"
#include "backends/cpu/matrix/conv_rows.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kWholeBlock = 32;  // of elements of K

int64_t split_taps(const Conv2DShape& s) { return s.kh * s.kw; }
int64_t split_depth(const Conv2DShape& s) { return split_taps(s) * s.c; }
size_t split_offset_bytes(const Conv2DShape& s) {
  return align_up(static_cast<size_t>(split_taps(s)) * sizeof(int64_t), 64);
}
size_t split_zero_bytes(const Conv2DShape& s) { return align_up(static_cast<size_t>(s.c) * sizeof(float), 64); }

}  // namespace

const char* split_conv_refusal(const Conv2DShape& s) {
  if (s.groups != 1 || s.depth.taps != 1) return "the convolution is grouped or has three dims";
  if (split_taps(s) > kMostSplitRuns) return "the kernel has too many taps";
  if (split_taps(s) > 1 && s.c % kWholeBlock != 0) return "channels are no multiple of 32";
  return nullptr;
}

size_t split_conv_scratch_bytes(const Conv2DShape& s, int threads) {
  return split_offset_bytes(s) + split_zero_bytes(s) +
         split_product_scratch_bytes(s.output_pixels(), split_depth(s), threads);
}

void split_conv(const Conv2DShape& s, const float* in, const std::byte* packed, float* out, const EpilogueF32& epilogue,
                ThreadPool& pool, std::byte* scratch) {
  auto* const offsets = reinterpret_cast<int64_t*>(scratch);
  auto* const zeros = reinterpret_cast<float*>(scratch + split_offset_bytes(s));
  for (int64_t t = 0; t < split_taps(s); ++t)
    offsets[t] = (t / s.kw * s.dilation_h * s.w + t % s.kw * s.dilation_w) * s.input_pitch();
  std::memset(zeros, 0, split_zero_bytes(s));
  const RowsOfConv<float> rows{s, in, zeros};
  const RowFinder<float> find_rows(rows);
  SplitProduct product;
  product.m = s.output_pixels();
  product.k = split_depth(s);
  product.n = s.oc;
  product.b = packed;
  product.c = out;
  product.c_row = s.output_pitch();
  product.epilogue = &epilogue;
  product.find_rows = &find_rows;
  product.run_offsets = offsets;
  product.run_length = s.c;
  split_product(product, pool, scratch + split_offset_bytes(s) + split_zero_bytes(s));
}

double split_conv_us(const Conv2DShape& s, int threads) {
  constexpr double kFindUs = 0.06;  // a row
  const auto rows = static_cast<double>(s.output_pixels());
  return split_product_us(s.output_pixels(), split_depth(s), s.oc, threads) + rows * kFindUs / threads;
}

}  // namespace blade::backends::cpu
