#include "optimizer/product_types.h"

namespace blade::optimizer {

ProductTypes product_types(const ir::Graph& graph) {
  const std::vector<bool> needed = ir::nodes_that_outputs_need(graph);
  ProductTypes types;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!needed[id]) continue;
    const ir::Node& node = graph.node(id);
    const bool is_product = node.op == ir::Op::kConv || node.op == ir::Op::kConvTranspose ||
                            node.op == ir::Op::kMatMul || node.op == ir::Op::kEinsum;
    if (!is_product) continue;
    const ir::DType type = graph.value(node.outputs[0]).dtype;
    ++types.all;
    types.float16 += type == ir::DType::kFloat16;
    types.bfloat16 += type == ir::DType::kBFloat16;
  }
  return types;
}

}  // namespace blade::optimizer
