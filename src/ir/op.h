// The op set: an enum made from ops/ops.inc, the attributes each op carries, and one table entry (inference, cost) an
// op.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/ops/attrs.h"
#include "ir/types.h"

namespace blade::ir {

struct Node;
class Graph;

enum class Op : uint16_t {
#define BLADE_OP(name, attrs, infer) k##name,
#include "ir/ops/ops.inc"
#undef BLADE_OP
};

const char* op_name(Op op);
std::optional<Op> op_from_name(std::string_view name);
inline constexpr int kNumOps = 0
#define BLADE_OP(name, attrs, infer) +1
#include "ir/ops/ops.inc"
#undef BLADE_OP
    ;

// What an op's inference function sees and sets. Contents: elements of small integer tensors as dims, where known.
class InferContext {
 public:
  virtual ~InferContext() = default;
  virtual const Node& node() const = 0;
  virtual int num_inputs() const = 0;
  virtual DType input_dtype(int i) const = 0;
  virtual const Shape& input_shape(int i) const = 0;
  virtual const Tensor* input_constant(int i) const = 0;           // nullptr if not constant
  virtual const std::vector<Dim>* input_content(int i) const = 0;  // nullptr if unknown (also for constants: set)
  virtual SymbolTable& symbols() = 0;
  virtual Dim fresh_dim(const char* why) = 0;      // depends on data
  virtual Dim fresh_element(const char* why) = 0;  // an unknown integer of any sign
  virtual void set_output(int i, DType dtype, Shape shape) = 0;
  virtual void set_output_content(int i, std::vector<Dim> content) = 0;
};

struct OpInfo {
  const char* name;
  Attrs (*default_attrs)();
  Status (*infer)(InferContext&);
};
const OpInfo& op_info(Op op);

// Inputs of a node whose elements, not only whose shape, decide the shape of its result.
std::vector<int> shape_operands(const Node& node);
// True where the result's size follows from the elements of large inputs, so that only the node's kernel can find it
// (Where, NonMaxSuppression, ...).
bool finds_its_size(const Node& node);
// Of such a node: true where the kernel finds this output's size, and not shape_operands() decide it.
bool finds_size_of(const Node& node, int output);

// Floating-point operations and bytes touched, for cost models and rooflines; shapes must be static.
struct Cost {
  double flops = 0;
  double bytes = 0;
};
Cost node_cost(const Graph& graph, const Node& node);

}  // namespace blade::ir
