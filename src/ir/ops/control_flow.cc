// If, While, SetRows and AppendRow: what the results of branches and loops are known to be, whatever runs.
#include <algorithm>
#include <unordered_map>
#include <utility>

#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// What is known of a tensor inside a graph that a node holds.
struct Known {
  DType dtype = DType::kInvalid;
  Shape shape;
};

// The node's graphs have symbols of their own: an outer symbol stands for one root inside, and back.
class Inside {
 public:
  explicit Inside(InferContext& c) : c_(c) {}

  // `shape` of the node's operand, in the symbols that every graph of the node starts with.
  Shape enter(const Shape& shape) {
    Shape out = shape;
    for (int i = 0; i < out.rank(); ++i) {
      const Dim d = out.dim(i);
      if (d.is_known()) continue;
      const auto [it, is_new] = roots_.try_emplace(d.symbol_id(), Dim());
      if (is_new) it->second = fresh(d);
      out.set_dim(i, it->second);
    }
    return out;
  }
  // A root that stands for nothing outside.
  Dim fresh(Dim outer = Dim(0)) {
    const Dim root = symbols_.make_root(concat("operand.", outer_.size()));
    outer_.push_back(outer);
    return root;
  }
  // Made by fresh(): any size will do.
  bool is_free(Dim d) const {
    return !d.is_known() && static_cast<size_t>(d.symbol_id()) < outer_.size() && outer_[d.symbol_id()].is_known();
  }
  // A shape found inside, in the node's own symbols; sizes that only the inside knows are fresh.
  Shape leave(const Shape& shape) {
    Shape out = shape;
    for (int i = 0; i < out.rank(); ++i) {
      const Dim d = out.dim(i);
      if (d.is_known()) continue;
      const auto id = static_cast<size_t>(d.symbol_id());
      const bool stands = id < outer_.size() && !outer_[id].is_known();
      out.set_dim(i, stands ? outer_[id] : c_.fresh_dim("size"));
    }
    return out;
  }

  // Types and shapes of the outputs of `graph` for these inputs; elements that are known outside are known inside.
  Result<std::vector<Known>> infer(const Graph& graph, const std::vector<Known>& inputs, size_t first_fixed) {
    Graph inner = graph.clone();
    inner.symbols() = symbols_;
    for (ValueId id = 0; id < inner.num_values(); ++id) {
      Value& value = inner.value(id);
      if (!value.is_constant()) value.shape = Shape::unknown();
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      Value& value = inner.value(inner.inputs()[i]);
      value.dtype = inputs[i].dtype;
      value.shape = inputs[i].shape;
      if (i < first_fixed) continue;
      if (TensorPtr constant = constant_input(static_cast<int>(i) + operand_offset_)) {
        const ValueId id = inner.add_constant(std::move(constant));
        inner.replace_uses(inner.inputs()[i], id);
      }
    }
    BLADE_RETURN_IF_ERROR(infer_shapes(inner).with_context(concat("Inside '", c_.node().name, "'")));
    std::vector<Known> out;
    const size_t shared = symbols_.size();  // ids behind these mean nothing outside `inner`
    for (ValueId v : inner.outputs()) {
      Known known = {inner.value(v).dtype, inner.value(v).shape};
      for (int i = 0; i < known.shape.rank(); ++i) {
        const Dim d = known.shape.dim(i);
        if (!d.is_known() && static_cast<size_t>(d.symbol_id()) >= shared) known.shape.set_dim(i, fresh());
      }
      out.push_back(std::move(known));
    }
    return out;
  }

  // Operand i of the graphs is the node's input i + offset.
  void set_operand_offset(int offset) { operand_offset_ = offset; }

 private:
  TensorPtr constant_input(int i) {
    if (i >= c_.num_inputs()) return nullptr;
    const auto elements = constant_elements(c_, i);
    const auto dims = c_.input_shape(i).static_dims();
    if (!elements || !dims || count_dims(*dims, 0, dims->size()) != static_cast<int64_t>(elements->size())) {
      return nullptr;
    }
    if (c_.input_dtype(i) == DType::kInt64) {
      return make_tensor<int64_t>(DType::kInt64, *dims, std::span<const int64_t>(*elements));
    }
    if (c_.input_dtype(i) != DType::kInt32) return nullptr;
    const std::vector<int32_t> narrow(elements->begin(), elements->end());
    return make_tensor<int32_t>(DType::kInt32, *dims, std::span<const int32_t>(narrow));
  }

