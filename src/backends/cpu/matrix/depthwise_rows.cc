// Pixels outside the image are pointers to zeros, so the inner loops know no borders; one table of pointers serves all
// output rows of a block.
#include "backends/cpu/matrix/depthwise_rows.h"

#include <algorithm>
#include <type_traits>

#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/depthwise_half.h"
#include "backends/cpu/matrix/depthwise_pairs.h"
#include "backends/cpu/matrix/depthwise_split.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kMinBlockChannels = 112;     // of some rows, which then stay in L1 while they are read again
constexpr int64_t kGroupedBlockChannels = 16;  // with all taps' inputs in L1
static_assert(kGroupedBlockChannels % kGroupedChannels == 0);
// A part of the channels is a multiple of so many.
template <class T>
constexpr int64_t kPartMultiple = std::is_same_v<T, float> ? 16 : kPairChannels;

// For one row and, or null, for two.
template <class T>
struct RowKernels {
  const DepthwiseKernel<T>*one = nullptr, *two = nullptr;
};

bool has_two_rows(const DepthwiseShape& s) { return s.stride_h == 1 && s.stride_w == 1 && s.dilation_h == 1; }

// Those that need no packed weights.
template <class T>
RowKernels<T> plain_kernels(const DepthwiseShape& s) {
  const DepthwiseKernels<T>& kernels = depthwise_kernels<T>();
  if (!s.has_fixed_kernel()) return {kernels.general, nullptr};
  const DepthwiseKernel<T>* two = kernels.two_rows[s.kh == 5];
  return {kernels.fixed[s.kh == 5][s.stride_w - 1], has_two_rows(s) && two[1] != nullptr ? two : nullptr};
}

RowKernels<float> grouped_kernels_for(const DepthwiseShape& s) {
  const GroupedKernels& kernels = grouped_kernels();
  const bool is_wide = s.group >= kernels.lanes;
  const DepthwiseKernel<float>* two = kernels.two_rows[is_wide];
  return {kernels.fixed[is_wide][s.stride_w - 1], has_two_rows(s) && two[1] != nullptr ? two : nullptr};
}

template <class T>
RowKernels<T> kernels_for(const DepthwiseShape& s, const DepthwiseWeights& weights) {
  if constexpr (std::is_same_v<T, float>) {
    if (weights.grouped != nullptr) return grouped_kernels_for(s);
  }
  if constexpr (!std::is_same_v<T, float>) {
    if (weights.pairs != nullptr) return {depthwise_pair_kernels().fixed[s.kh == 5][s.stride_w - 1], nullptr};
    if (weights.half != nullptr) {
      const DepthwiseHalfKernels& half = depthwise_half_kernels();
      return {half.fixed[s.kh == 5][s.stride_w - 1], has_two_rows(s) ? half.two_rows[s.kh == 5] : nullptr};
    }
    if (weights.split != nullptr) {
      const DepthwiseSplitKernels& split = depthwise_split_kernels();
      return {split.fixed[s.kh == 5][s.stride_w - 1], has_two_rows(s) ? split.two_rows[s.kh == 5] : nullptr};
    }
  }
  return plain_kernels<T>(s);
}

int64_t table_width(const DepthwiseShape& s, int64_t columns) {
  return (columns - 1) * s.stride_w + (s.kw - 1) * s.dilation_w + 1;
}

// A row in float32, for what an epilogue does after the kernels and before results are rounded.
template <class T>
size_t wide_row_bytes(const DepthwiseShape& s) {
  return std::is_same_v<T, float> ? 0 : align_up(static_cast<size_t>(s.ow * s.c * s.multiplier) * sizeof(float), 64);
}

}  // namespace

template <class T>
size_t DepthwiseRows<T>::table_bytes(const DepthwiseShape& s, int64_t rows) {
  return align_up(static_cast<size_t>(s.read_rows(rows) * table_width(s, s.ow)) * sizeof(T*), 64);
}

template <class T>
size_t DepthwiseRows<T>::scratch_bytes(const DepthwiseShape& s, int64_t rows) {
  return table_bytes(s, rows) + wide_row_bytes<T>(s);
}

template <class T>
int64_t DepthwiseRows<T>::rows_together(const DepthwiseShape& s, int64_t first_row, int64_t most) {
  return std::min(most, s.oh - first_row % s.oh);
}

