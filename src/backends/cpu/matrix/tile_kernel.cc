// Micro-kernels over Highway vectors: accumulators stay in registers, A is broadcast from memory, B comes packed.
#include "backends/cpu/matrix/tile_kernel.h"

#include "backends/cpu/matrix/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backends/cpu/matrix/tile_kernel.cc"
// Highway needs this order.
// clang-format off
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "backends/cpu/matrix/simd_inl.h"
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace blade::backends::cpu {
namespace HWY_NAMESPACE {

// Several k steps in flight where one tile alone has too few independent sums to hide the latency of the FMA.
template <int kRows, int kVectors>
constexpr int chains() {
  const int sums = kRows * kVectors;
  return sums <= 2 ? 4 : sums <= 4 ? 2 : 1;
}

template <int kRows, int kVectors>
HWY_ATTR HWY_INLINE void add_residual(const TileArgs& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  const bool full = a.residual_columns >= kVectors * kLanes;
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
    const float* residual = a.residual + i * a.residual_stride;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const V x = full ? hn::LoadU(d, residual + v * kLanes)
                       : load_some(d, residual + v * kLanes, a.residual_columns - v * kLanes);
      acc[i][v] = hn::Add(acc[i][v], x);
    }
  }
}

template <int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_slope(const TileArgs& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const V slope = load_some(d, a.slope + v * kLanes, a.columns - v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) {
      const V x = acc[i][v];
      acc[i][v] = hn::IfThenElse(hn::Gt(x, hn::Zero(d)), x, hn::Mul(x, slope));
    }
  }
}

template <int kRows, int kVectors>
HWY_ATTR HWY_INLINE void apply_scale(const TileArgs& a, V (&acc)[kRows][kVectors]) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const V scale = load_some(d, a.scale + v * kLanes, a.columns - v * kLanes);
    const V shift = load_some(d, a.shift + v * kLanes, a.columns - v * kLanes);
#pragma GCC unroll 14
    for (int i = 0; i < kRows; ++i) acc[i][v] = hn::MulAdd(acc[i][v], scale, shift);
  }
}

template <int kRows, int kVectors>
HWY_ATTR void tile(const TileArgs& a) {
  const D d;
  constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));
  constexpr int kChains = chains<kRows, kVectors>();
  constexpr int kPanelRow = kVectors * kLanes;
  const bool full = a.columns == kPanelRow;
  V acc[kChains][kRows][kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    V init = hn::Zero(d);
    if (a.bias != nullptr) init = load_some(d, a.bias + v * kLanes, a.columns - v * kLanes);
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c) {
#pragma GCC unroll 14
      for (int i = 0; i < kRows; ++i) acc[c][i][v] = c == 0 ? init : hn::Zero(d);
    }
  }

  // The lines that the epilogue reads and writes arrive while the sums are made.
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (a.residual != nullptr) __builtin_prefetch(a.residual + i * a.residual_stride + v * kLanes, 0, 3);
      __builtin_prefetch(a.out + i * a.out_stride + v * kLanes, 1, 3);
    }
  }

  const float* HWY_RESTRICT b = a.panel;
  const char* prefetch = a.prefetch;
  const int prefetch_lines = a.prefetch_lines;
  const int64_t length = a.run_length;
  for (int64_t r = 0; r < a.runs; ++r) {
    const float* const* rows = a.rows + r * a.row_step;
    const int64_t offset = a.run_offsets != nullptr ? a.run_offsets[r] : 0;
    int64_t k = 0;
    for (; k + 4 <= length; k += 4) {
      for (int i = 0; i < prefetch_lines; ++i, prefetch += 64) __builtin_prefetch(prefetch, 0, 2);
#pragma GCC unroll 4
      for (int kk = 0; kk < 4; ++kk) {
        V w[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          w[v] = hn::Load(d, b + kk * kPanelRow + v * kLanes);
        }
#pragma GCC unroll 14
        for (int i = 0; i < kRows; ++i) {
          const V x = hn::Set(d, rows[i][offset + k + kk]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) acc[kk % kChains][i][v] = hn::MulAdd(x, w[v], acc[kk % kChains][i][v]);
        }
      }
      b += 4 * kPanelRow;
    }
    for (; k < length; ++k, b += kPanelRow) {
      V w[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) w[v] = hn::Load(d, b + v * kLanes);
#pragma GCC unroll 14
      for (int i = 0; i < kRows; ++i) {
        const V x = hn::Set(d, rows[i][offset + k]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[0][i][v] = hn::MulAdd(x, w[v], acc[0][i][v]);
      }
    }
  }

#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 4
      for (int c = 1; c < kChains; ++c) acc[0][i][v] = hn::Add(acc[0][i][v], acc[c][i][v]);
    }
  }
  if (a.residual != nullptr) add_residual<kRows, kVectors>(a, acc[0]);
  if (a.slope != nullptr) apply_slope<kRows, kVectors>(a, acc[0]);
  const V lo = hn::Set(d, a.lo);
  const V hi = hn::Set(d, a.hi);
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) acc[0][i][v] = hn::Min(hn::Max(acc[0][i][v], lo), hi);
  }
  if (a.scale != nullptr) apply_scale<kRows, kVectors>(a, acc[0]);
#pragma GCC unroll 14
  for (int i = 0; i < kRows; ++i) {
    float* out = a.out + i * a.out_stride;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (full) {
        hn::StoreU(acc[0][i][v], d, out + v * kLanes);
      } else {
        store_some(acc[0][i][v], d, out + v * kLanes, a.columns - v * kLanes);
      }
    }
  }
}

template <int kVectors, int kRows>
void fill(TileKernels& t) {
  if constexpr (kRows > 0) {
    t.kernel[kVectors][kRows] = &tile<kRows, kVectors>;
    fill<kVectors, kRows - 1>(t);
  }
}

template <int kVectors, int kRows>
void add_shape(TileKernels& t, float efficiency) {
  t.max_vectors = kVectors;
  t.max_rows[kVectors] = kRows;
  t.efficiency[kVectors] = efficiency;
  fill<kVectors, kRows>(t);
}

const TileKernels& get_tile_kernels() {
  static const TileKernels table = [] {
    TileKernels t;
    t.lanes = static_cast<int>(hn::MaxLanes(D()));
#if HWY_TARGET == HWY_AVX3  // 32 registers
    add_shape<1, 14>(t, 0.85f);
    add_shape<2, 14>(t, 1.0f);
    add_shape<3, 9>(t, 0.98f);
    add_shape<4, 6>(t, 0.96f);
#else  // 16 registers
    add_shape<1, 10>(t, 0.72f);
    add_shape<2, 6>(t, 0.91f);
    add_shape<3, 4>(t, 1.0f);
#endif
    return t;
  }();
  return table;
}

}  // namespace HWY_NAMESPACE
}  // namespace blade::backends::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace blade::backends::cpu {
HWY_EXPORT(get_tile_kernels);
const TileKernels& tile_kernels() { return HWY_DYNAMIC_DISPATCH(get_tile_kernels)(); }
}  // namespace blade::backends::cpu
#endif