  InferContext& c_;
  SymbolTable symbols_;
  std::unordered_map<int32_t, Dim> roots_;  // outer symbol -> root inside
  std::vector<Dim> outer_;                  // root id -> outer symbol, or a number for none
  int operand_offset_ = 0;
};

Status check_interface(InferContext& c, const SubGraph& graph, size_t inputs, size_t outputs, const char* what) {
  if (graph == nullptr) return infer_error(c, "has no ", what);
  if (graph->inputs().size() == inputs && graph->outputs().size() == outputs) return Status();
  return infer_error(c, "has ", what, " of ", graph->inputs().size(), " inputs and ", graph->outputs().size(),
                     " outputs, expected ", inputs, " and ", outputs);
}

Status check_types(InferContext& c, const Graph& graph, int offset, const char* what) {
  const size_t given_operands = static_cast<size_t>(c.num_inputs() - offset);
  for (size_t i = 0; i < std::min(graph.inputs().size(), given_operands); ++i) {
    const DType inside = graph.value(graph.inputs()[i]).dtype, given = c.input_dtype(static_cast<int>(i) + offset);
    if (inside == given || inside == DType::kInvalid || given == DType::kInvalid) continue;
    return infer_error(c, "gives ", what, " operand ", i, " of type ", dtype_name(given), ", expected ",
                       dtype_name(inside));
  }
  return Status();
}

// Dims that may differ between `a` and `b` become fresh roots; nullopt where nothing of `a` changes.
std::optional<Shape> widened(Inside& inside, const Shape& a, const Shape& b) {
  if (!a.has_rank() || a == b) return std::nullopt;
  if (!b.has_rank() || a.rank() != b.rank()) return Shape::unknown();
  Shape out = a;
  bool changed = false;
  for (int i = 0; i < a.rank(); ++i) {
    if (a.dim(i) == b.dim(i) || inside.is_free(a.dim(i))) continue;
    out.set_dim(i, inside.fresh());
    changed = true;
  }
  return changed ? std::optional(out) : std::nullopt;
}

}  // namespace

// A condition of type bool or integer, then the operands of every branch.
Status infer_if(InferContext& c) {
  const auto& branches = c.node().get<SubGraphsAttrs>().graphs;
  const auto outputs = static_cast<int>(c.node().outputs.size());
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, kAnyNumber, outputs));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 0, "a condition"));
  const DType condition = c.input_dtype(0);
  if (condition != DType::kBool && condition != DType::kInt32 && condition != DType::kInt64 &&
      condition != DType::kInvalid) {
    return infer_error(c, "has a condition of type ", dtype_name(condition), ", expected bool, int32 or int64");
  }
  if (branches.empty()) return infer_error(c, "has no branches");
  Inside inside(c);
  inside.set_operand_offset(1);
  std::vector<Known> operands;
  for (int i = 1; i < c.num_inputs(); ++i) operands.push_back({c.input_dtype(i), inside.enter(c.input_shape(i))});
  std::vector<Known> joined;
  bool any = false;
  Status refused;
  for (const SubGraph& branch : branches) {
    BLADE_RETURN_IF_ERROR(check_interface(c, branch, operands.size(), static_cast<size_t>(outputs), "a branch"));
    BLADE_RETURN_IF_ERROR(check_types(c, *branch, 1, "a branch"));
    auto inferred = inside.infer(*branch, operands, 0);
    if (!inferred.ok()) {  // it may be there for operands of other shapes: an error when it is taken
      refused = inferred.status();
      continue;
    }
    std::vector<Known> results = std::move(inferred).value();
    if (!std::exchange(any, true)) {
      joined = std::move(results);
      continue;
    }
    for (size_t i = 0; i < joined.size(); ++i) {
      if (joined[i].dtype != results[i].dtype) {
        return infer_error(c, "has branches that give output ", i, " as ", dtype_name(joined[i].dtype), " and ",
                           dtype_name(results[i].dtype), ", expected one type");
      }
      if (auto wider = widened(inside, joined[i].shape, results[i].shape)) joined[i].shape = std::move(*wider);
    }
  }
  if (!any) return refused;
  for (int i = 0; i < outputs; ++i) c.set_output(i, joined[i].dtype, inside.leave(joined[i].shape));
  return Status();
}

