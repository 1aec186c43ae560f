#include "backends/cpu/attention_plan.h"

#include <type_traits>

#include "backends/cpu/kernel_support.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

// `strides` of [batch..., row, column].
MatrixBatch matrix_batch(const ir::Dims& dims, const ir::Dims& strides) {
  MatrixBatch batch;
  batch.row = strides[strides.size() - 2];
  batch.column = strides.back();
  batch.offsets.resize(static_cast<size_t>(product(dims, 0, dims.size() - 2)));
  for (size_t i = 0; i < batch.offsets.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t d = dims.size() - 2; d-- > 0; rest /= dims[d]) batch.offsets[i] += rest % dims[d] * strides[d];
  }
  return batch;
}

}  // namespace

AttentionPlan::AttentionPlan(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  const auto strides = [&](size_t i) { return row_major_strides(request.inputs[i].dims); };
  const auto operand = [&](size_t i, const std::vector<int64_t>& perm) {
    return reference::permuted(request.inputs[i].dims, perm);
  };
  const ir::Dims q_dims = operand(0, attrs.query_perm), k_dims = operand(1, attrs.key_perm);
  const ir::Dims v_dims = operand(2, attrs.value_perm);
  const ir::Dims stored = request.outputs[0].dims, stored_strides = row_major_strides(stored);
  ir::Dims out_dims(q_dims.size()), out_strides(q_dims.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    out_dims[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
    out_strides[static_cast<size_t>(attrs.output_perm[i])] = stored_strides[i];
  }
  items = product(out_dims, 0, out_dims.size() - 2);
  queries = out_dims[out_dims.size() - 2];
  keys = v_dims[v_dims.size() - 2];
  depth = q_dims.back();
  width = v_dims.back();
  scale = attrs.scale;
  const auto read_as = [&](const ir::Dims& dims, size_t i, const std::vector<int64_t>& perm) {
    return matrix_batch(out_dims, reference::repeating(dims, reference::permuted(strides(i), perm)));
  };
  q = read_as(q_dims, 0, attrs.query_perm);
  k = read_as(k_dims, 1, attrs.key_perm);
  v = read_as(v_dims, 2, attrs.value_perm);
  out = matrix_batch(out_dims, out_strides);
  ir::Dims scores = out_dims;
  scores.back() = keys;
  masks = static_cast<int>(request.inputs.size()) - 3;
  mask_replaces = attrs.mask_replaces && masks > 0;
  for (int i = 0; i < masks; ++i) {
    mask[i] = matrix_batch(scores, broadcast_strides(request.inputs[3 + static_cast<size_t>(i)].dims, scores));
  }
}

AttentionMasks::AttentionMasks(const AttentionPlan& plan, const KernelArgs& args) {
  for (int i = 0; i < plan.masks; ++i) data[i] = input<float>(args, 3 + static_cast<size_t>(i));
}

template <class T>
Support supports_attention(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const ir::DType wanted = i < 3 ? kElement<T> : ir::DType::kFloat32;
    if (request.inputs[i].dtype != wanted)
      return Support::no(std::string("an operand is not ") + ir::dtype_name(wanted));
    if (request.inputs[i].element_count() == 0) return Support::no("an operand is empty");
  }
  if (request.outputs[0].element_count() == 0) return Support::no("the result is empty");
  const auto last = static_cast<int64_t>(attrs.query_perm.size()) - 1;
  if (attrs.query_perm.back() != last || attrs.output_perm.back() != last) {
    return Support::no("a query's or a result's elements do not lie side by side");
  }
  return Support::yes();
}
template Support supports_attention<float>(const KernelRequest&);
template Support supports_attention<BFloat16>(const KernelRequest&);

}  // namespace blade::backends::cpu
