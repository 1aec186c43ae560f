// Crops of images by boxes, and non-maximum suppression: TensorFlow's NonMaxSuppressionV2 to V5 and the combined one.
#include <algorithm>
#include <limits>
#include <numeric>
#include <queue>

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

// As TensorFlow does it, in float: the sampled position decides bits of the result.
struct CropAxis {
  float start = 0, scale = 0;
  CropAxis(float from, float to, int64_t in, int64_t crop) {
    const auto reach = static_cast<float>(in - 1);
    if (crop > 1) {
      start = from * reach;
      scale = (to - from) * reach / static_cast<float>(crop - 1);
    } else {
      start = 0.5f * (from + to) * reach;
    }
  }
  float at(int64_t i) const { return start + static_cast<float>(i) * scale; }
};

void crop_one(const Call& call, const Array<double>& image, const float* box, int64_t from, float* out) {
  const auto& attrs = call.node.get<ir::CropAndResizeAttrs>();
  const ir::Dims& dims = call.in_dims(0);
  const int64_t height = call.out_dims()[1], width = call.out_dims()[2], channels = dims[3];
  const CropAxis rows(box[0], box[2], dims[1], height), columns(box[1], box[3], dims[2], width);
  const ir::Dims strides = row_major_strides(dims);
  const auto pixel = [&](int64_t y, int64_t x, int64_t c) {
    return static_cast<float>(image[offset_of({from, y, x, c}, strides)]);
  };
  for_each_index({height, width, channels}, [&](int64_t offset, const ir::Dims& i) {
    const float y = rows.at(i[0]), x = columns.at(i[1]);
    const bool inside =
        y >= 0 && y <= static_cast<float>(dims[1] - 1) && x >= 0 && x <= static_cast<float>(dims[2] - 1);
    if (!inside) {
      out[offset] = attrs.extrapolation;
    } else if (attrs.nearest) {
      out[offset] = pixel(static_cast<int64_t>(std::round(y)), static_cast<int64_t>(std::round(x)), i[2]);
    } else {
      const auto top = static_cast<int64_t>(std::floor(y)), bottom = static_cast<int64_t>(std::ceil(y));
      const auto left = static_cast<int64_t>(std::floor(x)), right = static_cast<int64_t>(std::ceil(x));
      const float fy = y - static_cast<float>(top), fx = x - static_cast<float>(left);
      const float above = pixel(top, left, i[2]) + (pixel(top, right, i[2]) - pixel(top, left, i[2])) * fx;
      const float below = pixel(bottom, left, i[2]) + (pixel(bottom, right, i[2]) - pixel(bottom, left, i[2])) * fx;
      out[offset] = above + (below - above) * fy;
    }
  });
}

struct Detection {
  float score;
  int64_t box, label;  // box -1: none
};

// Of one class: the best boxes that do not overlap a better one, from found[label * most] on. TensorFlow's queue
// decides which of equal scores comes first.
void suppress_class(const Array<float>& boxes, const Array<float>& scores, int64_t image, int64_t label, int64_t most,
                    float overlap_limit, float score_limit, std::vector<Detection>& found) {
  const int64_t count = scores.dims[1], classes = scores.dims[2], shared = boxes.dims[2];
  const auto less = [](const Detection& a, const Detection& b) { return a.score < b.score; };
  std::priority_queue<Detection, std::vector<Detection>, decltype(less)> candidates(less);
  for (int64_t b = 0; b < count; ++b) {
    const float score = scores[(image * count + b) * classes + label];
    const int64_t box = (image * count + b) * shared + (shared > 1 ? label : 0);
    if (score > score_limit) candidates.push({score, box, label});
  }
  const auto first = found.begin() + label * most;
  auto end = first;
  for (; end - first < most && !candidates.empty(); candidates.pop()) {
    const Detection candidate = candidates.top();
    const bool keep = std::none_of(
        first, end, [&](const Detection& kept) { return overlap(boxes, candidate.box, kept.box) > overlap_limit; });
    if (keep) *end++ = candidate;
  }
}

}  // namespace

Status run_crop_and_resize(const Call& call) {
  const Array<double> image = read<double>(call, 0), boxes = read<double>(call, 1);
  const std::vector<int64_t> from = read_ints(call, 2);
  const int64_t size = call.out_dims()[1] * call.out_dims()[2] * call.out_dims()[3];
  auto* out = static_cast<float*>(call.out[0]);
  for (size_t b = 0; b < from.size(); ++b) {
    if (from[b] < 0 || from[b] >= call.in_dims(0)[0]) {
      return invalid_argument(call.where() + "box index " + std::to_string(from[b]) + " is not in [0, " +
                              std::to_string(call.in_dims(0)[0]) + ").");
    }
    float box[4];
    for (int k = 0; k < 4; ++k) box[k] = static_cast<float>(boxes[static_cast<int64_t>(b) * 4 + k]);
    crop_one(call, image, box, from[b], out + static_cast<int64_t>(b) * size);
  }
  return Status::ok_status();
}

