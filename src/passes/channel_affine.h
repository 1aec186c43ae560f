// Elementwise operations that multiply and shift each channel by constants, as numbers in double.
#pragma once

#include <optional>
#include <vector>

#include "passes/matrix_nodes.h"

namespace blade::passes {

// scale[c] * x + shift[c] for each channel c of the last axis.
struct ChannelAffine {
  std::vector<double> scale, shift;

  static ChannelAffine identity(int64_t channels);
  bool is_finite() const;
  bool has_scale() const;  // some scale is not 1
  bool has_shift() const;  // some shift is not 0
  // What is computed by `next` after this.
  ChannelAffine then(const ChannelAffine& next) const;
};

// What `node` does to its operand x, given in `x`: BatchNorm with constant statistics, Affine, Neg, and Add, Sub, Mul
// and Div with one constant a channel. nullopt for everything else, and where the result's shape is not x's.
std::optional<ChannelAffine> channel_affine(const Rewriter& rewriter, const ir::Node& node, int64_t channels,
                                            ir::ValueId& x);

}  // namespace blade::passes
