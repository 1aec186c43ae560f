// FusePointwise: trees of float32 elementwise nodes whose inner results nobody else reads become one program, so that
// intermediate tensors are never written. Nothing is computed twice: a result that is broadcast stays a node of its
// own.
#include <algorithm>

#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"
#include "passes/program_builder.h"

namespace blade::passes {
namespace {

using ir::DType;
using ir::Node;
using ir::NodeId;
using ir::ValueId;

constexpr size_t kMaxGroupInstructions = 32;
constexpr size_t kMaxInputs = 8;

class TreeFuser {
 public:
  TreeFuser(Rewriter& rewriter, Node& root) : rewriter_(rewriter), root_(root) {}

  // Returns how many nodes went into the root.
  int fuse() {
    if (rewriter_.dtype(root_.outputs[0]) != DType::kFloat32 || !rewriter_.shape(root_.outputs[0]).has_rank()) return 0;
    nodes_ = {&root_};
    instructions_ = size(root_);
    while (absorb_one()) {
    }
    if (!leave_out_masks_from_outside() || nodes_.size() == 1) return 0;
    std::sort(nodes_.begin(), nodes_.end(),
              [&](const Node* a, const Node* b) { return rewriter_.position(a->id) < rewriter_.position(b->id); });
    ProgramBuilder builder;
    for (const Node* node : nodes_) builder.append(*node);
    const auto program = builder.build();
    if (!program) return 0;
    rewriter_.change(root_, ir::Op::kPointwise, builder.inputs(), ir::PointwiseAttrs{*program});
    return static_cast<int>(nodes_.size()) - 1;
  }

 private:
  static size_t size(const Node& node) { return node.get<ir::PointwiseAttrs>().program.code.size(); }

  bool is_from_outside(ValueId value) const {
    const Node* producer = rewriter_.producer(value);
    return producer == nullptr || !contains(producer);
  }

  // Nodes that read a mask from outside stay alone, with what only they read. False where the root is one.
  bool leave_out_masks_from_outside() {
    const auto reads_mask = [&](const Node* node) {
      return std::any_of(node->inputs.begin(), node->inputs.end(),
                         [&](ValueId v) { return rewriter_.dtype(v) != DType::kFloat32 && is_from_outside(v); });
    };
    const auto is_read_outside = [&](const Node* node) {
      if (node == &root_) return false;
      const auto& readers = rewriter_.readers(node->outputs[0]);
      return !std::all_of(readers.begin(), readers.end(),
                          [&](NodeId reader) { return contains(&rewriter_.graph().node(reader)); });
    };
    for (;;) {
      const auto left = std::find_if(nodes_.begin(), nodes_.end(),
                                     [&](const Node* node) { return reads_mask(node) || is_read_outside(node); });
      if (left == nodes_.end()) return true;
      if (*left == &root_) return false;
      nodes_.erase(left);
    }
  }

  bool contains(const Node* node) const { return std::find(nodes_.begin(), nodes_.end(), node) != nodes_.end(); }

  bool absorb_one() {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      for (ValueId input : nodes_[i]->inputs) {
        Node* node = rewriter_.producer(input, ir::Op::kPointwise);
        if (node == nullptr || contains(node) || !may_absorb(*node)) continue;
        nodes_.push_back(node);
        instructions_ += size(*node);
        return true;
      }
    }
    return false;
  }

  bool may_absorb(const Node& node) {
    const ValueId value = node.outputs[0];
    if (rewriter_.is_output(value) || !same_shape(rewriter_, value, root_.outputs[0])) return false;
    if (instructions_ + size(node) > kMaxGroupInstructions) return false;
    for (NodeId reader : rewriter_.readers(value)) {
      const Node& other = rewriter_.graph().node(reader);
      if (!contains(&other) || !reads_as_its_type(other, value)) return false;
    }
    return inputs_with(node) <= kMaxInputs;
  }

  // Inside a program a mask may only choose in a Select; everything else is float32.
  bool reads_as_its_type(const Node& reader, ValueId value) const {
    if (rewriter_.dtype(value) == DType::kFloat32) return true;
    if (rewriter_.dtype(value) != DType::kBool) return false;
    const auto& program = reader.get<ir::PointwiseAttrs>().program;
    for (const ir::PointwiseInstr& instr : program.code) {
      const auto is_value = [&](int16_t o) { return o >= 0 && o < program.num_inputs && reader.inputs[o] == value; };
      if (is_value(instr.b) || is_value(instr.c)) return false;
      if (is_value(instr.a) && instr.op != ir::PointwiseOp::kSelect) return false;
    }
    return true;
  }

  size_t inputs_with(const Node& extra) const {
    std::vector<ValueId> external;
    const auto count = [&](const Node& node) {
      for (ValueId input : node.inputs) {
        const bool inside = !is_from_outside(input) || rewriter_.producer(input) == &extra;
        if (!inside && std::find(external.begin(), external.end(), input) == external.end()) external.push_back(input);
      }
    };
    for (const Node* node : nodes_) count(*node);
    count(extra);
    return external.size();
  }

  Rewriter& rewriter_;
  Node& root_;
  std::vector<Node*> nodes_;
  size_t instructions_ = 0;
};

}  // namespace

Result<PassResult> fuse_pointwise(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  for (NodeId id : rewriter.order()) {
    if (rewriter.is_dead(id) || graph.node(id).op != ir::Op::kPointwise) continue;
    result.changes += TreeFuser(rewriter, graph.node(id)).fuse();
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
