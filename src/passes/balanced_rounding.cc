#include "passes/balanced_rounding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "base/half.h"
#include "passes/constants.h"

namespace blade::passes {
namespace {

// The mean square of an input, in parts: what it has for itself, what it shares with the pixels around it, and what all
// inputs share. Measured on a dozen networks; twice or half of each changes little.
constexpr float kOwn = 0.1f, kChannel = 1, kCommon = 0.1f;
// Other data may vary where the measured ones did not.
constexpr float kLeastVariance = 0.1f;
// The weights nearest to the middle of their neighbours are changed first: their own errors hardly grow.
constexpr float kLimits[] = {0.125f, 0.5f, 1};

constexpr size_t kLanes = 32;  // results whose weights are rounded at once
using Lanes = std::array<float, kLanes>;

// Of a number that bfloat16 holds.
BFloat16 to_bfloat16(float value) {
  BFloat16 half;
  half.bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
  return half;
}

// Moments of `channels` inputs whose mean square is one.
InputMoments unit_moments(const InputMoments* measured, size_t channels) {
  InputMoments unit = {std::vector<float>(channels, std::sqrt(kCommon)), std::vector<float>(channels, 1.0f)};
  if (measured == nullptr || measured->means.size() != channels || measured->variances.size() != channels) return unit;
  double square = 0;
  for (size_t i = 0; i < channels; ++i)
    square += double{measured->means[i]} * double{measured->means[i]} + double{measured->variances[i]};
  square /= static_cast<double>(channels);
  if (!(square >= std::numeric_limits<float>::min()) || !std::isfinite(square)) return unit;
  for (size_t i = 0; i < channels; ++i) {
    unit.means[i] = static_cast<float>(measured->means[i] / std::sqrt(square));
    unit.variances[i] = static_cast<float>(measured->variances[i] / square) + kLeastVariance;
  }
  return unit;
}

// All weights that make kLanes results, taps by channels.
class LaneRounding {
 public:
  LaneRounding(size_t taps, size_t channels, const InputMoments* measured)
      : moments_(unit_moments(measured, channels)), weights_(taps * channels), channel_errors_(channels) {}

  size_t size() const { return weights_.size(); }
  Lanes& exact(size_t i) { return weights_[i].exact; }
  const Lanes& rounded(size_t i) const { return weights_[i].rounded; }

  void round() {
    take_nearest();
    for (const float limit : kLimits) take_others(limit);
  }

 private:
  struct Weight {
    Lanes exact, rounded, other;  // `other`: the bfloat16 on the other side
  };

  void take_nearest() {
    for (Lanes& errors : channel_errors_) errors.fill(0);
    errors_.fill(0);
    for_each([](Weight& w, Lanes& channel_errors, Lanes& errors, float mean, float) {
      for (size_t n = 0; n < kLanes; ++n) {
        const uint32_t towards_zero = std::bit_cast<uint32_t>(w.exact[n]) & 0xffff0000u;
        const float nearest = bfloat16_to_float(float_to_bfloat16(w.exact[n]));
        const bool is_larger = std::bit_cast<uint32_t>(nearest) != towards_zero;
        const float error = nearest - w.exact[n];
        w.rounded[n] = nearest;
        // None for what bfloat16 holds: beyond a zero, say, lies a number that processors are slow with.
        w.other[n] = error == 0 ? nearest : std::bit_cast<float>(towards_zero + (is_larger ? 0 : 0x10000u));
        channel_errors[n] += error;
        errors[n] += mean * error;
      }
    });
  }

