// TensorFlow's CombinedNonMaxSuppression: greedy suppression of each class of each image, then the best of all classes.
// Equal scores come in the order that TensorFlow's own heap and sort leave them in.
#include <cmath>
#include <limits>

#include "backends/cpu/box_overlap.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

struct Scored {
  float score;
  int32_t index;
};
bool has_lower_score(const Scored& a, const Scored& b) { return a.score < b.score; }
bool has_higher_score(const Scored& a, const Scored& b) { return b.score < a.score; }

struct CombinedPlan {
  int64_t images, boxes, box_sets, classes, most;  // box_sets: 1, or one a class; most: results of an image
  bool clip;

  int64_t slots() const { return classes * boxes; }
};

// Of one image: candidates and what was chosen of them, class by class; all chosen, to be sorted; and each
// thread's boxes kept.
struct CombinedScratch {
  Scored *candidates, *chosen, *all;
  int32_t* counts;
  float* kept;

  static size_t bytes(const CombinedPlan& plan, int threads) {
    return static_cast<size_t>(plan.slots()) * 3 * sizeof(Scored) +
           static_cast<size_t>(plan.classes) * sizeof(int32_t) +
           static_cast<size_t>(threads * BoxColumns::kColumns * plan.boxes) * sizeof(float);
  }
  CombinedScratch(std::byte* memory, const CombinedPlan& plan)
      : candidates(reinterpret_cast<Scored*>(memory)),
        chosen(candidates + plan.slots()),
        all(chosen + plan.slots()),
        counts(reinterpret_cast<int32_t*>(all + plan.slots())),
        kept(reinterpret_cast<float*>(counts + plan.classes)) {}
};

struct Limits {
  int64_t per_class;
  float overlap, score;
};

// Candidates of the classes [first, last), by box.
void collect_candidates(const CombinedPlan& plan, const float* scores, float limit, int64_t first, int64_t last,
                        const CombinedScratch& scratch) {
  std::fill(scratch.counts + first, scratch.counts + last, 0);
  constexpr int64_t kAtOnce = 16;  // most scores are too low: that is seen for many at a time
  for (int64_t b = 0; b < plan.boxes; ++b) {
    const float* of_box = scores + b * plan.classes;
    for (int64_t begin = first; begin < last; begin += kAtOnce) {
      const int64_t end = std::min(begin + kAtOnce, last);
      float most = of_box[begin];
      for (int64_t c = begin; c < end; ++c) most = of_box[c] > most ? of_box[c] : most;
      if (most <= limit) continue;
      for (int64_t c = begin; c < end; ++c) {
        if (of_box[c] > limit)
          scratch.candidates[c * plan.boxes + scratch.counts[c]++] = {of_box[c], static_cast<int32_t>(b)};
      }
    }
  }
}

// Candidates best first, sorted no further than they are asked for. Stops at equal scores, whose order it cannot tell.
class ByScore {
 public:
  ByScore(Scored* list, int64_t count, int64_t at_once) : list_(list), count_(count), at_once_(at_once) {}

  const Scored* next() {
    if (taken_ == sorted_) sort_more();
    if (taken_ == count_) return nullptr;
    met_equals_ = taken_ + 1 < count_ && list_[taken_].score == list_[taken_ + 1].score;
    return met_equals_ ? nullptr : &list_[taken_++];
  }
  bool met_equals() const { return met_equals_; }

 private:
  void sort_more() {
    const int64_t last = std::min(sorted_ + at_once_, count_);
    // The one behind the last is in its place as well: equal scores do not hide at the end of what is sorted.
    if (last < count_) std::nth_element(list_ + sorted_, list_ + last, list_ + count_, has_higher_score);
    std::sort(list_ + sorted_, list_ + last, has_higher_score);
    sorted_ = last;
  }

  Scored* list_;
  int64_t count_, at_once_, taken_ = 0, sorted_ = 0;
  bool met_equals_ = false;
};