template <class T>
void DepthwiseRows<T>::fill_table(const Block& block, int64_t width, const T** table) const {
  const int64_t image_row = ring_ > 0 ? 0 : block.first_row / s_.oh * s_.h;
  const int64_t y0 = block.first_row % s_.oh * s_.stride_h - s_.pad_top;
  const int64_t x0 = block.first_x * s_.stride_w - s_.pad_left;
  const int64_t inside_begin = std::clamp<int64_t>(-x0, 0, width);
  const int64_t inside_end = std::clamp<int64_t>(s_.w - x0, inside_begin, width);
  for (int64_t r = 0; r < s_.read_rows(block.rows); ++r, table += width) {
    const int64_t y = y0 + r;
    if (y < 0 || y >= s_.h) {
      std::fill_n(table, width, zeros_);
      continue;
    }
    std::fill_n(table, inside_begin, zeros_);
    const T* row = in_ + (image_row + (ring_ > 0 ? y % ring_ : y)) * s_.w * s_.c;
    for (int64_t x = inside_begin; x < inside_end; ++x) table[x] = row + (x0 + x) * s_.c;
    std::fill(table + inside_end, table + width, zeros_);
  }
}

template <class T>
void DepthwiseRows<T>::run(const Block& block, T* to, std::byte* scratch) const {
  const int64_t width = table_width(s_, block.columns);
  const int64_t channels = s_.c * s_.multiplier;
  auto** table = reinterpret_cast<const T**>(scratch);
  const bool plain = s_.multiplier == 1;
  if (plain) fill_table(block, width, table);
  if (plain && (std::is_same_v<T, float> || epilogue_.generic == nullptr)) {
    run_rows(block, width, to, table);
    return;
  }
  DepthwiseArgs<T> args = common_args(block, width);
  const RowKernels<T> kernels = weights_.split != nullptr ? plain_kernels<T>(s_) : kernels_for<T>(s_, weights_);
  for (int64_t r = 0; r < block.rows; ++r, to += block.columns * channels) {
    float* wide = nullptr;  // where the row stands until it is rounded
    if constexpr (std::is_same_v<T, float>) {
      wide = to;
    } else {
      wide = reinterpret_cast<float*>(scratch + table_bytes(s_, block.rows));
    }
    if (plain) {
      run_pieces(block, r, args, kernels.one, to, wide, table + r * s_.stride_h * width);
    } else {
      run_row_with_multiplier(block, r, wide);
    }
    finish_row(block, r, wide);
    if constexpr (!std::is_same_v<T, float>) narrow(wide, to, block.columns * channels);
  }
}

// What no kernel does, on float32.
template <class T>
void DepthwiseRows<T>::finish_row(const Block& block, int64_t row, float* to) const {
  if (epilogue_.generic == nullptr) return;
  const int64_t pixel = (block.first_row + row) * s_.ow + block.first_x;
  const int64_t channels = s_.c * s_.multiplier, count = block.channels != 0 ? block.channels : channels;
  epilogue_.generic(epilogue_.context,
                    {to + block.first_channel, channels, pixel, 1, block.columns, block.first_channel, count});
}

template <class T>
DepthwiseArgs<T> DepthwiseRows<T>::common_args(const Block& block, int64_t width) const {
  const Epilogue<T>& e = epilogue_;
  DepthwiseArgs<T> a;
  a.row_step = s_.dilation_h * width;
  a.column_step = s_.dilation_w;
  a.stride = s_.stride_w;
  a.kh = s_.kh;
  a.kw = s_.kw;
  a.weights = weights_.wide;
  a.pairs = weights_.pairs;
  a.split = weights_.split;
  a.half = weights_.half;
  a.grouped = weights_.grouped;
  a.group = s_.group;
  a.not_finite = not_finite_;
  a.channels = s_.c;
  a.first = block.first_channel;
  a.last = block.channels != 0 ? block.first_channel + block.channels : s_.c;
  a.out_row_step = block.columns * s_.c;
  a.residual_stride = e.residual_row_stride;
  a.residual_row_step = s_.ow * e.residual_row_stride;
  a.residual_channels = std::min(e.residual_channels, s_.c);
  a.bias = e.bias;
  a.slope = e.slope;
  a.lo = e.clamp_lo;
  a.hi = e.clamp_hi;
  a.residual_last = e.residual_last;
  a.gate = e.gate;
  a.scale = e.scale;
  a.shift = e.shift;
  return a;
}

template <class T>
void DepthwiseRows<T>::run_rows(const Block& block, int64_t width, T* to, const T* const* table) const {
  DepthwiseArgs<T> args = common_args(block, width);
  const int64_t first = args.first, last = args.last;
  const int64_t split = weights_.split != nullptr ? std::clamp(split_channels(s_), first, last) : last;
  const RowKernels<T> kernels = kernels_for<T>(s_, weights_), plain = plain_kernels<T>(s_);
  run_channels(block, args, first, split, kernels.one, kernels.two, to, table);
  run_channels(block, args, split, last, plain.one, plain.two, to, table);
  if constexpr (std::is_same_v<T, float>) {
    for (int64_t r = 0; r < block.rows; ++r) finish_row(block, r, to + r * args.out_row_step);
  }
}