  // Changes each weight where that makes the expected square of the result's error smaller, and the weight's own square
  // not larger by more than `limit` squares of the neighbours' distance.
  void take_others(float limit) {
    for_each([limit](Weight& w, Lanes& channel_errors, Lanes& errors, float mean, float variance) {
      for (size_t n = 0; n < kLanes; ++n) {
        const float rounded = w.rounded[n], other = w.other[n];
        const float change = other - rounded;
        const auto growth = [](float error, float by) { return by * (2 * error + by); };  // of its square
        const float own = growth(rounded - w.exact[n], change);
        const float square =
            variance * (kOwn * own + kChannel * growth(channel_errors[n], change)) + growth(errors[n], mean * change);
        const bool take = (square < 0) & (own <= limit * change * change);
        const float taken = take ? change : 0;
        w.rounded[n] = take ? other : rounded;
        w.other[n] = take ? rounded : other;
        channel_errors[n] += taken;
        errors[n] += mean * taken;
      }
    });
  }

  // Calls what() for every weight with the errors that it is a part of (copies, so that compilers see them apart) and
  // its channel's moments.
  template <class What>
  void for_each(What&& what) {
    Lanes errors = errors_;
    size_t channel = 0;
    for (Weight& weight : weights_) {
      Weight w = weight;
      Lanes channel_errors = channel_errors_[channel];
      what(w, channel_errors, errors, moments_.means[channel], moments_.variances[channel]);
      weight = w;
      channel_errors_[channel] = channel_errors;
      channel = channel + 1 < channel_errors_.size() ? channel + 1 : 0;
    }
    errors_ = errors;
  }

  const InputMoments moments_;
  std::vector<Weight> weights_;
  std::vector<Lanes> channel_errors_;  // of each channel's taps together
  Lanes errors_{};                     // of all together, each times its channel's mean
};

// Where the weights of a result lie.
struct WeightPlaces {
  WeightPlaces(const ir::Dims& dims, const WeightDims& kind) {
    const size_t rank = dims.size();
    const auto leading = static_cast<size_t>(product(dims, 0, rank - 2)), a = static_cast<size_t>(dims[rank - 2]),
               b = static_cast<size_t>(dims[rank - 1]);
    taps = kind.taps ? leading : 1;
    batches = kind.taps ? 1 : leading;
    channels = kind.transposed ? b : a;
    results = kind.transposed ? a : b;
    between_channels = kind.transposed ? 1 : b;
    between_results = kind.transposed ? b : 1;
  }

  // Calls what(index among a result's weights, place) for the weights of one result.
  template <class What>
  void for_each(size_t batch, size_t result, What&& what) const {
    size_t i = 0;
    for (size_t tap = batch * taps; tap < (batch + 1) * taps; ++tap) {
      size_t place = tap * channels * results + result * between_results;
      for (size_t channel = 0; channel < channels; ++channel, place += between_channels) what(i++, place);
    }
  }

  size_t batches, taps, channels, results, between_channels, between_results;
};

}  // namespace

ir::TensorPtr round_balanced(const ir::Tensor& weights, const WeightDims& dims, const InputMoments* moments) {
  const WeightPlaces places(weights.dims, dims);
  std::vector<BFloat16> values(static_cast<size_t>(weights.element_count()));
  LaneRounding lanes(places.taps, places.channels, moments);
  for (size_t batch = 0; batch < places.batches; ++batch) {
    for (size_t first = 0; first < places.results; first += kLanes) {
      const size_t count = std::min(kLanes, places.results - first);
      for (size_t i = 0; i < lanes.size() && count < kLanes; ++i) lanes.exact(i).fill(0);
      places.for_each(batch, first, [&](size_t i, size_t place) {
        for (size_t n = 0; n < count; ++n) lanes.exact(i)[n] = float_at(weights, place + n * places.between_results);
      });
      lanes.round();
      places.for_each(batch, first, [&](size_t i, size_t place) {
        for (size_t n = 0; n < count; ++n)
          values[place + n * places.between_results] = to_bfloat16(lanes.rounded(i)[n]);
      });
    }
  }
  return ir::make_tensor<BFloat16>(ir::DType::kBFloat16, weights.dims, std::span<const BFloat16>(values));
}

}  // namespace blade::passes
