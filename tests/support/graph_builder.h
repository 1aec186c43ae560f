// A fluent builder of small graphs for tests: inputs, constants, nodes, outputs, and one build() that infers and
// verifies.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "ir/graph.h"
#include "ir/text.h"

namespace blade::testing {

// The DType of a C++ element type.
template <class T>
constexpr ir::DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return ir::DType::kFloat32;
  if constexpr (std::is_same_v<T, double>) return ir::DType::kFloat64;
  if constexpr (std::is_same_v<T, int8_t>) return ir::DType::kInt8;
  if constexpr (std::is_same_v<T, int16_t>) return ir::DType::kInt16;
  if constexpr (std::is_same_v<T, int32_t>) return ir::DType::kInt32;
  if constexpr (std::is_same_v<T, int64_t>) return ir::DType::kInt64;
  if constexpr (std::is_same_v<T, uint8_t>) return ir::DType::kUInt8;
  if constexpr (std::is_same_v<T, uint16_t>) return ir::DType::kUInt16;
  if constexpr (std::is_same_v<T, uint32_t>) return ir::DType::kUInt32;
  if constexpr (std::is_same_v<T, uint64_t>) return ir::DType::kUInt64;
  if constexpr (std::is_same_v<T, bool>) return ir::DType::kBool;
  return ir::DType::kInvalid;
}

// A tensor of `values`, whose number must match `dims`.
template <class T>
ir::TensorPtr tensor(ir::Dims dims, const std::vector<T>& values) {
  auto made = ir::allocate_tensor(dtype_of<T>(), std::move(dims));
  if (!made.ok()) {
    ADD_FAILURE() << made.status().message();
    return nullptr;
  }
  EXPECT_EQ(made->tensor->element_count(), static_cast<int64_t>(values.size()));
  auto* out = reinterpret_cast<T*>(made->data);
  for (size_t i = 0; i < values.size() && i < made->tensor->bytes / sizeof(T); ++i) out[i] = values[i];
  return made->tensor;
}

// GraphBuilder b;
// auto x = b.input("x", {-1, 8});                       // -1: an unknown dim, a symbol "x.0"
// auto y = b.relu(b.matmul(x, b.constant<float>({8, 4}, weights)));
// ir::Graph g = b.output(y, "y").build();
class GraphBuilder {
 public:
  using Id = ir::ValueId;

  // -1 is a fresh symbol named "<name>.<axis>".
  Id input(const std::string& name, const std::vector<int64_t>& dims, ir::DType dtype = ir::DType::kFloat32) {
    std::vector<ir::Dim> out;
    for (size_t i = 0; i < dims.size(); ++i) {
      out.push_back(dims[i] >= 0 ? ir::Dim(dims[i]) : graph_.symbols().make_root(ir::concat(name, ".", i)));
    }
    return graph_.add_input(name, dtype, ir::Shape(std::move(out)));
  }
  Id input_of_shape(const std::string& name, ir::Shape shape, ir::DType dtype = ir::DType::kFloat32) {
    return graph_.add_input(name, dtype, std::move(shape));
  }
  Id input_of_unknown_rank(const std::string& name, ir::DType dtype = ir::DType::kFloat32) {
    return graph_.add_input(name, dtype, ir::Shape::unknown());
  }
  ir::Dim symbol(const std::string& name) { return graph_.symbols().make_root(name); }

  template <class T>
  Id constant(ir::Dims dims, const std::vector<T>& values, const std::string& name = "") {
    return graph_.add_constant(tensor<T>(std::move(dims), values), name);
  }
  // Every element the same.
  template <class T>
  Id filled(ir::Dims dims, T value, const std::string& name = "") {
    int64_t count = 1;
    for (int64_t d : dims) count *= d;
    return constant<T>(std::move(dims), std::vector<T>(static_cast<size_t>(count), value), name);
  }
  template <class T>
  Id scalar(T value) {
    return constant<T>({}, {value});
  }
  Id ints(const std::vector<int32_t>& values) {
    return constant<int32_t>({static_cast<int64_t>(values.size())}, values);
  }