// In the order in which TensorFlow's heap gives them, equal scores too: pushed one by one, by box.
class ByHeap {
 public:
  ByHeap(Scored* list, int64_t count) : list_(list), left_(count) {
    std::sort(list, list + count, [](const Scored& a, const Scored& b) { return a.index < b.index; });
    for (int64_t i = 1; i <= count; ++i) std::push_heap(list, list + i, has_lower_score);
  }
  const Scored* next() {
    if (left_ == 0) return nullptr;
    std::pop_heap(list_, list_ + left_--, has_lower_score);
    return list_ + left_;
  }

 private:
  Scored* list_;
  int64_t left_;
};

// The best candidates of class c that overlap no better one; gives their number.
template <class Candidates>
int32_t choose(const CombinedPlan& plan, const float* boxes, const Limits& limits, int64_t c, const BoxColumns& kept,
               const CombinedScratch& scratch, Candidates& candidates) {
  const float* of_class = boxes + (plan.box_sets > 1 ? 4 * c : 0);
  Scored* chosen = scratch.chosen + c * plan.boxes;
  int32_t count = 0;
  while (count < limits.per_class) {
    const Scored* best = candidates.next();
    if (best == nullptr) break;
    const Box box = make_box(of_class + 4 * plan.box_sets * int64_t{best->index});
    if (overlaps_any(box, kept, count, limits.overlap)) continue;
    kept.set(count, box);
    chosen[count++] = *best;
  }
  return count;
}

// The number of those chosen replaces that of the candidates.
void suppress_in_class(const CombinedPlan& plan, const float* boxes, const Limits& limits, int64_t c,
                       const BoxColumns& kept, const CombinedScratch& scratch) {
  Scored* list = scratch.candidates + c * plan.boxes;
  const int64_t count = scratch.counts[c];
  ByScore by_score(list, count, 2 * limits.per_class);
  scratch.counts[c] = choose(plan, boxes, limits, c, kept, scratch, by_score);
  if (!by_score.met_equals()) return;
  ByHeap by_heap(list, count);
  scratch.counts[c] = choose(plan, boxes, limits, c, kept, scratch, by_heap);
}

// Places of the best of all classes, class * per_class + place in the class, best first. Gives their number.
int64_t best_of_all(const CombinedPlan& plan, int64_t per_class, const CombinedScratch& scratch) {
  int64_t found = 0;
  for (int64_t c = 0; c < plan.classes; ++c) {
    for (int64_t k = 0; k < scratch.counts[c]; ++k) {
      scratch.all[found++] = {scratch.chosen[c * plan.boxes + k].score, static_cast<int32_t>(c * per_class + k)};
    }
  }
  const int64_t wanted = std::min(found, plan.most), looked_at = std::min(found, plan.most + 1);
  Scored* all = scratch.all;
  std::partial_sort(all, all + looked_at, all + found, has_higher_score);
  const auto equal = [](const Scored& a, const Scored& b) { return a.score == b.score; };
  if (std::adjacent_find(all, all + looked_at, equal) == all + looked_at) return wanted;
  // Which of equal scores comes first follows from sorting what TensorFlow sorts: places without a result, too.
  const int64_t places = plan.classes * per_class;
  for (int64_t p = 0; p < places; ++p) {
    const int64_t c = p / per_class, k = p % per_class;
    const bool used = k < scratch.counts[c];
    all[p] = {used ? scratch.chosen[c * plan.boxes + k].score : -std::numeric_limits<float>::infinity(),
              static_cast<int32_t>(p)};
  }
  std::sort(all, all + places, has_higher_score);
  return wanted;
}

