// Walks the slice spec once, turning masks, negative indices and the ellipsis into plain ranges.
#include "backends/reference/strided_slice.h"

#include <algorithm>
#include <string>

namespace blade::backends {
namespace {

bool bit(int64_t mask, size_t i) { return ((mask >> i) & 1) != 0; }

void push_full(DenseSlice& slice, int64_t size) {
  slice.begin.push_back(0);
  slice.stride.push_back(1);
  slice.counts.push_back(size);
}

Status push_range(DenseSlice& slice, const ir::StridedSliceAttrs& attrs, size_t i, int64_t size, int64_t begin,
                  int64_t end, int64_t stride) {
  if (bit(attrs.shrink_axis_mask, i)) {
    const int64_t at = begin < 0 ? begin + size : begin;
    if (at < 0 || at >= size) {
      return invalid_argument("Slice index " + std::to_string(begin) + " is out of bounds for a dim of " +
                              std::to_string(size) + ".");
    }
    slice.begin.push_back(at);
    slice.stride.push_back(1);
    slice.counts.push_back(1);
    return Status::ok_status();
  }
  if (stride == 0) return invalid_argument("A slice stride is 0; strides must not be 0.");
  // Positions are clamped to [0, size] going forwards and to [-1, size - 1] going backwards.
  const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? size : size - 1;
  auto canonical = [&](int64_t x) { return std::clamp(x < 0 ? x + size : x, low, high); };
  const int64_t first = bit(attrs.begin_mask, i) ? (stride > 0 ? low : high) : canonical(begin);
  const int64_t last = bit(attrs.end_mask, i) ? (stride > 0 ? high : low) : canonical(end);
  const int64_t span = stride > 0 ? last - first : first - last;
  const int64_t step = stride > 0 ? stride : -stride;
  slice.begin.push_back(first);
  slice.stride.push_back(stride);
  slice.counts.push_back(span <= 0 ? 0 : (span - 1) / step + 1);
  return Status::ok_status();
}

}  // namespace

Result<DenseSlice> dense_slice(const ir::StridedSliceAttrs& attrs, const ir::Dims& in,
                               const std::vector<int64_t>& begin, const std::vector<int64_t>& end,
                               const std::vector<int64_t>& strides) {
  if (begin.size() != end.size() || begin.size() != strides.size()) {
    return invalid_argument("StridedSlice has " + std::to_string(begin.size()) + " begins, " +
                            std::to_string(end.size()) + " ends and " + std::to_string(strides.size()) +
                            " strides; the three must be as many.");
  }
  size_t taking = 0;  // input dims that spec entries other than the ellipsis take
  for (size_t i = 0; i < begin.size(); ++i) taking += !bit(attrs.ellipsis_mask, i) && !bit(attrs.new_axis_mask, i);
  if (taking > in.size()) {
    return invalid_argument("StridedSlice indexes " + std::to_string(taking) + " dims of a tensor of rank " +
                            std::to_string(in.size()) + ".");
  }
  DenseSlice slice;
  for (size_t i = 0; i < begin.size(); ++i) {
    if (bit(attrs.ellipsis_mask, i)) {
      for (size_t k = taking; k < in.size(); ++k) push_full(slice, in[slice.begin.size()]);
    } else if (!bit(attrs.new_axis_mask, i)) {
      if (slice.begin.size() >= in.size())
        return invalid_argument("StridedSlice has more than one ellipsis; one is allowed.");
      BLADE_RETURN_IF_ERROR(push_range(slice, attrs, i, in[slice.begin.size()], begin[i], end[i], strides[i]));
    }
  }
  while (slice.begin.size() < in.size()) push_full(slice, in[slice.begin.size()]);
  return slice;
}

}  // namespace blade::backends
