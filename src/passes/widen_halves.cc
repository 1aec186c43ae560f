// WidenHalves: what is stored in float16 or bfloat16 is computed in float32, whose kernels are the fast ones; only
// what enters and leaves the region, and what moves without being computed, stays narrow. Results are rounded once, at
// the end, so they are nearer to the true ones than those of a chain that rounds after every node.
#include <algorithm>
#include <cstring>

#include "base/half.h"
#include "ir/half_types.h"
#include "ir/infer.h"
#include "ir/op_classes.h"
#include "passes/passes_internal.h"
#include "passes/rewriter.h"

namespace blade::passes {
namespace {

using ir::DType;
using ir::Node;
using ir::Op;
using ir::ValueId;

// Instructions whose result jumps where a quotient is rounded, or that ask for the neighbours of a number.
bool depends_on_rounding(const Node& node) {
  for (const ir::PointwiseInstr& instr : node.get<ir::PointwiseAttrs>().program.code) {
    switch (instr.op) {
      case ir::PointwiseOp::kFloorDiv:
      case ir::PointwiseOp::kTruncDiv:
      case ir::PointwiseOp::kNextAfter:
        return true;
      default:
        break;
    }
  }
  return false;
}

// Segments without elements get the least or greatest number of the type.
bool depends_on_range(const Node& node) {
  const auto& attrs = node.get<ir::SegmentReduceAttrs>();
  return !attrs.empty_is_zero && (attrs.kind == ir::ReduceKind::kMax || attrs.kind == ir::ReduceKind::kMin);
}

bool computes(const Node& node) {
  switch (node.op) {
    case Op::kPointwise:
      return !depends_on_rounding(node);
    case Op::kSegmentReduce:
      return !depends_on_range(node);
    case Op::kConv:
    case Op::kConvTranspose:
    case Op::kMatMul:
    case Op::kEinsum:
    case Op::kAttention:
    case Op::kBatchNorm:
    case Op::kLayerNorm:
    case Op::kMoments:
    case Op::kLrn:
    case Op::kPool:
    case Op::kDilation:
    case Op::kSoftmax:
    case Op::kReduce:
    case Op::kArgReduce:
    case Op::kCumulative:
    case Op::kTopK:
    case Op::kSearchSorted:
    case Op::kBlockLstm:
    case Op::kRecurrence:
    case Op::kResize:
    case Op::kCropAndResize:
      return true;
    default:
      return false;
  }
}

// Moves elements of input 0: done in float32 where they are that already.
bool moves(const Node& node) {
  if (ir::is_view_op(node.op)) return true;
  switch (node.op) {
    case Op::kTranspose:
    case Op::kSlice:
    case Op::kStridedSlice:
    case Op::kReverse:
    case Op::kTile:
    case Op::kBroadcastTo:
      return true;
    default:
      return false;
  }
}

class Widener {
 public:
  explicit Widener(ir::Graph& graph) : graph_(graph) {}

  Result<int> run() {
    BLADE_ASSIGN_OR_RETURN(const auto order, graph_.topological_order());
    int changes = 0;
    for (ir::NodeId id : order) {
      const Node& node = graph_.node(id);
      const bool halves = std::any_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) { return half(v); }) ||
                          std::any_of(node.outputs.begin(), node.outputs.end(), [&](ValueId v) { return half(v); });
      if (node.op == Op::kCast && half(node.inputs[0]) && widened(node.inputs[0]) != ir::kNone) {
        graph_.node(id).inputs[0] = widened(node.inputs[0]);
        ++changes;
        continue;
      }
      const bool wide_already = moves(node) && half(node.inputs[0]) && widened(node.inputs[0]) != ir::kNone;
      if (!halves || !(computes(node) || wide_already)) continue;
      BLADE_RETURN_IF_ERROR(widen(id));
      ++changes;
    }
    return changes;
  }