void write_image(const CombinedPlan& plan, const float* boxes, int64_t per_class, int64_t found,
                 const CombinedScratch& scratch, const KernelArgs& args, int64_t image) {
  float* to = output<float>(args) + image * plan.most * 4;
  float *scores = output<float>(args, 1) + image * plan.most, *labels = output<float>(args, 2) + image * plan.most;
  for (int64_t i = 0; i < found; ++i, to += 4) {
    const int64_t c = scratch.all[i].index / per_class, k = scratch.all[i].index % per_class;
    const Scored& one = scratch.chosen[c * plan.boxes + k];
    const float* box = boxes + 4 * (int64_t{one.index} * plan.box_sets + (plan.box_sets > 1 ? c : 0));
    for (int corner = 0; corner < 4; ++corner) {
      to[corner] = plan.clip ? std::max(std::min(box[corner], 1.0f), 0.0f) : box[corner];
    }
    scores[i] = one.score;
    labels[i] = static_cast<float>(c);
  }
  std::fill_n(to, (plan.most - found) * 4, 0.0f);
  std::fill(scores + found, scores + plan.most, 0.0f);
  std::fill(labels + found, labels + plan.most, 0.0f);
  output<int32_t>(args, 3)[image] = static_cast<int32_t>(found);
}

void suppress_image(const CombinedPlan& plan, const Limits& limits, const KernelArgs& args, int64_t image) {
  const CombinedScratch scratch(args.scratch, plan);
  const float* boxes = input<float>(args, 0) + image * plan.boxes * plan.box_sets * 4;
  const float* scores = input<float>(args, 1) + image * plan.slots();
  const int64_t tasks = std::min<int64_t>(plan.classes, 4 * args.pool->num_threads());
  args.pool->parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
    const int64_t first = plan.classes * task / tasks, last = plan.classes * (task + 1) / tasks;
    collect_candidates(plan, scores, limits.score, first, last, scratch);
    const auto kept = BoxColumns::at(scratch.kept + slot * BoxColumns::kColumns * plan.boxes, plan.boxes);
    for (int64_t c = first; c < last; ++c) suppress_in_class(plan, boxes, limits, c, kept, scratch);
  });
  const int64_t found = best_of_all(plan, limits.per_class, scratch);
  write_image(plan, boxes, limits.per_class, found, scratch, args, image);
}

Support supports_combined(const KernelRequest& request) {
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const ir::DType wanted = i == 2 || i == 3 ? ir::DType::kInt32 : ir::DType::kFloat32;
    if (request.inputs[i].dtype != wanted) {
      return Support::no("operand " + std::to_string(i) + " is not " + ir::dtype_name(wanted));
    }
  }
  const int64_t slots = request.inputs[0].dims[1] * request.inputs[1].dims[2];
  return slots < std::numeric_limits<int32_t>::max() ? Support::yes() : Support::no("too many boxes");
}

Result<std::unique_ptr<Kernel>> create_combined(const KernelRequest& request, PackCache&) {
  const ir::Dims &boxes = request.inputs[0].dims, &scores = request.inputs[1].dims;
  const CombinedPlan plan = {boxes[0],
                             boxes[1],
                             boxes[2],
                             scores[2],
                             request.outputs[1].dims[1],
                             request.node->get<ir::CombinedNonMaxSuppressionAttrs>().clip_boxes};
  const std::string label = node_label(request);
  return make_kernel(
      [=](const KernelArgs& args) {
        const int64_t most = *input<int32_t>(args, 2);
        const Limits limits = {std::min<int64_t>(most, plan.boxes), *input<float>(args, 4), *input<float>(args, 5)};
        if (most <= 0) {
          return invalid_argument(label + "the limit of a class is " + std::to_string(most) + ", needs 1 or more.");
        }
        if (!(limits.overlap >= 0 && limits.overlap <= 1)) {
          return invalid_argument(label + "the threshold of overlap must be in [0, 1].");
        }
        for (int64_t image = 0; image < plan.images; ++image) suppress_image(plan, limits, args, image);
        return Status::ok_status();
      },
      0, CombinedScratch::bytes(plan, request.num_threads));
}

constexpr KernelEntry kCombinedRows[] = {
    {"cpu.combined_non_max_suppression.sorted", ir::Op::kCombinedNonMaxSuppression, supports_combined, nullptr,
     create_combined},
};

}  // namespace

std::span<const KernelEntry> combined_suppression_rows() { return kCombinedRows; }

}  // namespace blade::backends::cpu
