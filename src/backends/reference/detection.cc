// Non-maximum suppression with a padded output, whose shape does not depend on data: NonMaxSuppressionV4's semantics.
#include <algorithm>
#include <numeric>

#include "backends/reference/common.h"

namespace blade::backends::reference {
namespace {

// Intersection over union of boxes [y1, x1, y2, x2], corners in any order.
double overlap(const Array<double>& boxes, int64_t i, int64_t j) {
  auto low = [&](int64_t b, int k) { return std::min(boxes[4 * b + k], boxes[4 * b + k + 2]); };
  auto high = [&](int64_t b, int k) { return std::max(boxes[4 * b + k], boxes[4 * b + k + 2]); };
  auto area = [&](int64_t b) { return (high(b, 0) - low(b, 0)) * (high(b, 1) - low(b, 1)); };
  if (area(i) <= 0 || area(j) <= 0) return 0;
  const double height = std::max(0.0, std::min(high(i, 0), high(j, 0)) - std::max(low(i, 0), low(j, 0)));
  const double width = std::max(0.0, std::min(high(i, 1), high(j, 1)) - std::max(low(i, 1), low(j, 1)));
  const double both = height * width;
  return both / (area(i) + area(j) - both);
}

}  // namespace

Status run_non_max_suppression(const Call& call) {
  const Array<double> boxes = read<double>(call, 0), scores = read<double>(call, 1);
  const int64_t limit = read_ints(call, 2)[0];
  const double iou_threshold = read<double>(call, 3)[0], score_threshold = read<double>(call, 4)[0];
  std::vector<int64_t> order(scores.values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return scores[i] > scores[j]; });
  Array<int64_t> selected = make_array<int64_t>(call.out_dims(0));
  int64_t count = 0;
  for (int64_t candidate : order) {
    if (count >= std::min(limit, count_of(selected.dims)) || !(scores[candidate] > score_threshold)) break;
    bool keep = true;
    for (int64_t k = 0; k < count; ++k) keep = keep && overlap(boxes, candidate, selected[k]) <= iou_threshold;
    if (keep) selected[count++] = candidate;
  }
  write(call, 0, selected);
  if (call.outputs.size() > 1) {
    Array<int64_t> valid = make_array<int64_t>(call.out_dims(1));
    valid[0] = count;
    write(call, 1, valid);
  }
  return Status::ok_status();
}

}  // namespace blade::backends::reference