 private:
  bool half(ValueId value) const { return is_half(graph_.value(value).dtype); }
  ValueId widened(ValueId value) const {
    return static_cast<size_t>(value) < wide_.size() ? wide_[static_cast<size_t>(value)] : ir::kNone;
  }
  void set_widened(ValueId value, ValueId wide) {
    if (static_cast<size_t>(value) >= wide_.size()) wide_.resize(static_cast<size_t>(value) + 1, ir::kNone);
    wide_[static_cast<size_t>(value)] = wide;
  }

  // A new node that makes the wide outputs, and one cast for each output back to what its readers know; casts that
  // nobody reads in the end are removed as dead.
  Status widen(ir::NodeId id) {
    std::vector<ValueId> inputs = graph_.node(id).inputs;
    for (ValueId& input : inputs) {
      if (!half(input)) continue;
      BLADE_ASSIGN_OR_RETURN(input, wide_version(input, id));
    }
    const std::vector<ValueId> outputs = graph_.node(id).outputs;
    const std::string name = graph_.node(id).name;
    const int32_t origin = graph_.node(id).origin;
    Node& made = graph_.add_node(graph_.node(id).op, graph_.unique_name(name + "/wide"), std::move(inputs),
                                 static_cast<int>(outputs.size()), graph_.node(id).attrs);
    made.origin = origin;
    const std::vector<ValueId> fresh = made.outputs;
    for (size_t i = 0; i < outputs.size(); ++i) {
      ir::Value& to = graph_.value(fresh[i]);
      const ir::Value& from = graph_.value(outputs[i]);
      to.shape = from.shape;
      to.dtype = is_half(from.dtype) ? DType::kFloat32 : from.dtype;
      if (is_half(from.dtype)) {
        Node& cast =
            graph_.add_node(Op::kCast, graph_.unique_name(name + "/narrow"), {fresh[i]}, 1, ir::CastAttrs{from.dtype});
        cast.origin = origin;
        const ValueId narrow = cast.outputs[0];
        take_over(outputs[i], narrow);
        set_widened(narrow, fresh[i]);
      } else {
        take_over(outputs[i], fresh[i]);
      }
    }
    graph_.remove_node(id);
    return Status();
  }

  void take_over(ValueId from, ValueId to) {
    graph_.value(to).dtype = graph_.value(from).dtype;
    graph_.value(to).shape = graph_.value(from).shape;
    graph_.replace_uses(from, to);
  }

  Result<ValueId> wide_version(ValueId value, ir::NodeId made_for) {
    if (const ValueId known = widened(value); known != ir::kNone) return known;
    ValueId wide = ir::kNone;
    if (graph_.value(value).is_constant()) {
      BLADE_ASSIGN_OR_RETURN(wide, wide_constant(*graph_.value(value).constant));
    } else {
      Node& cast = graph_.add_node(Op::kCast, graph_.unique_name(graph_.node(made_for).name + "/widen"), {value}, 1,
                                   ir::CastAttrs{DType::kFloat32});
      cast.origin = graph_.node(made_for).origin;
      wide = cast.outputs[0];
      graph_.value(wide).dtype = DType::kFloat32;
      graph_.value(wide).shape = graph_.value(value).shape;
    }
    set_widened(value, wide);
    return wide;
  }

  Result<ValueId> wide_constant(const ir::Tensor& tensor) {
    BLADE_ASSIGN_OR_RETURN(ir::NewTensor made, ir::allocate_tensor(DType::kFloat32, tensor.dims));
    auto* to = reinterpret_cast<float*>(made.data);
    const bool brain = tensor.dtype == DType::kBFloat16;
    for (size_t i = 0; i < tensor.bytes / 2; ++i) {
      uint16_t bits = 0;
      std::memcpy(&bits, tensor.data + 2 * i, sizeof(bits));
      to[i] = brain ? bfloat16_to_float(bits) : float16_to_float(bits);
    }
    return graph_.add_constant(made.tensor);
  }

  ir::Graph& graph_;
  std::vector<ValueId> wide_;  // of half values: the float32 value with the same numbers
};

}  // namespace

Result<PassResult> widen_halves(ir::Graph& graph, const PassOptions&) {
  Widener widener(graph);
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(result.changes, widener.run());
  graph.remove_dead_nodes();
  return result;
}

}  // namespace blade::passes
