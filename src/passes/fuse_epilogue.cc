// FuseEpilogue: elementwise work on the result of a convolution or matrix product (bias, activation, residual, scale)
// moves into its epilogue program, where it costs no pass over memory.
#include <algorithm>

#include "passes/matrix_nodes.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"
#include "passes/program_builder.h"
#include "passes/sink_reshape.h"

namespace blade::passes {
namespace {

using ir::Node;
using ir::NodeId;
using ir::ValueId;

constexpr int kMaxSweeps = 8;
constexpr size_t kMaxConeNodes = 16;
constexpr size_t kMaxEpilogueInstructions = 32;
constexpr size_t kMaxOperands = 8;
constexpr ValueId kRawResult = -2;  // what the node computes before its epilogue

// The value, an operand of elementwise work of that result's shape, as an epilogue operand: a scalar, a [channels]
// vector or shaped like the result; kNone where it is neither. Constants of other dims that hold the same elements are
// reshaped.
ValueId as_operand(Rewriter& rewriter, ValueId value, const ir::Shape& result, bool make) {
  const ir::Shape& shape = rewriter.shape(value);
  const ir::Dim channels = result.dim(-1);
  if (shape == result || shape.rank() == 0) return value;
  if (shape.rank() == 1 && shape.dim(0) == channels) return value;
  const ir::TensorPtr tensor = rewriter.graph().value(value).constant;
  if (tensor == nullptr) return ir::kNone;
  const int64_t count = tensor->element_count();
  const bool is_vector = channels.is_known() && count == channels.value() && shape.dim(-1) == channels;
  if (count != 1 && !is_vector) return ir::kNone;
  if (!make) return value;
  return rewriter.add_constant(with_dims(tensor, count == 1 ? ir::Dims{} : ir::Dims{count}), "");
}

class Fuser {
 public:
  Fuser(Rewriter& rewriter, Node& matrix)
      : rewriter_(rewriter), matrix_(matrix), shape_(rewriter.shape(matrix.outputs[0])) {}

  // The node that now does what `matrix` and its elementwise readers did; nullptr where nothing was fused.
  Node* fuse() {
    if (!shape_.has_rank() || !find_cone()) return nullptr;
    ProgramBuilder builder;
    start(builder);
    for (const Node* node : cone_) builder.append(*node);
    const auto program = builder.build();
    if (!program || program->code.size() > kMaxEpilogueInstructions || builder.inputs().size() > kMaxOperands)
      return nullptr;
    const int first = first_epilogue_input(matrix_);
    std::vector<ValueId> inputs(matrix_.inputs.begin(), matrix_.inputs.begin() + first);
    for (size_t i = 1; i < builder.inputs().size(); ++i) {
      inputs.push_back(as_operand(rewriter_, builder.inputs()[i], shape_, true));
    }
    Node& root = *cone_.back();
    ir::Attrs attrs = matrix_.attrs;
    rewriter_.swap_identity(root, matrix_);
    rewriter_.change(root, matrix_.op, std::move(inputs), std::move(attrs));
    epilogue_of(root) = *program;
    return &root;
  }

 private:
  // Elementwise nodes through which everything computed from the result flows, until it is one value again.
  bool find_cone() {
    std::vector<Node*> frontier;
    const auto follow = [&](ValueId value) {
      for (NodeId id : rewriter_.readers(value)) {
        Node* node = &rewriter_.graph().node(id);
        if (std::find(frontier.begin(), frontier.end(), node) == frontier.end()) frontier.push_back(node);
      }
    };
    if (rewriter_.is_output(matrix_.outputs[0])) return false;
    follow(matrix_.outputs[0]);
    while (!frontier.empty()) {
      const auto next = std::min_element(frontier.begin(), frontier.end(), [&](const Node* a, const Node* b) {
        return rewriter_.position(a->id) < rewriter_.position(b->id);
      });
      Node* node = *next;
      frontier.erase(next);
      if (!is_eligible(*node) || cone_.size() == kMaxConeNodes) return false;
      cone_.push_back(node);
      if (frontier.empty()) return operands_fit();
      if (rewriter_.is_output(node->outputs[0])) return false;
      follow(node->outputs[0]);
    }
    return false;
  }

  bool is_eligible(const Node& node) const {
    return node.op == ir::Op::kPointwise && is_float32(rewriter_, node) && rewriter_.shape(node.outputs[0]) == shape_;
  }

  bool operands_fit() {
    for (const Node* node : cone_) {
      for (ValueId input : node->inputs) {
        if (as_operand(rewriter_, input, shape_, false) == ir::kNone) return false;
      }
    }
    return true;
  }

  void start(ProgramBuilder& builder) const {
    if (epilogue_of(matrix_).empty()) {
      builder.add_input(matrix_.outputs[0]);
      return;
    }
    std::vector<ValueId> inputs{kRawResult};
    inputs.insert(inputs.end(), matrix_.inputs.begin() + first_epilogue_input(matrix_), matrix_.inputs.end());
    for (ValueId input : inputs) builder.add_input(input);
    builder.append(epilogue_of(matrix_), inputs, matrix_.outputs[0]);
  }

  Rewriter& rewriter_;
  Node& matrix_;
  const ir::Shape shape_;
  std::vector<Node*> cone_;
};

// Activations that were recognized only now, and residuals, on reshaped results. Gives the number of changes.
Result<int> sink_reshapes(ir::Graph& graph) {
  int changes = 0;
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    const int before = changes;
    for (NodeId id : rewriter.order()) {
      if (rewriter.is_dead(id) || graph.node(id).op != ir::Op::kPointwise) continue;
      if (sink_reshape(rewriter, graph.node(id), /*and_residuals=*/true)) ++changes;
    }
    rewriter.finish();
    if (changes == before) break;
  }
  return changes;
}

}  // namespace

Result<PassResult> fuse_epilogue(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(result.changes, sink_reshapes(graph));
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  // Last ones first: of two convolutions that are added, the one that runs later takes the addition.
  const std::vector<NodeId> order(rewriter.order().rbegin(), rewriter.order().rend());
  for (NodeId id : order) {
    if (rewriter.is_dead(id) || !is_matrix_node(&graph.node(id))) continue;
    for (Node* node = &graph.node(id); node != nullptr;) {
      node = Fuser(rewriter, *node).fuse();
      result.changes += node != nullptr ? 1 : 0;
    }
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
