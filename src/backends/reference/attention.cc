// Scaled dot product attention by definition.
#include <algorithm>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// An operand as the formula reads it.
struct View {
  Array<double> array;
  ir::Dims dims, strides;

  View(const Call& call, int i, const std::vector<int64_t>& perm)
      : array(read<double>(call, i)),
        dims(permuted(array.dims, perm)),
        strides(permuted(strides_of(array.dims), perm)) {}
  double at(ir::Dims index, int64_t row, int64_t column) const {
    index[index.size() - 2] = row;
    index.back() = column;
    return array[offset_of(index, strides)];
  }
};

}  // namespace

Status run_attention(const Call& call) {
  const auto& attrs = call.node.get<ir::AttentionAttrs>();
  const View q(call, 0, attrs.query_perm), k(call, 1, attrs.key_perm), v(call, 2, attrs.value_perm);
  const int64_t keys = k.dims[k.dims.size() - 2], depth = q.dims.back();
  ir::Dims score_dims = q.dims, out_dims = q.dims;
  score_dims.back() = keys;
  out_dims.back() = v.dims.back();
  const bool masked = call.num_inputs() > 3;
  const Array<double> mask = masked ? read<double>(call, 3) : make_array<double>({});
  const ir::Dims mask_strides = broadcast_strides(mask.dims, score_dims);
  Array<double> y = make_array<double>(call.out_dims());
  ir::Dims out_strides(out_dims.size());
  const ir::Dims stored = strides_of(y.dims);
  for (size_t i = 0; i < stored.size(); ++i) out_strides[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
  ir::Dims rows = out_dims;
  rows.back() = 1;
  std::vector<double> weights(static_cast<size_t>(keys));
  for_each_index(rows, [&](int64_t, const ir::Dims& index) {
    const int64_t row = index[index.size() - 2];
    double most = lowest<double>(), sum = 0;
    for (int64_t s = 0; s < keys; ++s) {
      double score = 0;
      for (int64_t d = 0; d < depth; ++d) score += q.at(index, row, d) * k.at(index, s, d);
      ir::Dims place = index;
      place.back() = s;
      const double of_mask = masked ? mask[offset_of(place, mask_strides)] : 0;
      const bool replaced = attrs.mask_replaces && of_mask != 0;
      weights[static_cast<size_t>(s)] = replaced ? of_mask : score * attrs.scale + of_mask;
      most = std::max(most, weights[static_cast<size_t>(s)]);
    }
    for (double& weight : weights) sum += weight = std::exp(weight - most);
    for (int64_t e = 0; e < out_dims.back(); ++e) {
      double result = 0;
      for (int64_t s = 0; s < keys; ++s) result += weights[static_cast<size_t>(s)] / sum * v.at(index, s, e);
      ir::Dims place = index;
      place.back() = e;
      y[offset_of(place, out_strides)] = result;
    }
  });
  write(call, 0, y);
  return Status::ok_status();
}

}  // namespace blade::backends::reference
