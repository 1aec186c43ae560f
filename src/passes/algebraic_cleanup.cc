// AlgebraicCleanup: local rewrites that hold for all data (neutral elements, operations that undo each other, shape
// operations that do nothing), repeated until nothing changes.
#include "passes/algebraic_rules.h"
#include "passes/passes_internal.h"
#include "passes/pointwise_match.h"

namespace blade::passes {
namespace {

constexpr int kMaxSweeps = 20;  // chains settle in two or three; the bound is for termination
constexpr int kMaxRulesPerNode = 16;

bool apply_first(Rewriter& rewriter, ir::Node& node, std::span<const Rule> rules) {
  for (const Rule& rule : rules) {
    if (rule.op == node.op && rule.apply(rewriter, node)) return true;
  }
  return false;
}

int sweep(Rewriter& rewriter) {
  int changes = 0;
  const std::vector<ir::NodeId> order = rewriter.order();
  for (ir::NodeId id : order) {
    for (int i = 0; i < kMaxRulesPerNode && !rewriter.is_dead(id); ++i) {
      ir::Node& node = rewriter.graph().node(id);
      if (!apply_first(rewriter, node, elementwise_rules()) && !apply_first(rewriter, node, shape_rules())) break;
      ++changes;
    }
  }
  return changes;
}

}  // namespace

bool forward(Rewriter& rewriter, ir::Node& node, ir::ValueId value) {
  const ir::ValueId out = node.outputs[0];
  if (rewriter.dtype(out) != rewriter.dtype(value) || !same_shape(rewriter, out, value)) return false;
  return rewriter.replace(out, value);
}

Result<PassResult> algebraic_cleanup(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  for (int i = 0; i < kMaxSweeps; ++i) {
    BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
    const int changes = sweep(rewriter);
    rewriter.finish();
    result.changes += changes;
    if (changes == 0) break;
  }
  return result;
}

}  // namespace blade::passes
