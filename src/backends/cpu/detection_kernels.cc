// Greedy non-maximum suppression (TensorFlow's NonMaxSuppressionV2 to V4).
#include <limits>

#include "backends/cpu/box_overlap.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

Box make_box(const float* corners) {
  Box box = {std::min(corners[0], corners[2]), std::min(corners[1], corners[3]), std::max(corners[0], corners[2]),
             std::max(corners[1], corners[3]), 0};
  box.area = (box.high_y - box.low_y) * (box.high_x - box.low_x);
  return box;
}

// What one run needs: candidates as a heap by score, and the boxes kept so far.
struct Scratch {
  int32_t* heap;
  BoxColumns kept;
  int32_t* selected;
  static size_t bytes(int64_t n) {
    return static_cast<size_t>(n) * (2 * sizeof(int32_t) + BoxColumns::kColumns * sizeof(float));
  }
  static Scratch at(std::byte* memory, int64_t n) {
    auto* kept = reinterpret_cast<float*>(memory);
    auto* heap = reinterpret_cast<int32_t*>(kept + BoxColumns::kColumns * n);
    return {heap, BoxColumns::at(kept, n), heap + n};
  }
};

int64_t suppress(const float* boxes, const float* scores, int64_t n, int64_t limit, float iou_threshold,
                 float score_threshold, const Scratch& scratch) {
  int64_t candidates = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (scores[i] > score_threshold) scratch.heap[candidates++] = static_cast<int32_t>(i);
  }
  // Equal scores: the first box first.
  const auto later = [&](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] < scores[b] : a > b; };
  std::make_heap(scratch.heap, scratch.heap + candidates, later);
  int64_t count = 0;
  while (candidates > 0 && count < limit) {
    const int32_t best = scratch.heap[0];
    std::pop_heap(scratch.heap, scratch.heap + candidates--, later);
    const Box box = make_box(boxes + 4 * int64_t{best});
    if (overlaps_any(box, scratch.kept, count, iou_threshold)) continue;
    scratch.kept.set(count, box);
    scratch.selected[count++] = best;
  }
  return count;
}

Support supports_suppression(const KernelRequest& request) {
  if (request.node->get<ir::NonMaxSuppressionAttrs>().version == 5) return Support::no("is soft suppression");
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (i != 2 && request.inputs[i].dtype != ir::DType::kFloat32) return Support::no("boxes or limits are not float32");
  }
  if (request.inputs[0].dims[0] > std::numeric_limits<int32_t>::max()) return Support::no("too many boxes");
  const ir::DType limit = request.inputs[2].dtype;
  return limit == ir::DType::kInt32 ? Support::yes() : Support::no("the limit is not int32");
}

Result<std::unique_ptr<Kernel>> create_suppression(const KernelRequest& request, PackCache&) {
  const int64_t n = request.inputs[0].dims[0];
  const bool has_score_threshold = request.inputs.size() > 4, has_count = request.outputs.size() > 1;
  const int64_t padded = request.outputs[0].is_static() ? request.outputs[0].dims[0] : -1;
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) {
    const Scratch scratch = Scratch::at(args.scratch, n);
    const int64_t limit = *input<int32_t>(args, 2);
    if (limit < 0) return invalid_argument(label + "the limit is " + std::to_string(limit) + ", needs 0 or more.");
    const float threshold = has_score_threshold ? *input<float>(args, 4) : std::numeric_limits<float>::lowest();
    const int64_t count =
        suppress(input<float>(args, 0), input<float>(args, 1), n, limit, *input<float>(args, 3), threshold, scratch);
    auto* out = output<int32_t>(args);
    if (padded < 0) {
      BLADE_ASSIGN_OR_RETURN(out, found_output<int32_t>(args, 0, {count}, label));
    }
    std::copy_n(scratch.selected, count, out);
    for (int64_t i = count; i < padded; ++i) out[i] = 0;
    if (has_count) *output<int32_t>(args, 1) = static_cast<int32_t>(count);
    return Status::ok_status();
  };
  return make_kernel(run, 0, Scratch::bytes(n));
}

constexpr KernelEntry kDetectionRows[] = {
    {"cpu.non_max_suppression.greedy", ir::Op::kNonMaxSuppression, supports_suppression, nullptr, create_suppression},
};

}  // namespace

std::span<const KernelEntry> detection_rows() { return kDetectionRows; }

}  // namespace blade::backends::cpu
