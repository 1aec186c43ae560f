// Greedy non-maximum suppression (TensorFlow's NonMaxSuppressionV2 to V5).
#include <cmath>
#include <limits>

#include "backends/cpu/box_overlap.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

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

// What soft suppression needs beside Scratch: present scores, and how many kept boxes each candidate was compared with.
struct SoftScratch {
  Scratch common;
  float* scores;
  int32_t* compared;
  static size_t bytes(int64_t n) {
    return Scratch::bytes(n) + static_cast<size_t>(n) * (sizeof(float) + sizeof(int32_t));
  }
  static SoftScratch at(std::byte* memory, int64_t n) {
    auto* scores = reinterpret_cast<float*>(memory + Scratch::bytes(n));
    return {Scratch::at(memory, n), scores, reinterpret_cast<int32_t*>(scores + n)};
  }
};

// A candidate loses score for each kept box it overlaps, by exp(-overlap^2 / (2 sigma)), and waits for its turn again
// with what is left. A sigma of 0 is the hard suppression above, with scores.
int64_t suppress_softly(const float* boxes, const float* scores, int64_t n, int64_t limit, float iou_threshold,
                        float score_threshold, float sigma, const SoftScratch& scratch) {
  const float scale = sigma > 0 ? -0.5f / sigma : 0;
  int32_t* heap = scratch.common.heap;
  int64_t candidates = 0, count = 0;
  for (int64_t i = 0; i < n; ++i) {
    scratch.scores[i] = scores[i];
    scratch.compared[i] = 0;
    if (scores[i] > score_threshold) heap[candidates++] = static_cast<int32_t>(i);
  }
  const auto later = [&](int32_t a, int32_t b) {
    return scratch.scores[a] != scratch.scores[b] ? scratch.scores[a] < scratch.scores[b] : a > b;
  };
  std::make_heap(heap, heap + candidates, later);
  while (candidates > 0 && count < limit) {
    const int32_t best = heap[0];
    std::pop_heap(heap, heap + candidates--, later);
    const Box box = make_box(boxes + 4 * int64_t{best});
    float& score = scratch.scores[best];
    const float before = score;
    bool drop = false;
    for (int64_t k = count; !drop && k-- > scratch.compared[best];) {
      const float overlap = overlap_of(box, scratch.common.kept.get(k));
      score *= std::exp(scale * overlap * overlap);
      drop = score <= score_threshold || (sigma <= 0 && overlap > iou_threshold);
    }
    scratch.compared[best] = static_cast<int32_t>(count);
    if (drop) continue;
    if (score == before) {
      scratch.common.kept.set(count, box);
      scratch.common.selected[count++] = best;
    } else if (score > score_threshold) {  // a NaN would wait for ever
      heap[candidates++] = best;
      std::push_heap(heap, heap + candidates, later);
    }
  }
  return count;
}

Support supports_suppression(const KernelRequest& request) {
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (i != 2 && request.inputs[i].dtype != ir::DType::kFloat32) return Support::no("boxes or limits are not float32");
  }
  if (request.inputs[0].dims[0] > std::numeric_limits<int32_t>::max()) return Support::no("too many boxes");
  const ir::DType limit = request.inputs[2].dtype;
  return limit == ir::DType::kInt32 ? Support::yes() : Support::no("the limit is not int32");
}

// Writes what was selected and zeros behind them.
template <class T, class Value>
Status write_selected(const KernelArgs& args, int i, int64_t count, int64_t padded, const std::string& label,
                      Value&& value) {
  T* out = output<T>(args, i);
  if (padded < 0) {
    BLADE_ASSIGN_OR_RETURN(out, found_output<T>(args, i, {count}, label));
  }
  for (int64_t k = 0; k < count; ++k) out[k] = value(k);
  for (int64_t k = count; k < padded; ++k) out[k] = 0;
  return Status::ok_status();
}

Result<std::unique_ptr<Kernel>> create_suppression(const KernelRequest& request, PackCache&) {
  const int64_t n = request.inputs[0].dims[0];
  const bool has_score_threshold = request.inputs.size() > 4, has_count = request.outputs.size() > 1;
  const int64_t padded = request.outputs[0].is_static() ? request.outputs[0].dims[0] : -1;
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) -> Status {
    const Scratch scratch = Scratch::at(args.scratch, n);
    const int64_t limit = *input<int32_t>(args, 2);
    if (limit < 0) return invalid_argument(label + "the limit is " + std::to_string(limit) + ", needs 0 or more.");
    const float threshold = has_score_threshold ? *input<float>(args, 4) : std::numeric_limits<float>::lowest();
    const int64_t count =
        suppress(input<float>(args, 0), input<float>(args, 1), n, limit, *input<float>(args, 3), threshold, scratch);
    if (has_count) *output<int32_t>(args, 1) = static_cast<int32_t>(count);
    return write_selected<int32_t>(args, 0, count, padded, label, [&](int64_t k) { return scratch.selected[k]; });
  };
  return make_kernel(run, 0, Scratch::bytes(n));
}

Support is_hard(const KernelRequest& request) {
  if (request.node->get<ir::NonMaxSuppressionAttrs>().version == 5) return Support::no("is soft suppression");
  return supports_suppression(request);
}

Support is_soft(const KernelRequest& request) {
  if (request.node->get<ir::NonMaxSuppressionAttrs>().version != 5) return Support::no("is not soft suppression");
  return supports_suppression(request);
}

Result<std::unique_ptr<Kernel>> create_soft_suppression(const KernelRequest& request, PackCache&) {
  const int64_t n = request.inputs[0].dims[0];
  const int64_t padded = request.outputs[0].is_static() ? request.outputs[0].dims[0] : -1;
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) -> Status {
    const SoftScratch scratch = SoftScratch::at(args.scratch, n);
    const int64_t limit = *input<int32_t>(args, 2);
    if (limit < 0) return invalid_argument(label + "the limit is " + std::to_string(limit) + ", needs 0 or more.");
    const int64_t count =
        suppress_softly(input<float>(args, 0), input<float>(args, 1), n, limit, *input<float>(args, 3),
                        *input<float>(args, 4), *input<float>(args, 5), scratch);
    const int32_t* selected = scratch.common.selected;
    BLADE_RETURN_IF_ERROR(
        write_selected<int32_t>(args, 0, count, padded, label, [&](int64_t k) { return selected[k]; }));
    *output<int32_t>(args, 2) = static_cast<int32_t>(count);
    return write_selected<float>(args, 1, count, padded, label, [&](int64_t k) { return scratch.scores[selected[k]]; });
  };
  return make_kernel(run, 0, SoftScratch::bytes(n));
}

constexpr KernelEntry kDetectionRows[] = {
    {"cpu.non_max_suppression.greedy", ir::Op::kNonMaxSuppression, is_hard, nullptr, create_suppression},
    {"cpu.non_max_suppression.soft", ir::Op::kNonMaxSuppression, is_soft, nullptr, create_soft_suppression},
};

}  // namespace

std::span<const KernelEntry> detection_rows() { return kDetectionRows; }

}  // namespace blade::backends::cpu
