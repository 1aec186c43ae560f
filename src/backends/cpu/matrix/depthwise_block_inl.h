// Results of depthwise kernels whose sums of a block of 32 channels stand in two vectors, in an order that Order knows:
// finished, narrowed and stored, once for each Highway target.
#if defined(BLADE_MATRIX_DEPTHWISE_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef BLADE_MATRIX_DEPTHWISE_BLOCK_INL_H_
#undef BLADE_MATRIX_DEPTHWISE_BLOCK_INL_H_
#else
#define BLADE_MATRIX_DEPTHWISE_BLOCK_INL_H_
#endif

#include "backends/cpu/matrix/depthwise_kernel.h"
#include "backends/cpu/matrix/epilogue_inl.h"
#include "backends/cpu/matrix/simd_inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3
using DPixels = DPair;
using VPixels = hn::Vec<DPixels>;
using VIndex = hn::Vec<hn::RebindToSigned<D>>;
constexpr int64_t kSums = 16;  // to a vector

using Channels = hn::Mask<DPixels>;  // those of a block that there are

template <bool kPart>
HWY_ATTR HWY_INLINE VPixels load_pixels(const BFloat16* from, Channels channels) {
  const auto* bits = reinterpret_cast<const uint16_t*>(from);
  if constexpr (kPart) return hn::MaskedLoad(channels, DPixels(), bits);
  return hn::LoadU(DPixels(), bits);
}

// Lanes of two vectors: those of `b` are numbered behind those of `a`.
HWY_ATTR HWY_INLINE V lanes_of_two(V a, V b, const int32_t* lanes) {
  const VIndex index = hn::Load(hn::RebindToSigned<D>(), lanes);
  asm("vpermt2ps %2, %1, %0" : "+v"(a.raw) : "v"(index.raw), "v"(b.raw));
  return a;
}

// Which channels of a block the two vectors of sums have, by lane, and in which of their lanes (those of the second
// numbered behind those of the first) the first and the last half of the channels are. Interleaving the pixels of two
// rows leaves the lower halves of all eighths in one vector, the upper ones in the other.
struct ByEighths {
  alignas(64) static constexpr int32_t kOne[] = {0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27};
  alignas(64) static constexpr int32_t kOther[] = {4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31};
  alignas(64) static constexpr int32_t kFirst[] = {0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23};
  alignas(64) static constexpr int32_t kLast[] = {8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31};
  alignas(64) static constexpr uint64_t kQuarters[] = {0, 4, 1, 5, 2, 6, 3, 7};
  // Pixels that were narrowed from one vector behind the other.
  static HWY_ATTR HWY_INLINE VPixels ordered(VPixels joined) {
    const hn::Repartition<uint64_t, D> quarters;
    const auto order = hn::SetTableIndices(quarters, kQuarters);
    return hn::BitCast(DPixels(), hn::TableLookupLanes(hn::BitCast(quarters, joined), order));
  }
};

// The even channels in one vector, the odd ones in the other.
struct ByParity {
  alignas(64) static constexpr int32_t kOne[] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30};
  alignas(64) static constexpr int32_t kOther[] = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  alignas(64) static constexpr int32_t kFirst[] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
  alignas(64) static constexpr int32_t kLast[] = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  alignas(64) static constexpr uint16_t kPixels[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  static HWY_ATTR HWY_INLINE VPixels ordered(VPixels joined) {
    const VPixels order = hn::Load(DPixels(), kPixels);
    VPixels pixels;
    asm("vpermw %1, %2, %0" : "=v"(pixels.raw) : "v"(joined.raw), "v"(order.raw));
    return pixels;
  }
};

template <class Order, bool kPart>
HWY_ATTR HWY_INLINE void store_block(V one, V other, BFloat16* to, Channels channels) {
  const DPixels d;
  const VPixels pixels = Order::ordered(narrowed_pair(one, other));
  if constexpr (kPart) {
    hn::BlendedStore(pixels, channels, d, reinterpret_cast<uint16_t*>(to));
  } else {
    hn::StoreU(pixels, d, reinterpret_cast<uint16_t*>(to));
  }
}

using Vectors = EpilogueVectors<DepthwiseArgs<BFloat16>>;

// One vector of sums in the order of their channels, where an epilogue reads or writes them so.
HWY_ATTR HWY_INLINE void finish_in_order(const Vectors& epilogue, V sums, int64_t output, int64_t c) {
  const D d;
  const DepthwiseArgs<BFloat16>& a = epilogue.a;
  const int64_t left = a.last - c;
  if (left <= 0) return;
  V residual = hn::Zero(d);
  if (a.residual != nullptr)
    residual = load_some(d, a.residual + output * a.residual_stride + c, a.residual_channels - c);
  const V result = epilogue.finish(sums, residual);
  if (a.wide_out != nullptr) {
    store_some(result, d, a.wide_out + output * a.channels + c, left);
  } else {
    store_some_natively(result, a.out + output * a.channels + c, left);
  }
}

// The operands of an epilogue in the order of the sums.
HWY_ATTR HWY_INLINE Vectors operands_of(const DepthwiseArgs<BFloat16>& a, int64_t c, const int32_t* lanes) {
  Vectors operands(a, c, a.last - c);
  const Vectors last(a, c + kSums, a.last - c - kSums);
  operands.slope = lanes_of_two(operands.slope, last.slope, lanes);
  operands.scale = lanes_of_two(operands.scale, last.scale, lanes);
  operands.shift = lanes_of_two(operands.shift, last.shift, lanes);
  return operands;
}