// Variables first (as many as there are outputs), then operands that stay the same in all iterations.
Status infer_while(InferContext& c) {
  const auto& graphs = c.node().get<SubGraphsAttrs>().graphs;
  const size_t variables = c.node().outputs.size(), operands = static_cast<size_t>(c.num_inputs());
  if (graphs.size() != 2 && graphs.size() != 3) {
    return infer_error(c, "has ", graphs.size(), " graphs, expected a condition, a body and perhaps a preamble");
  }
  if (operands < variables) return infer_error(c, "has ", operands, " inputs for ", variables, " variables");
  BLADE_RETURN_IF_ERROR(check_interface(c, graphs[0], operands, 1, "a condition"));
  const SubGraph preamble = graphs.size() == 3 ? graphs[2] : nullptr;
  const size_t prepared = preamble != nullptr ? preamble->outputs().size() : 0;
  if (preamble != nullptr) BLADE_RETURN_IF_ERROR(check_interface(c, preamble, operands, prepared, "a preamble"));
  BLADE_RETURN_IF_ERROR(check_interface(c, graphs[1], operands + prepared, variables, "a body"));
  for (const SubGraph& graph : graphs) BLADE_RETURN_IF_ERROR(check_types(c, *graph, 0, "a loop"));
  Inside inside(c);
  std::vector<Known> state;
  for (size_t i = 0; i < operands; ++i) {
    const int operand = static_cast<int>(i);
    state.push_back({c.input_dtype(operand), inside.enter(c.input_shape(operand))});
  }
  // Every round makes at least one dim of one variable less known, so this ends.
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<Known> inputs = state;
    if (preamble != nullptr) {
      BLADE_ASSIGN_OR_RETURN(const std::vector<Known> made, inside.infer(*preamble, state, variables));
      inputs.insert(inputs.end(), made.begin(), made.end());
    }
    BLADE_ASSIGN_OR_RETURN(const std::vector<Known> results, inside.infer(*graphs[1], inputs, variables));
    for (size_t i = 0; i < variables; ++i) {
      if (results[i].dtype != state[i].dtype) {
        return infer_error(c, "has a body that gives variable ", i, " of type ", dtype_name(state[i].dtype), " as ",
                           dtype_name(results[i].dtype));
      }
      if (auto wider = widened(inside, state[i].shape, results[i].shape)) {
        state[i].shape = std::move(*wider);
        changed = true;
      }
    }
  }
  for (size_t i = 0; i < variables; ++i) {
    c.set_output(static_cast<int>(i), state[i].dtype, inside.leave(state[i].shape));
  }
  return Status();
}

// list [n, element...], an index or a vector of them, the elements that go there.
Status infer_set_rows(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "a list"));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "indices"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 2));
  const Shape index = c.input_shape(1), rows = c.input_shape(2);
  if (index.has_rank() && index.rank() > 1) {
    return infer_error(c, "has indices of shape ", show(c, index), ", expected a scalar or a vector");
  }
  if (!index.has_rank() || !rows.has_rank() || rows.rank() < index.rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  std::vector<Dim> dims = {input_dim(c, 0, 0, "length")};
  dims.insert(dims.end(), rows.dims().begin() + index.rank(), rows.dims().end());
  c.set_output(0, c.input_dtype(0), Shape(std::move(dims)));
  return Status();
}

// list [n, element...], an element -> [n + 1, element...]
Status infer_append_row(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_min_rank(c, 0, 1, "a list"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  const Shape row = c.input_shape(1);
  if (!row.has_rank()) {
    c.set_output(0, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  std::vector<Dim> dims = {c.symbols().add(input_dim(c, 0, 0, "length"), 1)};
  dims.insert(dims.end(), row.dims().begin(), row.dims().end());
  c.set_output(0, c.input_dtype(0), Shape(std::move(dims)));
  return Status();
}

}  // namespace blade::ir
