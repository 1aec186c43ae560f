// What the passes that fold into convolutions and matrix products need to know about them alike.
#pragma once

#include "passes/constants.h"
#include "passes/rewriter.h"

namespace blade::passes {

bool is_matrix_node(const ir::Node* node);  // Conv, ConvTranspose or MatMul
ir::PointwiseProgram& epilogue_of(ir::Node& node);
const ir::PointwiseProgram& epilogue_of(const ir::Node& node);
int first_epilogue_input(const ir::Node& node);  // node input of epilogue operand 1
// Channels of the result, where the output's last dim is known.
std::optional<int64_t> output_channels(const Rewriter& rewriter, const ir::Node& node);

// The weights' shape seen from one of its channel axes.
struct ChannelAxis {
  int64_t outer = 1, channels = 1, inner = 1;
};
std::optional<ChannelAxis> output_axis(const ir::Node& node, const ir::Dims& weight_dims);
// nullopt for grouped convolutions other than depthwise ones.
std::optional<ChannelAxis> input_axis(const ir::Node& node, const ir::Dims& weight_dims);
// The weights, each multiplied by its channel's factor; nullptr where a product overflows or memory is short.
ir::TensorPtr scaled_weights(const ir::Tensor& weights, const ChannelAxis& axis, const std::vector<double>& factors);

}  // namespace blade::passes
