// Rounding weights to bfloat16 so that their errors cancel in the sums they enter.
#pragma once

#include <vector>

#include "ir/types.h"

namespace blade::passes {

// How the dims of weights, [..., a, b], enter the sums of one result.
struct WeightDims {
  bool taps = false;        // the leading dims are taps of a kernel; otherwise each of them makes results of its own
  bool transposed = false;  // a are the results and b the channels that are summed; otherwise the other way round
};

// What is known of the inputs: one number for each channel that is summed.
struct InputMoments {
  std::vector<float> means, variances;
  bool operator==(const InputMoments&) const = default;
};

// float32 weights of at least two dims as bfloat16: each becomes one of its two neighbours, mostly the nearer one, and
// the other where the errors of a channel's taps, or of all that is summed, would add up. Without moments (null, or of
// another number of channels) that supposes what holds for images and behind activations: neighbouring pixels are
// alike, and all inputs have one mean.
ir::TensorPtr round_balanced(const ir::Tensor& weights, const WeightDims& dims, const InputMoments* moments = nullptr);

}  // namespace blade::passes
