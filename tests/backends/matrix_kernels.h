// What the tests of matrix kernels share: a fixture for every instruction set of this machine, epilogues with their
// expected results, and tolerances.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/bottleneck.h"
#include "backends/cpu/matrix/conv2d.h"
#include "backends/cpu/matrix/conv_transpose.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/depthwise.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/matrix/simd_targets.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/cpu/matrix/winograd.h"
#include "base/aligned_buffer.h"
#include "hwy/targets.h"
#include "support/amx_emulator.h"

namespace blade::backends::cpu {

inline constexpr float kCanary = 12345.0f;
inline constexpr size_t kGuardBytes = 16 << 10;  // behind scratch: what is misplaced there may leave a gap
inline constexpr std::byte kGuard{0x5a};

// Instruction sets to test: 0 is what the machine offers.
inline std::vector<int64_t> targets() {
  std::vector<int64_t> out = {0};
  if (hwy::SupportedTargets() & HWY_AVX2) out.push_back(HWY_AVX2 | HWY_SCALAR | HWY_EMU128);
  out.push_back(HWY_SCALAR | HWY_EMU128);
  return out;
}

struct BottleneckData {
  bool special = false;                    // some inputs are no numbers, which float16 between must not hide
  int64_t large_begin = 0, large_end = 0;  // rows of all images that overflow float16
  bool in_place = false;                   // the residual lies where the results go
};

class MatrixKernels : public testing::TestWithParam<std::tuple<int64_t, int>> {
 protected:
  void SetUp() override {
    hwy::SetSupportedTargetsForTest(std::get<0>(GetParam()));
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    pool_ = std::make_unique<ThreadPool>(std::get<1>(GetParam()));
  }
  void TearDown() override {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }

  // False (and the test is skipped) where the instruction set has no kernels for T.
  template <class T>
  bool has_kernels() {
    return tile_kernels<T>().lanes != 0;
  }

  // The same for the tile registers of AMX, which the cases then take; says how they run.
  bool use_tiles() {
    const AmxMode mode = amx_mode();
    if (mode == AmxMode::kMissing || amx_kernels().tile == nullptr) return false;
    std::printf("%s.\n", describe_amx(mode));
    unit_ = MatrixUnit::kTiles;
    return true;
  }

  template <class T = float>
  std::vector<T> random(int64_t count) {
    std::vector<T> out(count);
    for (T& x : out) x = T(std::uniform_real_distribution<float>(-1, 1)(rng_));
    return out;
  }
  int64_t pick(std::initializer_list<int64_t> values) {
    return values.begin()[std::uniform_int_distribution<size_t>(0, values.size() - 1)(rng_)];
  }
  std::byte* scratch(size_t bytes) {
    scratch_ = AlignedBuffer::allocate(bytes + kGuardBytes);
    std::fill_n(scratch_.as<float>(), bytes / 4, NAN);  // nothing may rely on what scratch holds
    scratch_bytes_ = bytes;
    std::fill_n(scratch_.data() + bytes, kGuardBytes, kGuard);
    return scratch_.data();
  }
  void check_scratch() {
    const std::byte* const guard = scratch_.data() + scratch_bytes_;
    ASSERT_EQ(std::count(guard, guard + kGuardBytes, kGuard), int64_t{kGuardBytes}) << "scratch overrun";
  }

  template <class T, class Out = T>
  void gemm_case(int round);
  template <class T, class Out = T>
  void check_gemm(int64_t m, int64_t k, int64_t n, int round);
  template <class T, class Out = T>
  void matmul_case(int round);
  template <class T, class In = T, class Out = T>
  void conv_case(int round);
  template <class T, class In, class Out>
  void check_conv(const Conv2DShape& s, int round);
  std::vector<float> pointwise_conv(const Conv2DShape& s, const std::vector<float>& in, const std::vector<float>& w,
                                    const Epilogue<float>& epilogue);
  std::vector<float> split_case(int64_t m, int64_t k, int64_t n, const float* a, int64_t a_row,
                                const std::vector<float>& b, const EpilogueF32& epilogue);
  template <class T>
  void aliasing_case(int64_t kernel);
  ConvTransposeShape random_transposed();
  template <class T>
  void conv_transpose_case(int round, ConvTransposeShape s);
  template <class T>
  void winograd_case(int round, ConvAlgorithm algorithm);
  template <class T>
  void check_winograd_errors(double fine, double coarse);
  template <class T>
  void depthwise_case(int round);
  void depthwise_half_case(int round);
  template <class T>
  void separable_case(int round);
  void streamed_case(const Conv2DShape& s, int threads, bool special);
  Conv2DShape random_volume(int round);
  void volume_case(const Conv2DShape& s, int kind);
  void bottleneck_case(int round, const BottleneckShape& shape, const BottleneckData& data = {});
  void conv_rows_case(int round, int64_t rows, int64_t oc, bool half);

  std::mt19937 rng_{7};
  MatrixUnit unit_ = MatrixUnit::kVectors;
  std::unique_ptr<ThreadPool> pool_;
  AlignedBuffer scratch_;
  size_t scratch_bytes_ = 0;
};

inline constexpr int kEpilogueKinds = 512;

inline double gated_exactly(Curve curve, double x) {
  switch (curve) {
    case Curve::kSwish:
      return x / (1 + std::exp(-x));
    case Curve::kGeluErf:
      return 0.5 * x * (1 + std::erf(x * std::sqrt(0.5)));
    case Curve::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case Curve::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Curve::kHardSigmoid:
      return std::clamp(0.25 * x + 0.75, 0.0, 1.0);
    case Curve::kTanh:
      return std::tanh(x);
    case Curve::kNone:
      break;
  }
  return x * std::clamp(0.25 * x + 0.75, 0.0, 1.5);
}

// What an epilogue may do, one bit each, with its data.
template <class T>
struct EpilogueCase {
  std::vector<float> bias, shift;
  std::vector<T> residual;
  Epilogue<T> epilogue;
  int kind;

