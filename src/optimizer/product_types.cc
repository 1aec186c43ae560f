#include "optimizer/product_types.h"

#include "ir/op_classes.h"

namespace blade::optimizer {

ProductTypes product_types(const ir::Graph& graph) {
  const std::vector<bool> needed = ir::nodes_that_outputs_need(graph);
  ProductTypes types;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!needed[id]) continue;
    const ir::Node& node = graph.node(id);
    // As imported: Einsum has not become MatMul yet, and attention is the products that it will be recognized in.
    if (!ir::multiplies_matrices(node.op) && node.op != ir::Op::kEinsum) continue;
    const ir::DType type = graph.value(node.outputs[0]).dtype;
    ++types.all;
    types.float16 += type == ir::DType::kFloat16;
    types.bfloat16 += type == ir::DType::kBFloat16;
  }
  return types;
}

}  // namespace blade::optimizer
