#include "passes/balanced_rounding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <vector>

#include "base/half.h"
#include "passes/constants.h"

namespace blade::passes {
namespace {

// The mean square of an input, in parts: what it has for itself, what it shares with the pixels around it, and what all
// inputs share. Measured on a dozen networks; twice or half of each changes little.
constexpr float kOwn = 0.1f, kChannel = 1, kCommon = 0.1f;
// The weights nearest to the middle of their neighbours are changed first: their own errors hardly grow.
constexpr float kLimits[] = {0.125f, 0.5f, 1};

constexpr size_t kLanes = 32;  // results whose weights are rounded at once
using Lanes = std::array<float, kLanes>;

// All weights that make kLanes results, taps by channels.
class LaneRounding {
 public:
  LaneRounding(size_t taps, size_t channels) : weights_(taps * channels), channel_errors_(channels) {}

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
    for (size_t i = 0; i < size(); ++i) {
      Weight& w = weights_[i];
      Lanes& channel_errors = channel_errors_[i % channel_errors_.size()];
      for (size_t n = 0; n < kLanes; ++n) {
        const uint32_t towards_zero = std::bit_cast<uint32_t>(w.exact[n]) & 0xffff0000u;
        const float nearest = bfloat16_to_float(float_to_bfloat16(w.exact[n]));
        const bool is_larger = std::bit_cast<uint32_t>(nearest) != towards_zero;
        w.rounded[n] = nearest;
        w.other[n] = std::bit_cast<float>(is_larger ? towards_zero : towards_zero + 0x10000u);
        const float error = nearest - w.exact[n];
        channel_errors[n] += error;
        errors_[n] += error;
      }
    }
  }

  // Changes each weight where that makes the expected square of the result's error smaller, and the weight's own square
  // not larger by more than `limit` squares of the neighbours' distance.
  void take_others(float limit) {
    for (size_t i = 0; i < size(); ++i) {
      Weight& w = weights_[i];
      Lanes& channel_errors = channel_errors_[i % channel_errors_.size()];
      for (size_t n = 0; n < kLanes; ++n) {
        const float rounded = w.rounded[n], other = w.other[n];
        const float change = other - rounded;
        const auto growth = [change](float error) { return change * (2 * error + change); };  // of its square
        const float own = growth(rounded - w.exact[n]);
        const float square = kOwn * own + kChannel * growth(channel_errors[n]) + kCommon * growth(errors_[n]);
        const bool take = square < 0 && own <= limit * change * change;
        w.rounded[n] = take ? other : rounded;
        w.other[n] = take ? rounded : other;
        channel_errors[n] += take ? change : 0;
        errors_[n] += take ? change : 0;
      }
    }
  }

  std::vector<Weight> weights_;
  std::vector<Lanes> channel_errors_;  // of each channel's taps together
  Lanes errors_{};                     // of all together
};

// Where the weights of a result lie.
class WeightPlaces {
 public:
  WeightPlaces(const ir::Dims& dims, const WeightDims& kind) {
    const size_t rank = dims.size();
    const auto leading = static_cast<size_t>(product(dims, 0, rank - 2)), a = static_cast<size_t>(dims[rank - 2]),
               b = static_cast<size_t>(dims[rank - 1]);
    taps = kind.taps ? leading : 1;
    batches = kind.taps ? 1 : leading;
    channels = kind.transposed ? b : a;
    results = kind.transposed ? a : b;
    between_channels_ = kind.transposed ? 1 : b;
    between_results_ = kind.transposed ? b : 1;
  }

  // `i`: tap and channel.
  size_t at(size_t batch, size_t i, size_t result) const {
    const size_t tap = i / channels, channel = i % channels;
    return (batch * taps + tap) * channels * results + channel * between_channels_ + result * between_results_;
  }

  size_t batches, taps, channels, results;

 private:
  size_t between_channels_, between_results_;
};

}  // namespace

ir::TensorPtr round_balanced(const ir::Tensor& weights, const WeightDims& dims) {
  const WeightPlaces places(weights.dims, dims);
  std::vector<BFloat16> values(static_cast<size_t>(weights.element_count()));
  LaneRounding lanes(places.taps, places.channels);
  for (size_t batch = 0; batch < places.batches; ++batch) {
    for (size_t first = 0; first < places.results; first += kLanes) {
      const size_t count = std::min(kLanes, places.results - first);
      for (size_t i = 0; i < lanes.size(); ++i) {
        Lanes& exact = lanes.exact(i);
        exact.fill(0);
        for (size_t n = 0; n < count; ++n)  // constants may lie anywhere in a file
          std::memcpy(&exact[n], weights.data + places.at(batch, i, first + n) * sizeof(float), sizeof(float));
      }
      lanes.round();
      for (size_t i = 0; i < lanes.size(); ++i) {
        for (size_t n = 0; n < count; ++n) values[places.at(batch, i, first + n)] = BFloat16(lanes.rounded(i)[n]);
      }
    }
  }
  return ir::make_tensor<BFloat16>(ir::DType::kBFloat16, weights.dims, std::span<const BFloat16>(values));
}

}  // namespace blade::passes