  EpilogueCase(int which, std::vector<float> b, std::vector<T> r, int64_t stride)
      : bias(std::move(b)), shift(bias.size(), 0.5f), residual(std::move(r)), kind(which) {
    if (kind & 1) epilogue.bias = bias.data();
    if (kind & 2) {
      epilogue.residual = residual.data();
      epilogue.residual_row_stride = stride;
    }
    if (kind & 4) {
      epilogue.clamp_lo = 0;
      epilogue.clamp_hi = 6;
    }
    if (kind & 8) {
      epilogue.generic = [](void* context, const EpilogueTile& tile) {
        const float scale = *static_cast<const float*>(context);
        for (int64_t r = 0; r < tile.rows; ++r) {
          const int64_t pixel = tile.first_pixel + r * tile.pixel_step;
          for (int64_t i = 0; i < tile.channels; ++i)
            tile.data[r * tile.row_stride + i] += scale * static_cast<float>(pixel + 3 * (tile.first_channel + i));
        }
      };
      epilogue.context = &scale;
    }
    if (kind & 16) epilogue.slope = bias.data();
    if (kind & 64) {
      epilogue.scale = bias.data();
      epilogue.shift = shift.data();
    }
    if (kind & 128) {
      constexpr Gate kGates[] = {{0.25f, 0.75f, 1.5f},       {0, 0, 0, Curve::kSwish},
                                 {0, 0, 0, Curve::kGeluErf}, {0, 0, 0, Curve::kGeluTanh},
                                 {0, 0, 0, Curve::kSigmoid}, {0.25f, 0.75f, 1, Curve::kHardSigmoid},
                                 {0, 0, 0, Curve::kTanh}};
      epilogue.gate = kGates[static_cast<size_t>(kind) / 2 % std::size(kGates)];
    }
    epilogue.residual_last = (kind & 256) != 0;
    if (kind & 32) epilogue.residual_channels = static_cast<int64_t>(bias.size()) / 2;
  }
  double expected(double sum, int64_t pixel, int64_t channel) const {
    if (kind & 1) sum += bias[channel];
    double added = 0;
    if ((kind & 2) && channel < epilogue.residual_channels)
      added = double{static_cast<float>(residual[pixel * epilogue.residual_row_stride + channel])};
    if (!(kind & 256)) sum += added;
    if ((kind & 16) && !(sum > 0)) sum *= bias[channel];
    if (kind & 4) sum = std::clamp(sum, 0.0, 6.0);
    if (kind & 128) sum = gated_exactly(epilogue.gate.curve, sum);
    if (kind & 64) sum = sum * bias[channel] + 0.5;
    if (kind & 256) sum += added;
    if (kind & 8) sum += static_cast<double>(scale) * static_cast<double>(pixel + 3 * channel);
    return sum;
  }
  float scale = 0.125f;
};

template <class Out = float>
double tolerance(int64_t k, double value) {
  const double rounding = sizeof(Out) == 2 ? 0x1p-8 : 2e-6;
  return 1e-6 * std::sqrt(static_cast<double>(k) + 1) * 4 + rounding * std::abs(value);
}

inline double number(double x) { return x; }
inline double number(BFloat16 x) { return static_cast<float>(x); }
template <class Out>
bool is_canary(Out x) {
  return number(x) == number(Out(kCanary));
}

// Element `o` of a pixel of a convolution.
template <class T, class W>
double conv_at(const Conv2DShape& s, const std::vector<T>& in, const std::vector<W>& w, int64_t pixel, int64_t o) {
  const int64_t x = pixel % s.ow;
  const int64_t y = pixel / s.ow % s.oh;
  const int64_t image = pixel / s.ow / s.oh;
  const int64_t cg = s.c / s.groups;
  const int64_t g = o / (s.oc / s.groups);
  double sum = 0;
  for (int64_t i = 0; i < s.kh; ++i) {
    for (int64_t j = 0; j < s.kw; ++j) {
      const int64_t yy = y * s.stride_h + i * s.dilation_h - s.pad_top;
      const int64_t xx = x * s.stride_w + j * s.dilation_w - s.pad_left;
      if (yy < 0 || yy >= s.h || xx < 0 || xx >= s.w) continue;
      for (int64_t c = 0; c < cg; ++c) {
        sum += number(in[((image * s.h + yy) * s.w + xx) * s.input_pitch() + g * cg + c]) *
               number(w[((i * s.kw + j) * cg + c) * s.oc + o]);
      }
    }
  }
  return sum;
}

inline std::string describe(const Conv2DShape& s) {
  std::string out;
  for (int64_t v : {s.n, s.h, s.w, s.c, s.kh, s.kw, s.oc, s.oh, s.ow, s.stride_h, s.stride_w, s.dilation_h,
                    s.dilation_w, s.pad_top, s.pad_left, s.groups}) {
    out += std::to_string(v) + " ";
  }
  return "n h w c kh kw oc oh ow sh sw dh dw pt pl g: " + out;
}

// Output size for total paddings, at least 0.
inline int64_t out_size(int64_t in, int64_t k, int64_t stride, int64_t dilation, int64_t pad) {
  const int64_t span = in + pad - ((k - 1) * dilation + 1);
  return span < 0 ? 0 : span / stride + 1;
}

}  // namespace blade::backends::cpu
