// Ops that choose elements by their values: Unique, ListDiff, DynamicPartition.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

Result<ir::PositionsAttrs> positions(LowerContext& context) {
  ir::PositionsAttrs attrs;
  if (context.node()->find_attr("out_idx") != nullptr) {
    BLADE_ASSIGN_OR_RETURN(const DataType type, type_attr(context.node(), "out_idx"));
    attrs.index_dtype = to_ir(type);
  }
  return attrs;
}

}  // namespace

// `argument`: how many outputs the op has. UniqueV2 (two inputs) takes the distinct slices along the first axis.
Status lower_unique(LowerContext& context, int argument) {
  if (context.num_inputs() > 1) {
    BLADE_ASSIGN_OR_RETURN(const std::vector<int64_t> axes, context.ints(1, "axis"));
    BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(context.input(0), "its input"));
    const bool first = axes.empty() ? rank == 1 : axes.size() == 1 && (axes[0] == 0 || axes[0] == -rank);
    if (!first) return unimplemented("it does not go along the first axis");
  }
  BLADE_ASSIGN_OR_RETURN(const ir::PositionsAttrs attrs, positions(context));
  BLADE_ASSIGN_OR_RETURN(auto values, context.emit_many(ir::Op::kUnique, "", {context.input(0)}, 3, attrs));
  values.resize(static_cast<size_t>(argument));
  return context.finish(std::move(values));
}

Status lower_list_diff(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const ir::PositionsAttrs attrs, positions(context));
  BLADE_ASSIGN_OR_RETURN(auto values, context.emit_many(ir::Op::kListDiff, "", context.inputs(), 2, attrs));
  return context.finish(std::move(values));
}

Status lower_dynamic_partition(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const int64_t parts, int_attr(context.node(), "num_partitions"));
  constexpr int64_t kMostParts = 1 << 16;
  if (parts < 1 || parts > kMostParts) return unimplemented("it has " + std::to_string(parts) + " partitions");
  BLADE_ASSIGN_OR_RETURN(auto values, context.emit_many(ir::Op::kDynamicPartition, "", context.inputs(),
                                                        static_cast<int>(parts), ir::EmptyAttrs{}));
  return context.finish(std::move(values));
}

}  // namespace blade::tensorflow