  // A node with one output; attributes default to the op's, the name to "<op>__<n>".
  Id op(ir::Op op, std::vector<Id> inputs, ir::Attrs attrs, const std::string& name = "") {
    return ops(op, std::move(inputs), 1, std::move(attrs), name)[0];
  }
  Id op(ir::Op op, std::vector<Id> inputs) { return this->op(op, std::move(inputs), ir::op_info(op).default_attrs()); }
  std::vector<Id> ops(ir::Op op, std::vector<Id> inputs, int num_outputs, ir::Attrs attrs,
                      const std::string& name = "") {
    const std::string unique = name.empty() ? graph_.unique_name(ir::op_name(op)) : name;
    return graph_.add_node(op, unique, std::move(inputs), num_outputs, std::move(attrs)).outputs;
  }
  Id pointwise(ir::PointwiseOp op, std::vector<Id> inputs, float alpha = 0, float beta = 0,
               const std::string& name = "") {
    ir::PointwiseProgram program;
    program.num_inputs = static_cast<int16_t>(ir::pointwise_arity(op));
    const auto operand = [&](int i) { return static_cast<int16_t>(i < program.num_inputs ? i : -1); };
    program.code.push_back({op, 0, operand(1), operand(2), alpha, beta});
    return this->op(ir::Op::kPointwise, std::move(inputs), ir::PointwiseAttrs{std::move(program)}, name);
  }
  Id add(Id a, Id b) { return pointwise(ir::PointwiseOp::kAdd, {a, b}); }
  Id mul(Id a, Id b) { return pointwise(ir::PointwiseOp::kMul, {a, b}); }
  Id relu(Id x) { return pointwise(ir::PointwiseOp::kRelu, {x}); }
  Id matmul(Id a, Id b, bool transpose_a = false, bool transpose_b = false) {
    return op(ir::Op::kMatMul, {a, b}, ir::MatMulAttrs{transpose_a, transpose_b, {}});
  }
  Id conv(Id x, Id w, std::vector<int64_t> strides = {1, 1}, ir::Padding padding = ir::Padding::kSame,
          int64_t groups = 1, std::vector<int64_t> explicit_pads = {}) {
    ir::ConvAttrs a;
    a.dilations.assign(strides.size(), 1);
    a.strides = std::move(strides);
    a.padding = padding;
    a.explicit_pads = std::move(explicit_pads);
    a.groups = groups;
    return op(ir::Op::kConv, {x, w}, a);
  }
  Id reshape(Id x, const std::vector<int32_t>& shape) { return op(ir::Op::kReshape, {x, ints(shape)}); }
  Id shape_of(Id x, ir::DType dtype = ir::DType::kInt32) {
    return op(ir::Op::kShapeOf, {x}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, dtype});
  }

  GraphBuilder& output(Id value, const std::string& name = "") {
    outputs_.push_back(value);
    names_.push_back(name.empty() ? ir::concat("output", outputs_.size() - 1) : name);
    return *this;
  }

  // For what the calls above do not cover: control inputs, origins, odd graphs.
  ir::Graph& graph() { return graph_; }

  // Shapes inferred, structure verified; a failure fails the test. The builder is empty afterwards.
  ir::Graph build() {
    ir::Graph out = build_unchecked();
    const Status inferred = ir::infer_shapes(out);
    EXPECT_TRUE(inferred.ok()) << inferred.message();
    if (inferred.ok()) {
      const Status verified = ir::verify(out);
      EXPECT_TRUE(verified.ok()) << verified.message();
    }
    return out;
  }
  // Neither inferred nor verified, for tests of errors.
  ir::Graph build_unchecked() {
    graph_.set_outputs(std::move(outputs_), std::move(names_));
    ir::Graph out = std::move(graph_);
    graph_ = ir::Graph();
    outputs_.clear();
    names_.clear();
    return out;
  }

 private:
  ir::Graph graph_;
  std::vector<Id> outputs_;
  std::vector<std::string> names_;
};

}  // namespace blade::testing