Status run_combined_non_max_suppression(const Call& call) {
  const Array<float> boxes = read<float>(call, 0), scores = read<float>(call, 1);
  const int64_t limit = read_ints(call, 2)[0], per_class = std::min(limit, scores.dims[1]);
  if (limit <= 0) {
    return invalid_argument(call.where() + "the limit of a class is " + std::to_string(limit) + ", needs 1 or more.");
  }
  const auto overlap_limit = static_cast<float>(read<double>(call, 4)[0]);
  const auto score_limit = static_cast<float>(read<double>(call, 5)[0]);
  if (!(overlap_limit >= 0 && overlap_limit <= 1)) {
    return invalid_argument(call.where() + "the threshold of overlap must be in [0, 1].");
  }
  const bool clip = call.node.get<ir::CombinedNonMaxSuppressionAttrs>().clip_boxes;
  Array<float> kept = make_array<float>(call.out_dims(0)), kept_scores = make_array<float>(call.out_dims(1)),
               labels = make_array<float>(call.out_dims(2));
  Array<int64_t> valid = make_array<int64_t>(call.out_dims(3));
  const int64_t most = call.out_dims(1)[1];
  for (int64_t image = 0; image < scores.dims[0]; ++image) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    std::vector<Detection> found(static_cast<size_t>(per_class * scores.dims[2]), Detection{kNone, -1, -1});
    for (int64_t label = 0; label < scores.dims[2]; ++label) {
      suppress_class(boxes, scores, image, label, per_class, overlap_limit, score_limit, found);
    }
    // Not a stable sort: TensorFlow's is none.
    std::sort(found.begin(), found.end(), [](const Detection& a, const Detection& b) { return b.score < a.score; });
    valid[image] =
        std::min<int64_t>(most, std::count_if(found.begin(), found.end(), [](const auto& d) { return d.box >= 0; }));
    for (int64_t i = 0; i < valid[image]; ++i) {
      const Detection& d = found[static_cast<size_t>(i)];
      for (int k = 0; k < 4; ++k) {
        const float corner = boxes[d.box * 4 + k];
        kept[(image * most + i) * 4 + k] = clip ? std::clamp(corner, 0.0f, 1.0f) : corner;
      }
      kept_scores[image * most + i] = d.score;
      labels[image * most + i] = static_cast<float>(d.label);
    }
  }
  write(call, 0, kept);
  write(call, 1, kept_scores);
  write(call, 2, labels);
  write(call, 3, valid);
  return Status::ok_status();
}

namespace {

struct Candidate {
  int64_t box;
  float score;
  size_t compared;  // with so many of the boxes kept
};

// Takes the best candidate; one that overlaps boxes kept since its last turn goes back with a lower score.
std::vector<Candidate> suppress_softly(const Array<float>& boxes, const Array<float>& scores, int64_t limit,
                                       float iou_threshold, float score_threshold, float sigma) {
  std::vector<Candidate> waiting, kept;
  for (int64_t i = 0; i < count_of(scores.dims); ++i) {
    if (scores[i] > score_threshold) waiting.push_back({i, scores[i], 0});
  }
  const auto before = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.box < b.box;
  };
  const float scale = sigma > 0 ? -0.5f / sigma : 0;
  while (!waiting.empty() && static_cast<int64_t>(kept.size()) < limit) {
    const auto best = std::min_element(waiting.begin(), waiting.end(), before);
    Candidate next = *best;
    waiting.erase(best);
    const float score = next.score;
    bool drop = false;
    for (size_t k = kept.size(); k-- > next.compared && !drop;) {
      const float iou = overlap(boxes, next.box, kept[k].box);
      next.score *= std::exp(scale * iou * iou);
      drop = next.score <= score_threshold || (sigma <= 0 && iou > iou_threshold);
    }
    next.compared = kept.size();
    if (drop) continue;
    if (next.score == score) {
      kept.push_back(next);
    } else if (next.score > score_threshold) {  // a NaN would wait for ever
      waiting.push_back(next);
    }
  }
  return kept;
}

}  // namespace

Status run_non_max_suppression(const Call& call) {
  const Array<float> boxes = read<float>(call, 0), scores = read<float>(call, 1);
  const int64_t limit = read_ints(call, 2)[0];
  const float iou_threshold = read<float>(call, 3)[0];
  const float score_threshold = call.num_inputs() > 4 ? read<float>(call, 4)[0] : std::numeric_limits<float>::lowest();
  if (limit < 0) return invalid_argument(call.where() + "the limit is " + std::to_string(limit) + ", needs 0 or more.");
  const bool padded = call.outputs[0].is_static();
  if (call.node.get<ir::NonMaxSuppressionAttrs>().version == 5) {
    const std::vector<Candidate> kept =
        suppress_softly(boxes, scores, limit, iou_threshold, score_threshold, read<float>(call, 5)[0]);
    const auto size = padded ? count_of(call.out_dims(0)) : static_cast<int64_t>(kept.size());
    Array<int64_t> selected = make_array<int64_t>({size});
    Array<float> left = make_array<float>({size});
    for (size_t i = 0; i < kept.size(); ++i) {
      selected.values[i] = kept[i].box;
      left.values[i] = kept[i].score;
    }
    BLADE_RETURN_IF_ERROR(write_found(call, 0, selected));
    BLADE_RETURN_IF_ERROR(write_found(call, 1, left));
    write(call, 2, Array<int64_t>{{}, {static_cast<int64_t>(kept.size())}});
    return Status::ok_status();
  }
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
  if (padded) selected.values.resize(static_cast<size_t>(count_of(call.out_dims(0))), 0);
  selected.dims = {static_cast<int64_t>(selected.values.size())};
  BLADE_RETURN_IF_ERROR(write_found(call, 0, selected));
  if (call.outputs.size() > 1) write(call, 1, Array<int64_t>{{}, {count}});
  return Status::ok_status();
}

}  // namespace blade::backends::reference
