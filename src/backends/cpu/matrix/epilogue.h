// What a matrix kernel does to a finished tile before it leaves the registers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace blade::backends::cpu {

// Part of an output that lacks only Epilogue::generic, still hot in L1: `rows` pixels first_pixel, first_pixel +
// pixel_step, ..., each with channels [first_channel, first_channel + channels), row_stride floats apart.
struct EpilogueTile {
  float* data = nullptr;
  int64_t row_stride = 0;
  int64_t first_pixel = 0;
  int64_t pixel_step = 1;
  int64_t rows = 0;
  int64_t first_channel = 0;
  int64_t channels = 0;
};

// Activations, as ir::PointwiseOp defines them.
enum class Curve : uint8_t { kNone, kSwish, kGeluErf, kGeluTanh, kSigmoid, kHardSigmoid, kTanh };

// x * clip(scale * x + shift, 0, hi): hard swish; or a curve (clip(scale * x + shift, 0, 1): hard sigmoid). Not used
// with a scale of 0 and without a curve.
struct Gate {
  float scale = 0, shift = 0, hi = 0;
  Curve curve = Curve::kNone;
  bool coarse = false;  // results are rounded to bfloat16 next, which the curve may count on
  bool used() const { return scale != 0 || curve != Curve::kNone; }
};

inline float gated(const Gate& gate, float x) {
  constexpr double kSqrtHalf = 0.70710678118654752, kSqrtTwoOverPi = 0.79788456080286536;
  switch (gate.curve) {
    case Curve::kSwish:
      return x / (1 + std::exp(-x));
    case Curve::kGeluErf:
      return static_cast<float>(0.5 * x * (1 + std::erf(x * kSqrtHalf)));
    case Curve::kGeluTanh:
      return static_cast<float>(0.5 * x * (1 + std::tanh(kSqrtTwoOverPi * (x + 0.044715 * x * x * x))));
    case Curve::kSigmoid:
      return 1 / (1 + std::exp(-x));
    case Curve::kHardSigmoid:
      return std::min(std::max(gate.scale * x + gate.shift, 0.0f), 1.0f);
    case Curve::kTanh:
      return std::tanh(x);
    case Curve::kNone:
      break;
  }
  return x * std::min(std::max(gate.scale * x + gate.shift, 0.0f), gate.hi);
}

// x = product + bias[channel] + residual[pixel][channel]; y = clamp(x > 0 ? x : slope[channel] * x, lo, hi), gated;
// out = y * scale[channel] + shift[channel], then `generic` if set: all in float32, whatever T activations are stored
// as.
template <class T>
struct Epilogue {
  using TileFunction = void (*)(void* context, const EpilogueTile& tile);

  const float* bias = nullptr;      // one value an output channel, or null
  const T* residual = nullptr;      // [pixels][residual_channels], or null; may be the output itself
  int64_t residual_row_stride = 0;  // elements from one pixel (row) of `residual` to the next
  int64_t residual_channels = std::numeric_limits<int32_t>::max();  // channels from here on have no residual
  bool residual_last = false;                                       // it is added to `out`, not to x
  const float* slope = nullptr;                                     // one value an output channel, or null
  float clamp_lo = -std::numeric_limits<float>::infinity();
  float clamp_hi = std::numeric_limits<float>::infinity();
  Gate gate;
  const float* scale = nullptr;  // one value an output channel, or null; and `shift` with it
  const float* shift = nullptr;
  // Called for parts of the output as they are finished, from any thread: any element-wise activation.
  TileFunction generic = nullptr;
  void* context = nullptr;
};
using EpilogueF32 = Epilogue<float>;

// Bias, residual and clamp alone, before what `generic` may do: an Epilogue or TileArgs.
template <class E>
bool is_plain(const E& e) {
  return e.slope == nullptr && e.scale == nullptr && !e.gate.used();
}

// For one of the pieces in which sums are made, where sums so far wait in C: the first adds bias and residual, the last
// does the rest. Not where a residual comes last.
inline EpilogueF32 piece_epilogue(const EpilogueF32& whole, bool is_first, bool is_last, const float* c,
                                  int64_t c_row) {
  EpilogueF32 part = is_last ? whole : EpilogueF32();
  part.bias = is_first ? whole.bias : nullptr;
  part.residual = is_first ? whole.residual : c;
  part.residual_last = false;
  part.residual_row_stride = is_first ? whole.residual_row_stride : c_row;
  part.residual_channels = is_first ? whole.residual_channels : EpilogueF32().residual_channels;
  return part;
}

// All but bias and `generic` for one element; `residual`: 0 where there is none.
template <class T>
float finish_element(const Epilogue<T>& e, float x, float residual, int64_t channel) {
  if (!e.residual_last) x += residual;
  if (e.slope != nullptr && !(x > 0)) x *= e.slope[channel];
  x = std::min(std::max(x, e.clamp_lo), e.clamp_hi);
  if (e.gate.used()) x = gated(e.gate, x);
  if (e.scale != nullptr) x = x * e.scale[channel] + e.shift[channel];
  return e.residual_last ? x + residual : x;
}

// The epilogue of a part of an output: its pixel p is pixel first_pixel + p * pixel_step of the whole, its channel c is
// first_channel + c. What get() returns points into this object and into `whole`.
template <class T>
class PartEpilogue {
 public:
  PartEpilogue(const Epilogue<T>& whole, int64_t first_pixel, int64_t pixel_step = 1, int64_t first_channel = 0)
      : whole_(whole), part_(whole), first_pixel_(first_pixel), pixel_step_(pixel_step), first_channel_(first_channel) {
    if (whole.bias != nullptr) part_.bias += first_channel;
    if (whole.slope != nullptr) part_.slope += first_channel;
    if (whole.scale != nullptr) {
      part_.scale += first_channel;
      part_.shift += first_channel;
    }
    part_.residual_channels = std::max<int64_t>(0, whole.residual_channels - first_channel);
    if (whole.residual != nullptr) {
      part_.residual += first_pixel * whole.residual_row_stride + first_channel;
      part_.residual_row_stride *= pixel_step;
    }
    if (whole.generic == nullptr) return;
    part_.generic = &PartEpilogue::forward;
    part_.context = this;
  }
  PartEpilogue(const PartEpilogue&) = delete;
  PartEpilogue& operator=(const PartEpilogue&) = delete;
  const Epilogue<T>& get() const { return part_; }

 private:
  static void forward(void* context, const EpilogueTile& tile) {
    const auto& self = *static_cast<const PartEpilogue*>(context);
    EpilogueTile whole = tile;
    whole.first_pixel = self.first_pixel_ + tile.first_pixel * self.pixel_step_;
    whole.pixel_step = tile.pixel_step * self.pixel_step_;
    whole.first_channel = self.first_channel_ + tile.first_channel;
    self.whole_.generic(self.whole_.context, whole);
  }

  const Epilogue<T>& whole_;
  Epilogue<T> part_;
  int64_t first_pixel_, pixel_step_, first_channel_;
};

}  // namespace blade::backends::cpu