template <class T>
void DepthwiseRows<T>::run_channels(const Block& block, DepthwiseArgs<T>& args, int64_t first, int64_t last,
                                    const DepthwiseKernel<T>* one, const DepthwiseKernel<T>* two, T* to,
                                    const T* const* table) const {
  const int64_t width = args.row_step / s_.dilation_h;
  const int64_t least = args.grouped != nullptr ? kGroupedBlockChannels : kMinBlockChannels;
  const int64_t parts = std::max<int64_t>(1, (last - first) / least);
  const int64_t part = ceil_div(ceil_div(last - first, parts), kPartMultiple<T>) * kPartMultiple<T>;
  for (args.first = first; args.first < last; args.first += part) {
    args.last = std::min(last, args.first + part);
    for (int64_t r = 0; r < block.rows;) {
      const bool pair = two != nullptr && r + 1 < block.rows;
      run_pieces(block, r, args, pair ? two : one, to + r * args.out_row_step, nullptr,
                 table + r * s_.stride_h * width);
      r += pair ? 2 : 1;
    }
  }
}

template <class T>
void DepthwiseRows<T>::run_pieces(const Block& block, int64_t row, DepthwiseArgs<T>& a,
                                  const DepthwiseKernel<T>* kernels, T* to, float* wide, const T* const* table) const {
  const Epilogue<T>& e = epilogue_;
  const int64_t first_pixel = (block.first_row + row) * s_.ow + block.first_x;
  // Even pieces of at most kDepthwiseOutputs.
  const int64_t pieces = ceil_div(block.columns, kDepthwiseOutputs);
  for (int64_t i = 0; i < pieces; ++i) {
    const int64_t x = i * block.columns / pieces;
    const int64_t outputs = (i + 1) * block.columns / pieces - x;
    a.pixels = table + x * s_.stride_w;
    a.out = to + x * s_.c;
    if (!std::is_same_v<T, float> && wide != nullptr) a.wide_out = wide + x * s_.c;
    if (e.residual != nullptr) a.residual = e.residual + (first_pixel + x) * e.residual_row_stride;
    kernels[outputs](a);
  }
}

// Several outputs a channel: rare, and its channel loop is short anyway.
template <class T>
void DepthwiseRows<T>::run_row_with_multiplier(const Block& block, int64_t row, float* to) const {
  const int64_t image_row = block.first_row + row;
  const int64_t y = image_row % s_.oh;
  const int64_t channels = s_.c * s_.multiplier;
  const T* image = in_ + image_row / s_.oh * s_.h * s_.w * s_.c;
  const Epilogue<T>& e = epilogue_;
  for (int64_t x = block.first_x; x < block.first_x + block.columns; ++x, to += channels) {
    const int64_t pixel = image_row * s_.ow + x;
    for (int64_t i = 0; i < channels; ++i) to[i] = e.bias != nullptr ? e.bias[i] : 0.0f;
    for (int64_t kh = 0; kh < s_.kh; ++kh) {
      const int64_t in_y = y * s_.stride_h - s_.pad_top + kh * s_.dilation_h;
      if (in_y < 0 || in_y >= s_.h) continue;
      for (int64_t kw = 0; kw < s_.kw; ++kw) {
        const int64_t in_x = x * s_.stride_w - s_.pad_left + kw * s_.dilation_w;
        if (in_x < 0 || in_x >= s_.w) continue;
        const T* in = image + (in_y * s_.w + in_x) * s_.c;
        const float* w = weights_.wide + (kh * s_.kw + kw) * channels;
        for (int64_t c = 0; c < s_.c; ++c) {
          for (int64_t m = 0; m < s_.multiplier; ++m)
            to[c * s_.multiplier + m] += static_cast<float>(in[c]) * w[c * s_.multiplier + m];
        }
      }
    }
    for (int64_t i = 0; i < channels; ++i) {
      const bool has_residual = e.residual != nullptr && i < e.residual_channels;
      const auto residual = has_residual ? static_cast<float>(e.residual[pixel * e.residual_row_stride + i]) : 0.0f;
      to[i] = finish_element(e, to[i], residual, i);
    }
  }
}

template class DepthwiseRows<float>;
template class DepthwiseRows<BFloat16>;

}  // namespace blade::backends::cpu
