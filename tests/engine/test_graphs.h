// Small graphs, data and an oracle (node by node with the reference kernels) shared by the engine's tests.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/reference/evaluate.h"
#include "engine/engine.h"
#include "ir/graph.h"
#include "ir/text.h"

namespace blade::engine::testing {

inline ir::TensorPtr random_tensor(std::mt19937& rng, ir::Dims dims) {
  auto made = ir::allocate_tensor(ir::DType::kFloat32, std::move(dims));
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int64_t i = 0; i < made->tensor->element_count(); ++i) reinterpret_cast<float*>(made->data)[i] = uniform(rng);
  return made->tensor;
}

inline ir::TensorPtr int_tensor(const std::vector<int32_t>& values) {
  return ir::make_tensor<int32_t>(ir::DType::kInt32, {static_cast<int64_t>(values.size())}, std::span(values));
}

// Adds nodes whose single output is named like the node and ":0".
class GraphMaker {
 public:
  ir::Graph graph;

  ir::ValueId input(const std::string& name, const std::vector<int64_t>& dims, ir::DType dtype = ir::DType::kFloat32) {
    std::vector<ir::Dim> shape;
    for (int64_t d : dims)
      shape.push_back(d >= 0 ? ir::Dim(d) : graph.symbols().make_root(name + ir::concat(".", shape.size())));
    return graph.add_input(name, dtype, ir::Shape(shape));
  }
  ir::ValueId constant(ir::TensorPtr tensor) { return graph.add_constant(std::move(tensor)); }
  ir::ValueId node(ir::Op op, const std::string& name, std::vector<ir::ValueId> inputs,
                   ir::Attrs attrs = ir::EmptyAttrs()) {
    ir::Node& made = graph.add_node(op, name, std::move(inputs), 1, std::move(attrs));
    made.origin = next_origin_++;
    graph.value(made.outputs[0]).name = name + ":0";
    return made.outputs[0];
  }
  ir::ValueId unary(ir::PointwiseOp op, const std::string& name, ir::ValueId x) {
    return node(ir::Op::kPointwise, name, {x}, ir::PointwiseAttrs{ir::PointwiseProgram::unary(op)});
  }
  ir::ValueId binary(ir::PointwiseOp op, const std::string& name, ir::ValueId a, ir::ValueId b) {
    return node(ir::Op::kPointwise, name, {a, b}, ir::PointwiseAttrs{ir::PointwiseProgram::binary(op)});
  }
  ir::ValueId foreign(const std::string& name, std::vector<ir::ValueId> inputs, const std::string& op = "PyFunc",
                      ir::DType dtype = ir::DType::kFloat32) {
    const ir::ValueId out = node(ir::Op::kForeign, name, std::move(inputs),
                                 ir::ForeignAttrs{op, "op '" + op + "' is not supported", false});
    graph.value(out).dtype = dtype;
    return out;
  }
  ir::Graph finish(std::vector<ir::ValueId> outputs) {
    std::vector<std::string> names;
    for (size_t i = 0; i < outputs.size(); ++i) names.push_back(ir::concat("out", i));
    graph.set_outputs(std::move(outputs), std::move(names));
    const Status status = ir::infer_shapes(graph);
    EXPECT_TRUE(status.ok()) << status.message();
    return std::move(graph);
  }

 private:
  int next_origin_ = 0;
};

// Outputs of `graph` as written, computed node by node.
inline std::vector<ir::TensorPtr> oracle(const ir::Graph& graph, const std::vector<ir::TensorPtr>& inputs) {
  std::unordered_map<ir::ValueId, ir::TensorPtr> values;
  for (size_t i = 0; i < inputs.size(); ++i) values[graph.inputs()[i]] = inputs[i];
  const auto get = [&](ir::ValueId v) { return graph.value(v).is_constant() ? graph.value(v).constant : values.at(v); };
  const std::vector<ir::NodeId> order = *graph.topological_order();
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    std::vector<ir::TensorPtr> operands;
    for (ir::ValueId v : node.inputs) operands.push_back(get(v));
    auto results = backends::evaluate_reference(graph, node, operands);
    EXPECT_TRUE(results.ok()) << results.status().message();
    if (!results.ok()) return {};
    for (size_t i = 0; i < node.outputs.size(); ++i) values[node.outputs[i]] = (*results)[i];
  }
  std::vector<ir::TensorPtr> out;
  for (ir::ValueId v : graph.outputs()) out.push_back(get(v));
  return out;
}

// Keeps the outputs of a run.
class Collect final : public OutputSink {
 public:
  explicit Collect(size_t count) : outputs(count) {}
  void* allocate(int index, ir::DType dtype, const ir::Dims& dims) override {
    auto made = ir::allocate_tensor(dtype, dims);
    if (!made.ok()) return nullptr;
    if (made->tensor->bytes > 0) std::memset(made->data, 0xcd, made->tensor->bytes);
    outputs[index] = made->tensor;
    return made->data;
  }
  std::vector<ir::TensorPtr> outputs;
};

inline std::vector<TensorRef> refs(const std::vector<ir::TensorPtr>& tensors) {
  std::vector<TensorRef> out;
  for (const auto& t : tensors) out.push_back({t->dtype, t->dims, t->data});
  return out;
}

inline void expect_close(const ir::Tensor& got, const ir::Tensor& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.dtype, want.dtype) << what;
  ASSERT_EQ(got.dims, want.dims) << what;
  if (want.dtype != ir::DType::kFloat32) {
    EXPECT_EQ(std::memcmp(got.data, want.data, want.bytes), 0) << what;
    return;
  }
  const auto a = got.as<float>(), b = want.as<float>();
  for (size_t i = 0; i < b.size(); ++i) {
    ASSERT_NEAR(a[i], b[i], tolerance * std::max(1.0f, std::fabs(b[i]))) << what << " at " << i;
  }
}

