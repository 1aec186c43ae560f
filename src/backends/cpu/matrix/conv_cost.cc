// Predicts the time of each convolution algorithm from its arithmetic and its memory traffic: choosing times nothing.
#include <algorithm>
#include <cmath>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv_plane_plan.h"
#include "backends/cpu/matrix/dot_speed.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/machine.h"
#include "base/checked_math.h"

namespace blade::backends::cpu {
namespace {

// Cycles were measured on AVX-512 in halves. Where vectors are whole, memory is faster as well: the same choices at
// half the time.
constexpr double kCyclesPerUs = 3500;
double cycles_per_us() { return kCyclesPerUs * Machine::host().fma_per_cycle; }

constexpr double kTileBytesPerCycle = 12;  // transformed tiles that pass through L3, a core
// Cycles a point and vector of channels for the two transforms: more where the points of a tile are not held in
// registers.
constexpr double kManyPointsCycles = 11.7;
constexpr double kPointCycles = 8.1;
constexpr double kLineTileCycles = 200;  // a tile of a kernel of one dim, whatever its channels
// Products of bfloat16 are twice as fast, so that what surrounds them weighs more: as if K had so many steps more.
constexpr double kStepsAroundProducts = 8;

// Weights of a whole network are cold.
double weight_cycles(double count, int threads) {
  const Machine& machine = Machine::host();
  const double bytes_per_us = std::min(machine.far_bytes_per_us, machine.core_far_bytes_per_us * threads);
  return count * sizeof(float) / bytes_per_us * cycles_per_us();
}

// `k`: steps, elements of T or pairs of them.
template <class T>
double product_cycles(double rows, double k, double n, double efficiency) {
  constexpr double kSlowDotCycles = 2.2;  // a dot product of pairs in multiply-adds, where it is slower
  const double vectors = std::ceil(n / tile_kernels().lanes);
  const double step = sizeof(T) < sizeof(float) && !has_fast_bf16_dots(Machine::host()) ? kSlowDotCycles : 1;
  return rows * k * vectors * step / efficiency;
}

// Direct convolution on the tile registers of AMX: products of 16 pixels, 16 channels and up to 32 inputs, results that
// pass through L1 before they are finished, and copies of the input; constants from measurements on Sapphire Rapids.
double amx_us(const Conv2DShape& s, int threads) {
  constexpr double kProductCycles = 20, kFinishCycles = 70, kCopyBytesPerCycle = 16;
  const bool few_channels = rounds_input(s), dense = s.kh * s.kw == 1 && s.stride_h * s.stride_w == 1;
  const int64_t taps = s.kh * s.kw, columns = s.groups * ceil_div(s.group_out(), int64_t{16});
  const bool woven = weaves_rows(s);
  const int64_t blocks = woven          ? 1
                         : few_channels ? s.kh * AmxBlocks(s.kw * (s.c + s.c % 2)).count
                                        : taps * AmxBlocks(s.group_in()).count;
  const int64_t row = dense ? s.ow : s.ow + (s.kw - 1) * s.dilation_w / s.stride_w;
  const auto units =
      static_cast<double>(few_channels ? s.n * s.oh * ceil_div(s.ow, kAmxRows) : ceil_div(s.n * s.oh * row, kAmxRows));
  const auto copied = static_cast<double>(dense ? 0 : s.n * s.h * s.w * (s.c + s.c % 2) * (woven ? s.kh : 1));
  const double compute =
      units * static_cast<double>(columns) * (static_cast<double>(blocks) * kProductCycles + kFinishCycles) +
      copied * sizeof(BFloat16) / kCopyBytesPerCycle;
  const double weights = weight_cycles(static_cast<double>(taps * s.group_in() * s.oc) / 2, threads);
  return std::max(compute / threads / kTileCyclesPerUs, weights / cycles_per_us());
}

template <class T>
double direct_us(const Conv2DShape& s, int threads) {
  if (s.unit == MatrixUnit::kTiles) return amx_us(s, threads);
  const auto k = static_cast<double>(s.depth.taps * s.kh * s.kw * ceil_div(s.group_in(), kStepDepth<T>));  // steps
  const double compute = static_cast<double>(s.groups) * product_cycles<T>(static_cast<double>(s.output_pixels()), k,
                                                                           static_cast<double>(s.group_out()), 0.95);
  const double weights = weight_cycles(k * static_cast<double>(s.oc), threads);
  return std::max(compute / threads, weights) / cycles_per_us();
}

template <class T>
double winograd_us(const Conv2DShape& s, int m, int threads) {
  const int64_t m_y = s.kh == 1 ? 1 : m, m_x = s.kw == 1 ? 1 : m;
  const auto points = static_cast<double>((m_y + s.kh - 1) * (m_x + s.kw - 1));
  const auto tiles = static_cast<double>(s.n * ceil_div(s.oh, m_y) * ceil_div(s.ow, m_x));
  const auto c = static_cast<double>(s.depth.taps * s.c);
  const auto oc = static_cast<double>(s.oc);
  const auto steps = static_cast<double>(ceil_div(s.depth.taps * s.c, kStepDepth<T>));
  const double around = sizeof(T) < sizeof(float) ? kStepsAroundProducts : 0;
  const double compute = points * product_cycles<T>(tiles, steps + around, oc, 0.85);
  const double weights = weight_cycles(points * steps * oc, threads);
  const double lanes = tile_kernels().lanes;
  const double image_vectors = std::max(1.0, static_cast<double>(s.c) / lanes);  // each image is transformed alone
  const double vectors = (static_cast<double>(s.depth.taps) * image_vectors + oc / lanes) / 2;
  const bool line = m_y == 1 || m_x == 1;
  const double transforms =
      tiles * ((line ? kLineTileCycles : 0) + vectors * points * (points > 16 ? kManyPointsCycles : kPointCycles));
  const double moved = points * tiles * (c * sizeof(T) + oc * sizeof(float)) / kTileBytesPerCycle;
  return (std::max(compute / threads, weights) + (transforms + moved) / threads) / cycles_per_us();
}

}  // namespace

const char* conv_algorithm_name(ConvAlgorithm algorithm) {
  switch (algorithm) {
    case ConvAlgorithm::kDirect:
      return "direct";
    case ConvAlgorithm::kWinograd2:
      return "winograd2";
    case ConvAlgorithm::kWinograd4:
      return "winograd4";
  }
  return "unknown";
}

const char* conv_algorithm_refusal(const Conv2DShape& s, ConvAlgorithm algorithm) {
  if (algorithm == ConvAlgorithm::kDirect) return nullptr;
  auto is_line = [](int64_t long_side, int64_t other) {
    return other == 1 && (long_side == 3 || long_side == 5 || long_side == 7);
  };
  const bool is_square = s.kh == s.kw && (s.kh == 3 || s.kh == 5);
  if (!is_square && !is_line(s.kh, s.kw) && !is_line(s.kw, s.kh)) {
    return "Winograd needs a 3x3 or 5x5 kernel, or one of 3, 5 or 7 taps in one dim";
  }
  if (is_square && s.kh == 5 && algorithm == ConvAlgorithm::kWinograd4) {
    return "tiles of 4x4 outputs are too inexact for 5x5 kernels";
  }
  if (s.stride_h != 1 || s.stride_w != 1) return "Winograd needs a stride of 1";
  if (s.dilation_h != 1 || s.dilation_w != 1) return "Winograd needs a dilation of 1";
  if (s.groups != 1) return "Winograd is not made for grouped convolutions";
  return nullptr;
}

template <class T>
int64_t groups_to_join(const Conv2DShape& s) {
  constexpr int64_t kMostColumns = 64;
  int64_t best = 1;
  double best_us = -1;
  // The choice is one of channels alone: for strips of an image it is that for all of it.
  Conv2DShape joined = s;
  joined.n = 1;
  joined.oh = joined.ow = joined.h = joined.w = 64;
  for (int64_t count = 1; count <= s.groups && (count == 1 || count * s.group_out() <= kMostColumns); ++count) {
    if (s.groups % count != 0) continue;
    joined.groups = s.groups / count;
    const double us = direct_us<T>(joined, 1);
    if (best_us >= 0 && us > best_us) continue;  // of equal ones the larger: there is less around products
    best_us = us;
    best = count;
  }
  return best;
}
template int64_t groups_to_join<float>(const Conv2DShape&);
template int64_t groups_to_join<BFloat16>(const Conv2DShape&);

template <class T>
double conv_cost_us(const Conv2DShape& s, ConvAlgorithm algorithm, int threads) {
  if (algorithm == ConvAlgorithm::kDirect) return direct_us<T>(s, threads);
  return winograd_us<T>(s, winograd_outputs(algorithm), threads);
}
template double conv_cost_us<float>(const Conv2DShape&, ConvAlgorithm, int);
template double conv_cost_us<BFloat16>(const Conv2DShape&, ConvAlgorithm, int);

double grouped_cost_us(const Conv2DShape& s, int threads) {
  // Beside direct convolution, which is slower than predicted where a group is one vector: inputs spread over lanes,
  // one vector a group, more of them.
  constexpr double kSpread = 0.6, kOne = 1, kMore = 0.85;
  const int64_t lanes = tile_kernels().lanes;
  const double efficiency = s.group_in() < lanes ? kSpread : s.group_in() == lanes ? kOne : kMore;
  const auto k = static_cast<double>(s.kh * s.kw * s.group_in());
  const double cycles =
      product_cycles<float>(static_cast<double>(s.output_pixels()), k, static_cast<double>(s.oc), efficiency);
  return cycles / threads / cycles_per_us();
}

ConvAlgorithm choose_conv_algorithm(const Conv2DShape& s, int threads) {
  ConvAlgorithm best = ConvAlgorithm::kDirect;
  double best_us = direct_us<float>(s, threads);
  for (ConvAlgorithm algorithm : {ConvAlgorithm::kWinograd2, ConvAlgorithm::kWinograd4}) {
    if (conv_algorithm_refusal(s, algorithm) != nullptr) continue;
    const double us = conv_cost_us(s, algorithm, threads);
    if (us < best_us) {
      best = algorithm;
      best_us = us;
    }
  }
  return best;
}

}  // namespace blade::backends::cpu
