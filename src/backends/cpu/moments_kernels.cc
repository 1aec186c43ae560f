// Mean and variance of float32 over axes that are, merged, [outer][rows][kept][inner] with rows and inner reduced:
// group, instance and layer normalization over any axes. Two sweeps, as the definition says: no cancellation.
#include <array>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kRowsOfBlock = 64;        // partial sums keep rounding errors of long sums small
constexpr int64_t kElementsOfPart = 16384;  // what a task sweeps at least
constexpr int64_t kMaxParts = 16;

struct MomentsPlan {
  int64_t outer = 1, rows = 1, kept = 1, inner = 1;
  int64_t parts = 1;  // tasks for each of the outer dims

  int64_t columns() const { return kept * inner; }
  int64_t image() const { return rows * columns(); }
  int64_t reduced() const { return rows * inner; }
  // Without kept dims between them an image is one row, cut anywhere.
  bool one_row() const { return kept == 1; }
  // Floats of one task: its sums, and a block's.
  int64_t task_floats() const { return one_row() ? 1 : 2 * columns(); }
};

// The dims as outer, rows, kept, inner; false where reduced and kept dims alternate more often.
bool merge_dims_into(const KernelRequest& request, MomentsPlan& plan) {
  const ir::Dims& dims = request.inputs[0].dims;
  const auto& axes = request.node->get<ir::AxesAttrs>().axes;
  std::array<int64_t*, 4> places = {&plan.inner, &plan.kept, &plan.rows, &plan.outer};
  size_t place = 0;
  for (size_t d = dims.size(); d-- > 0;) {
    if (dims[d] == 1) continue;
    const bool reduced = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d)) != axes.end();
    if (reduced == (place % 2 != 0)) ++place;
    if (place >= places.size()) return false;
    *places[place] *= dims[d];
  }
  return true;
}

MomentsPlan plan_moments(const KernelRequest& request) {
  MomentsPlan plan;
  merge_dims_into(request, plan);
  if (plan.rows == 1) plan.outer *= std::exchange(plan.kept, 1);
  if (plan.kept == 1) plan.inner *= std::exchange(plan.rows, 1);
  const int64_t most = plan.one_row() ? plan.inner : ceil_div(plan.rows, kRowsOfBlock);
  plan.parts = std::clamp<int64_t>(plan.image() / kElementsOfPart, 1, std::min(kMaxParts, std::max<int64_t>(1, most)));
  return plan;
}

// Sums (means == null) or squared distances from the columns' means of rows [begin, end), column by column.
void sweep_rows(const RowFunctions& f, const MomentsPlan& plan, const float* image, const float* means, int64_t begin,
                int64_t end, float* sums) {
  const int64_t columns = plan.columns();
  const float* rows[kRowsOfBlock];
  for (int64_t first = begin; first < end; first += kRowsOfBlock) {
    const int64_t count = std::min(kRowsOfBlock, end - first);
    for (int64_t r = 0; r < count; ++r) rows[r] = image + (first + r) * columns;
    float* to = first == begin ? sums : sums + columns;
    if (means == nullptr) {
      f.rows_sum(rows, count, 1, to, columns);
    } else {
      f.rows_squares(rows, count, means, to, columns);
    }
    if (to != sums) f.add_to(to, sums, columns);
  }
}

// One sweep over all images; result[outer][kept] is what it adds up, over the number of elements.
void sweep(const MomentsPlan& plan, const KernelArgs& args, const float* column_means, float* result) {
  const RowFunctions& f = row_functions();
  const auto* x = input<float>(args, 0);
  auto* sums = reinterpret_cast<float*>(args.scratch);
  const double work = 0.5 * static_cast<double>(plan.image()) / static_cast<double>(plan.parts);
  parallel_ranges(args.pool, plan.outer * plan.parts, work, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; ++task) {
      const int64_t o = task / plan.parts, part = task % plan.parts;
      const float* image = x + o * plan.image();
      float* to = sums + task * plan.task_floats();
      if (plan.one_row()) {
        const int64_t begin = plan.inner * part / plan.parts, count = plan.inner * (part + 1) / plan.parts - begin;
        *to = column_means == nullptr ? f.sum(image + begin, count)
                                      : f.sum_squared_deviations(image + begin, column_means[o], count);
      } else {
        sweep_rows(f, plan, image, column_means == nullptr ? nullptr : column_means + o * plan.columns(),
                   plan.rows * part / plan.parts, plan.rows * (part + 1) / plan.parts, to);
      }
    }
  });
  const int64_t width = plan.one_row() ? 1 : plan.inner;
  for (int64_t o = 0; o < plan.outer; ++o) {
    for (int64_t k = 0; k < plan.kept; ++k) {
      double total = 0;
      for (int64_t part = 0; part < plan.parts; ++part) {
        const float* from = sums + (o * plan.parts + part) * plan.task_floats() + k * width;
        for (int64_t i = 0; i < width; ++i) total += static_cast<double>(from[i]);
      }
      result[o * plan.kept + k] = static_cast<float>(total / static_cast<double>(plan.reduced()));
    }
  }
}

Support supports_moments(const KernelRequest& request) {
  if (Support s = needs_float32(request); !s.ok) return s;
  MomentsPlan plan;
  if (!merge_dims_into(request, plan)) return Support::no("reduced and kept dims alternate more than twice");
  return request.inputs[0].element_count() > 0 ? Support::yes() : Support::no("the operand is empty");
}

// Scratch: the tasks' sums, then the means column by column.
Result<std::unique_ptr<Kernel>> create_moments(const KernelRequest& request, PackCache&) {
  const MomentsPlan plan = plan_moments(request);
  const int64_t sums = plan.outer * plan.parts * plan.task_floats();
  const int64_t means = plan.one_row() ? 0 : plan.outer * plan.columns();
  return make_kernel(
      [=](const KernelArgs& args) {
        auto *mean = output<float>(args), *variance = output<float>(args, 1);
        sweep(plan, args, nullptr, mean);
        const float* column_means = mean;
        if (!plan.one_row()) {
          float* spread = reinterpret_cast<float*>(args.scratch) + sums;
          for (int64_t i = 0; i < means; ++i) spread[i] = mean[i / plan.inner];
          column_means = spread;
        }
        sweep(plan, args, column_means, variance);
        return Status::ok_status();
      },
      0, static_cast<size_t>(sums + means) * sizeof(float));
}

constexpr KernelEntry kMomentsRows[] = {
    {"cpu.moments.columns_f32", ir::Op::kMoments, supports_moments, nullptr, create_moments},
};

}  // namespace

std::span<const KernelEntry> moments_rows() { return kMomentsRows; }

}  // namespace blade::backends::cpu
