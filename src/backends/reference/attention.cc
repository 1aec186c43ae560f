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
        strides(repeating(dims, permuted(row_major_strides(array.dims), perm))) {}
  double at(ir::Dims index, int64_t row, int64_t column) const {
    index[index.size() - 2] = row;
    index.back() = column;
    return array[offset_of(index, strides)];
  }
};

// Zeros where the node has no input `i`.
struct Mask {
  Array<double> array;
  ir::Dims strides;

  Mask(const Call& call, int i, const ir::Dims& scores)
      : array(call.num_inputs() > i ? read<double>(call, i) : make_array<double>({})),
        strides(broadcast_strides(array.dims, scores)) {}
  double at(const ir::Dims& index) const { return array[offset_of(index, strides)]; }
};

}  // namespace

Status run_attention(const Call& call) {
  const auto& attrs = call.node.get<ir::AttentionAttrs>();
  const View q(call, 0, attrs.query_perm), k(call, 1, attrs.key_perm), v(call, 2, attrs.value_perm);
  const int64_t keys = v.dims[v.dims.size() - 2], depth = q.dims.back();
  Array<double> y = make_array<double>(call.out_dims());
  ir::Dims out_dims(q.dims.size()), out_strides(q.dims.size());
  const ir::Dims stored = row_major_strides(y.dims);
  for (size_t i = 0; i < stored.size(); ++i) {
    out_dims[static_cast<size_t>(attrs.output_perm[i])] = y.dims[i];
    out_strides[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
  }
  ir::Dims score_dims = out_dims;
  score_dims.back() = keys;
  const Mask mask(call, 3, score_dims), added(call, 4, score_dims);
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
      const double of_mask = mask.at(place);
      const bool replaced = attrs.mask_replaces && of_mask != 0;
      weights[static_cast<size_t>(s)] = (replaced ? of_mask : score * attrs.scale + of_mask) + added.at(place);
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
