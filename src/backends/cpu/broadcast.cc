// Merging of dims for broadcasting loops.
#include "backends/cpu/broadcast.h"

namespace blade::backends::cpu {

BroadcastPlan plan_broadcast(const ir::Dims& out, const std::vector<ir::Dims>& operands) {
  std::vector<ir::Dims> strides;
  for (const ir::Dims& dims : operands) strides.push_back(broadcast_strides(dims, out));
  BroadcastPlan plan;
  plan.strides.resize(operands.size());
  for (size_t d = 0; d < out.size(); ++d) {
    if (out[d] == 1) continue;
    // Dim d continues the loop before it where every operand steps over it exactly.
    bool merges = !plan.dims.empty();
    for (size_t k = 0; k < operands.size(); ++k) {
      merges = merges && plan.strides[k].back() == strides[k][d] * out[d];
    }
    if (merges) {
      plan.dims.back() *= out[d];
      for (size_t k = 0; k < operands.size(); ++k) plan.strides[k].back() = strides[k][d];
    } else {
      plan.dims.push_back(out[d]);
      for (size_t k = 0; k < operands.size(); ++k) plan.strides[k].push_back(strides[k][d]);
    }
  }
  if (plan.dims.empty()) {
    plan.dims.push_back(1);
    for (ir::Dims& own : plan.strides) own.push_back(0);
  }
  return plan;
}

std::vector<int64_t> batch_offsets(const ir::Dims& operand, const ir::Dims& out) {
  const ir::Dims batch(operand.begin(), operand.end() - 2), out_batch(out.begin(), out.end() - 2);
  const int64_t matrix = operand[operand.size() - 2] * operand.back();
  const ir::Dims strides = broadcast_strides(batch, out_batch);
  std::vector<int64_t> offsets(static_cast<size_t>(product(out_batch)));
  for (size_t i = 0; i < offsets.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t d = out_batch.size(); d-- > 0;) {
      offsets[i] += rest % out_batch[d] * strides[d] * matrix;
      rest /= out_batch[d];
    }
  }
  return offsets;
}

}  // namespace blade::backends::cpu
