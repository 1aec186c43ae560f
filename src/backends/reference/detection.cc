// Non-maximum suppression: TensorFlow's NonMaxSuppressionV2 to V4.
#include <algorithm>
#include <limits>
#include <numeric>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// Intersection over union of boxes [y1, x1, y2, x2], corners in any order; in float, as TensorFlow computes it.
float overlap(const Array<float>& boxes, int64_t i, int64_t j) {
  auto low = [&](int64_t b, int k) { return std::min(boxes[4 * b + k], boxes[4 * b + k + 2]); };
  auto high = [&](int64_t b, int k) { return std::max(boxes[4 * b + k], boxes[4 * b + k + 2]); };
  auto area = [&](int64_t b) { return (high(b, 0) - low(b, 0)) * (high(b, 1) - low(b, 1)); };
  if (area(i) <= 0 || area(j) <= 0) return 0;
  const float height = std::max(0.0f, std::min(high(i, 0), high(j, 0)) - std::max(low(i, 0), low(j, 0)));
  const float width = std::max(0.0f, std::min(high(i, 1), high(j, 1)) - std::max(low(i, 1), low(j, 1)));
  const float both = height * width;
  return both / (area(i) + area(j) - both);
}

}  // namespace

Status run_non_max_suppression(const Call& call) {
  const Array<float> boxes = read<float>(call, 0), scores = read<float>(call, 1);
  const int64_t limit = read_ints(call, 2)[0];
  const float iou_threshold = read<float>(call, 3)[0];
  const float score_threshold =
      call.num_inputs() > 4 ? read<float>(call, 4)[0] : std::numeric_limits<float>::lowest();
  if (limit < 0) return invalid_argument(call.where() + "the limit is " + std::to_string(limit) + ", needs 0 or more.");
  std::vector<int64_t> order(scores.values.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int64_t i) { return !(scores[i] > score_threshold); });
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return scores[i] > scores[j]; });
  Array<int64_t> selected;
  for (int64_t candidate : order) {
    if (static_cast<int64_t>(selected.values.size()) >= limit) break;
    const bool keep = std::none_of(selected.values.begin(), selected.values.end(),
                                   [&](int64_t kept) { return overlap(boxes, candidate, kept) > iou_threshold; });
    if (keep) selected.values.push_back(candidate);
  }
  const auto count = static_cast<int64_t>(selected.values.size());
  const bool padded = call.outputs[0].is_static();
  if (padded) selected.values.resize(static_cast<size_t>(count_of(call.out_dims(0))), 0);
  selected.dims = {static_cast<int64_t>(selected.values.size())};
  BLADE_RETURN_IF_ERROR(write_found(call, 0, selected));
  if (call.outputs.size() > 1) write(call, 1, Array<int64_t>{{}, {count}});
  return Status::ok_status();
}

}  // namespace blade::backends::reference
