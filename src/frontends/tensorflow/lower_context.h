// What a lowering function sees of its TensorFlow node and how it adds IR nodes, inferred as they come.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/op_table.h"
#include "ir/graph.h"

namespace blade::tensorflow {

// Runs one node's inference right after it was added, so that later lowerings know ranks and dims.
class StepInference {
 public:
  explicit StepInference(ir::Graph& graph);
  ~StepInference();
  Status run(ir::NodeId id);
  // The elements of a small integer tensor that follow from shapes already known.
  std::optional<std::vector<int64_t>> known_elements(ir::ValueId id) const;

 private:
  class Context;
  std::unique_ptr<Context> context_;
};

class LowerContext {
 public:
  LowerContext(ir::Graph& graph, StepInference& inference, const NodeDef& node, int32_t origin,
               std::vector<ir::ValueId> inputs, std::vector<bool> used_outputs);

  const NodeDef& node() const { return node_; }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  ir::ValueId input(int i) const { return inputs_[i]; }
  const std::vector<ir::ValueId>& inputs() const { return inputs_; }
  bool output_used(int i) const { return i < static_cast<int>(used_outputs_.size()) && used_outputs_[i]; }

  ir::DType dtype(ir::ValueId value) const { return graph_.value(value).dtype; }
  const ir::Shape& shape(ir::ValueId value) const { return graph_.value(value).shape; }
  // The rank, or kUnimplemented when it is not known; `what` names the tensor in the reason.
  Result<int> rank(ir::ValueId value, const char* what);

  // Constants, also behind Identity nodes. Null, or kUnimplemented with a reason: "its permutation is not a constant".
  ir::TensorPtr constant(ir::ValueId value) const;
  Result<std::vector<int64_t>> ints(int input, const char* what);
  Result<int64_t> one_int(int input, const char* what);
  // The node that computes it; null for inputs and constants.
  const ir::Node* producer(ir::ValueId value) const;
  // The number that every element is, for a constant, a Fill of one, or a difference of two such (1 - rate).
  std::optional<double> uniform_value(ir::ValueId value) const;
  // `axis` counted from the front, for a tensor of `rank` dims.
  Result<int64_t> axis(int64_t axis, int rank);
  // A layout of attribute lists: the spatial entries of [n, spatial..., c] or [n, c, spatial...].
  Result<std::vector<int64_t>> spatial_ints(const char* attr, int spatial, bool channels_first, int64_t fallback);

  // Adds a node named after the TensorFlow node ("" is the node itself) and infers its outputs.
  Result<ir::ValueId> emit(ir::Op op, const std::string& suffix, std::vector<ir::ValueId> inputs, ir::Attrs attrs);
  Result<std::vector<ir::ValueId>> emit_many(ir::Op op, const std::string& suffix, std::vector<ir::ValueId> inputs,
                                             int outputs, ir::Attrs attrs);
  ir::ValueId add_constant(ir::TensorPtr tensor) { return graph_.add_constant(std::move(tensor)); }
  ir::ValueId add_ints(ir::DType dtype, const std::vector<int64_t>& values, bool scalar = false);
  // A scalar of any numeric or bool type.
  Result<ir::ValueId> add_scalar(ir::DType dtype, double value);

  // Complex numbers are two values, of which the second has no node of TensorFlow's: the imaginary part of an input,
  // kNone where all of it is 0 (or where the input is not complex).
  ir::ValueId imaginary(int i) const { return imaginary_.empty() ? ir::kNone : imaginary_[i]; }
  void set_imaginary(std::vector<ir::ValueId> parts) { imaginary_ = std::move(parts); }
  // The same node with other operands.
  LowerContext with_inputs(std::vector<ir::ValueId> inputs) const;
  Status finish_complex(std::vector<ir::ValueId> real, std::vector<ir::ValueId> imaginary);
  const std::vector<ir::ValueId>& imaginary_outputs() const { return imaginary_outputs_; }

  // `value` is a TensorArray's flow or a tensor list. Such values have no name outside, so that all that shares a list
  // is taken into one engine, or stays behind together.
  void mark_list(ir::ValueId value) { lists_.push_back(value); }
  const std::vector<ir::ValueId>& lists() const { return lists_; }

  // The TensorFlow node's outputs, in order; those left out are unused (checked by the importer).
  Status finish(std::vector<ir::ValueId> outputs);
  Status finish(Result<ir::ValueId> output);
  const std::vector<ir::ValueId>& outputs() const { return outputs_; }

 private:
  ir::ValueId spread_value(ir::ValueId value) const;  // what a tensor of one number was made from
  std::optional<double> uniform_constant(ir::ValueId value) const;

  ir::Graph& graph_;
  StepInference& inference_;
  const NodeDef& node_;
  int32_t origin_;
  std::vector<ir::ValueId> inputs_;
  std::vector<bool> used_outputs_;
  std::vector<ir::ValueId> outputs_;
  std::vector<ir::ValueId> imaginary_, imaginary_outputs_;
  std::vector<ir::ValueId> lists_;
};

}  // namespace blade::tensorflow