// A small convolutional classifier with a symbolic batch: conv, relu, conv + residual, mean, dense, softmax.
inline ir::Graph small_cnn(uint32_t seed = 1, int64_t channels = 8) {
  std::mt19937 rng(seed);
  GraphMaker m;
  ir::ConvAttrs same;
  same.strides = same.dilations = {1, 1};
  same.padding = ir::Padding::kSame;
  const auto x = m.input("x", {-1, 8, 8, 3});
  auto y = m.node(ir::Op::kConv, "conv1", {x, m.constant(random_tensor(rng, {3, 3, 3, channels}))}, same);
  y = m.unary(ir::PointwiseOp::kRelu, "relu1", y);
  auto z = m.node(ir::Op::kConv, "conv2", {y, m.constant(random_tensor(rng, {1, 1, channels, channels}))}, same);
  z = m.node(ir::Op::kBatchNorm, "bn",
             {z, m.constant(random_tensor(rng, {channels})), m.constant(random_tensor(rng, {channels})),
              m.constant(random_tensor(rng, {channels})),
              m.constant(ir::make_tensor<float>(ir::DType::kFloat32, {channels},
                                                std::span<const float>(std::vector<float>(channels, 0.5f))))},
             ir::BatchNormAttrs{});
  z = m.binary(ir::PointwiseOp::kAdd, "add", z, y);
  z = m.unary(ir::PointwiseOp::kRelu, "relu2", z);
  z = m.node(ir::Op::kReduce, "mean", {z}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, false});
  z = m.node(ir::Op::kMatMul, "dense", {z, m.constant(random_tensor(rng, {channels, 10}))}, ir::MatMulAttrs{});
  z = m.node(ir::Op::kSoftmax, "softmax", {z}, ir::SoftmaxAttrs{});
  return m.finish({z});
}

// Many small ops over a symbolic batch: views, in-place candidates, several readers, outputs of every kind.
inline ir::Graph random_graph(std::mt19937& rng, int nodes) {
  GraphMaker m;
  constexpr int64_t kWidth = 6;
  // All values are [batch, kWidth]; longer detours come back to that.
  std::vector<ir::ValueId> values = {m.input("a", {-1, kWidth}), m.input("b", {-1, kWidth})};
  const auto pick = [&] { return values[rng() % values.size()]; };
  const auto near = [&] { return values[values.size() - 1 - rng() % std::min<size_t>(values.size(), 3)]; };
  const auto target = [&](std::vector<int32_t> dims) { return m.constant(int_tensor(dims)); };
  for (int i = 0; i < nodes; ++i) {
    const std::string name = ir::concat("n", i);
    switch (rng() % 10) {
      case 0:
        values.push_back(m.unary(ir::PointwiseOp::kTanh, name, near()));
        break;
      case 1:
        values.push_back(m.unary(ir::PointwiseOp::kRelu, name, near()));
        break;
      case 2:
        values.push_back(m.binary(ir::PointwiseOp::kAdd, name, near(), pick()));
        break;
      case 3:
        values.push_back(m.binary(ir::PointwiseOp::kMaximum, name, near(), near()));
        break;
      case 4:
        values.push_back(m.node(ir::Op::kIdentity, name, {near()}, ir::IdentityAttrs{}));
        break;
      case 5: {
        const auto cube = m.node(ir::Op::kReshape, name + "/cube", {near(), target({-1, 2, 3})});
        const auto turned = m.node(ir::Op::kTranspose, name + "/turn", {cube}, ir::PermAttrs{{0, 2, 1}});
        values.push_back(m.node(ir::Op::kReshape, name, {turned, target({-1, kWidth})}));
        break;
      }
      case 6: {
        const auto wide = m.node(ir::Op::kExpandDims, name + "/wide", {near()}, ir::AxisAttrs{1});
        const auto soft = m.node(ir::Op::kSoftmax, name + "/soft", {wide}, ir::SoftmaxAttrs{});
        values.push_back(m.node(ir::Op::kSqueeze, name, {soft}, ir::AxesAttrs{{1}}));
        break;
      }
      case 7: {
        const auto both = m.node(ir::Op::kConcat, name + "/both", {near(), pick()}, ir::AxisAttrs{1});
        values.push_back(m.node(ir::Op::kMatMul, name, {both, m.constant(random_tensor(rng, {2 * kWidth, kWidth}))},
                                ir::MatMulAttrs{}));
        break;
      }
      case 8: {
        const auto mean =
            m.node(ir::Op::kReduce, name + "/mean", {near()}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1}, true});
        values.push_back(m.binary(ir::PointwiseOp::kSub, name, near(), mean));
        break;
      }
      default: {
        ir::Node& split = m.graph.add_node(ir::Op::kSplit, name + "/split", {near()}, 2, ir::SplitAttrs{1, {}});
        const std::vector<ir::ValueId> halves = split.outputs;
        values.push_back(m.node(ir::Op::kConcat, name, {halves[1], halves[0]}, ir::AxisAttrs{1}));
      }
    }
  }
  std::vector<ir::ValueId> outputs = {values.back(), near()};
  if (rng() % 3 == 0) outputs.push_back(pick());
  if (rng() % 4 == 0) outputs.push_back(outputs[0]);
  return m.finish(outputs);
}

}  // namespace blade::engine::testing