// Epilogues that most layers lack, on sums in memory: one vector of each output, then the other.
template <class Order, bool kPart>
HWY_ATTR HWY_NOINLINE static void finish_sums(const DepthwiseArgs<BFloat16>& a, float* sums, int outputs, int64_t c,
                                              Channels channels) {
  const D d;
  if (a.residual != nullptr || a.wide_out != nullptr) {
    const Vectors first(a, c, a.last - c), last(a, c + kSums, a.last - c - kSums);
    for (int x = 0; x < outputs; ++x, sums += 2 * kSums) {
      const V one = hn::Load(d, sums), other = hn::Load(d, sums + kSums);
      finish_in_order(first, lanes_of_two(one, other, Order::kFirst), x, c);
      finish_in_order(last, lanes_of_two(one, other, Order::kLast), x, c + kSums);
    }
    return;
  }
  BFloat16* to = a.out + c;
  if (a.slope != nullptr || a.scale != nullptr) {
    const Vectors one = operands_of(a, c, Order::kOne), other = operands_of(a, c, Order::kOther);
    for (int x = 0; x < outputs; ++x, sums += 2 * kSums, to += a.channels) {
      store_block<Order, kPart>(one.finish(hn::Load(d, sums), hn::Zero(d)),
                                other.finish(hn::Load(d, sums + kSums), hn::Zero(d)), to, channels);
    }
    return;
  }
  const V lo = hn::Set(d, a.lo), hi = hn::Set(d, a.hi);
  const GateVectors gate = gate_vectors(a.gate);
  const bool curved = a.gate.curve != Curve::kNone;
  for (int64_t i = 0; i < 2 * outputs * kSums; i += kSums) {
    const V x = clamped(hn::Load(d, sums + i), lo, hi);
    hn::Store(curved ? x : gated(gate, x), d, sums + i);
  }
  if (curved) curve_block(a.gate, sums, 2 * outputs * kSums);
  for (int x = 0; x < outputs; ++x, sums += 2 * kSums, to += a.channels)
    store_block<Order, kPart>(hn::Load(d, sums), hn::Load(d, sums + kSums), to, channels);
}

// What most layers need.
HWY_ATTR HWY_INLINE bool only_clamps(const DepthwiseArgs<BFloat16>& a) {
  return a.residual == nullptr && a.wide_out == nullptr && a.slope == nullptr && a.scale == nullptr && !a.gate.used();
}

// Adds the products of a block's taps: each loaded pixel feeds every output that it belongs to, of one row or of two.
// Taps knows the vectors, how pixels and the weights of a tap are loaded, and how they multiply.
template <int kSize, int kStride, int kRows, int kOutputs, class Taps>
HWY_ATTR HWY_INLINE void add_taps(const DepthwiseArgs<BFloat16>& a, const Taps& taps, int64_t c,
                                  typename Taps::Vector (&acc)[kRows][kOutputs]) {
  constexpr int kColumns = (kOutputs - 1) * kStride + kSize;
#pragma GCC unroll 6
  for (int in = 0; in < kSize + kRows - 1; ++in) {
    typename Taps::Vector w[kRows][kSize];
#pragma GCC unroll 2
    for (int row = 0; row < kRows; ++row) {
      if (in < row || in - row >= kSize) continue;
#pragma GCC unroll 5
      for (int kw = 0; kw < kSize; ++kw) w[row][kw] = taps.weights((in - row) * kSize + kw);
    }
#pragma GCC unroll 19
    for (int col = 0; col < kColumns; ++col) {
      const auto pixel = taps.pixel(a.pixels[in * a.row_step + col] + c);
#pragma GCC unroll 8
      for (int x = 0; x < kOutputs; ++x) {
        const int kw = col - x * kStride;
        if (kw < 0 || kw >= kSize) continue;
#pragma GCC unroll 2
        for (int row = 0; row < kRows; ++row) {
          if (in >= row && in - row < kSize) acc[row][x] = taps.multiply_add(pixel, w[row][kw], acc[row][x]);
        }
      }
    }
  }
}

// Whole blocks of channels by Blocks::make<size, stride, rows, outputs, part>(), then what is left of one.
template <class Blocks, int kSize, int kStride, int kRows, int kOutputs>
HWY_ATTR void block_kernel(const DepthwiseArgs<BFloat16>& a) {
  constexpr int64_t kChannels = 2 * kSums;
  int64_t c = a.first;
  for (; c + kChannels <= a.last; c += kChannels) Blocks::template make<kSize, kStride, kRows, kOutputs, false>(a, c);
  if (c < a.last) Blocks::template make<kSize, kStride, kRows, kOutputs, true>(a, c);
}

template <class Blocks, int kOutputs = kDepthwiseOutputs, class Table>
void fill_with_blocks(Table& t) {
  if constexpr (kOutputs > 0) {
    t.fixed[0][0][kOutputs] = &block_kernel<Blocks, 3, 1, 1, kOutputs>;
    t.fixed[0][1][kOutputs] = &block_kernel<Blocks, 3, 2, 1, kOutputs>;
    t.fixed[1][0][kOutputs] = &block_kernel<Blocks, 5, 1, 1, kOutputs>;
    t.fixed[1][1][kOutputs] = &block_kernel<Blocks, 5, 2, 1, kOutputs>;
    if constexpr (requires { t.two_rows; }) {
      t.two_rows[0][kOutputs] = &block_kernel<Blocks, 3, 1, 2, kOutputs>;
      t.two_rows[1][kOutputs] = &block_kernel<Blocks, 5, 1, 2, kOutputs>;
    }
    fill_with_blocks<Blocks, kOutputs - 1>(t);
  }
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#endif  // include guard per target
