// Fourier transforms along the last axis.
#include <bit>

#include "backends/cpu/double_fft.h"
#include "backends/cpu/fft.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

// The input that is the length, or -1.
int fft_length_input(ir::FftKind kind) {
  return kind == ir::FftKind::kReal ? 1 : kind == ir::FftKind::kRealInverse ? 2 : -1;
}

int64_t fft_length(const KernelRequest& request) {
  const int input = fft_length_input(request.node->get<ir::FftAttrs>().kind);
  return input < 0 ? request.inputs[0].dims.back() : constant_ints(request, static_cast<size_t>(input))[0];
}

Support supports_fft(const KernelRequest& request) {
  if (Support s = needs_float32(request); !s.ok) return s;
  if (request.outputs[0].element_count() == 0) return Support::no("is empty");
  if (const int input = fft_length_input(request.node->get<ir::FftAttrs>().kind); input >= 0) {
    if (Support s = needs_constant_ints(request, static_cast<size_t>(input), "its length"); !s.ok) return s;
  }
  constexpr int64_t kMostScratchFloats = int64_t{1} << 28;  // a thread's: 1 GiB
  const int64_t n = fft_length(request), lanes = fft_functions().lanes();
  const bool fits = n <= kMostScratchFloats &&
                    fft_scratch_floats(request.node->get<ir::FftAttrs>().kind, n, lanes) <= kMostScratchFloats;
  return fits ? Support::yes() : Support::no("is so long that a thread would need more than 1 GiB of scratch");
}

// Scratch of the tasks that run at the same time: a slot each where there are fewer tasks than threads.
struct FftScratch {
  FftScratch(const KernelRequest& request, size_t floats_of_slot, int64_t most_tasks)
      : floats(floats_of_slot), slots(std::min<int64_t>(request.num_threads, most_tasks)) {}
  size_t bytes() const { return floats * sizeof(float) * static_cast<size_t>(slots); }
  float* of(const KernelArgs& args, int tasks, int task, int slot) const {
    return reinterpret_cast<float*>(args.scratch) + static_cast<size_t>(tasks <= slots ? task : slot) * floats;
  }
  size_t floats;
  int64_t slots;
};

// At most so many tasks for `count` items of so much work each.
int64_t tasks_worth(double work, int64_t count) {
  return std::max<int64_t>(1, static_cast<int64_t>(work * static_cast<double>(count)) / kMinWorkPerTask);
}

// A row at a time on each thread.
Result<std::unique_ptr<Kernel>> create_split_fft(const KernelRequest& request, FftPlan plan, SplitFft split,
                                                 int64_t rows, int64_t have, int64_t made) {
  const FftScratch scratch(request, split.scratch_floats(fft_functions().lanes()), rows);
  const bool real_input = plan.kind == ir::FftKind::kReal, real_output = plan.kind == ir::FftKind::kRealInverse;
  return make_kernel(
      [=](const KernelArgs& args) {
        const auto tasks = static_cast<int>(rows);
        args.pool->parallel_for(tasks, [&](int row, int slot) {
          const FftInput in{input<float>(args, 0) + row * have,
                            real_input ? nullptr : input<float>(args, 1) + row * have, have};
          const FftOutput out{output<float>(args, 0) + row * made,
                              real_output ? nullptr : output<float>(args, 1) + row * made, made};
          fft_functions().run_split(plan, split, in, have, out, scratch.of(args, tasks, row, slot));
        });
        return Status::ok_status();
      },
      0, scratch.bytes());
}

Result<std::unique_ptr<Kernel>> create_fft(const KernelRequest& request, PackCache&) {
  const ir::FftKind kind = request.node->get<ir::FftAttrs>().kind;
  const FftPlan plan(kind, fft_length(request));
  const bool real_input = kind == ir::FftKind::kReal, real_output = kind == ir::FftKind::kRealInverse;
  const int64_t have = request.inputs[0].dims.back(), made = request.outputs[0].dims.back();
  const int64_t rows = request.outputs[0].element_count() / made, lanes = fft_functions().lanes();
  const int64_t blocks = ceil_div(rows, lanes);
  const int64_t worth = tasks_worth(5.0 * static_cast<double>(plan.n * lanes), blocks);
  const FftScratch scratch(request, static_cast<size_t>(4 * plan.entries() * lanes), std::min(blocks, worth));
  // Where rows do not fill the lanes, or many long ones together would not stay in the cache.
  constexpr size_t kCachedFloats = size_t{1} << 17;
  if (rows <= lanes / 4 || scratch.floats > kCachedFloats) {
    if (auto split = SplitFft::make(plan, lanes)) {
      return create_split_fft(request, plan, std::move(*split), rows, have, made);
    }
  }
  return make_kernel(
      [=](const KernelArgs& args) {
        const auto tasks = static_cast<int>(std::min({blocks, worth, int64_t{args.pool->num_threads()} * 2}));
        args.pool->parallel_for(tasks, [&](int task, int slot) {
          float* own = scratch.of(args, tasks, task, slot);
          for (int64_t b = blocks * task / tasks; b < blocks * (task + 1) / tasks; ++b) {
            const int64_t first = b * lanes;
            const FftInput in{input<float>(args, 0) + first * have,
                              real_input ? nullptr : input<float>(args, 1) + first * have, have};
            const FftOutput out{output<float>(args, 0) + first * made,
                                real_output ? nullptr : output<float>(args, 1) + first * made, made};
            fft_functions().run(plan, in, have, out, std::min(lanes, rows - first), own);
          }
        });
        return Status::ok_status();
      },
      0, scratch.bytes());
}

Support supports_double_fft(const KernelRequest& request) {
  if (Support s = needs_dtype(request, ir::DType::kFloat64); !s.ok) return s;
  if (request.node->get<ir::FftAttrs>().kind != ir::FftKind::kReal)
    return Support::no("does not begin in real numbers");
  if (request.outputs[0].element_count() == 0) return Support::no("is empty");
  if (Support s = needs_constant_ints(request, 1, "its length"); !s.ok) return s;
  constexpr int64_t kLongest = int64_t{1} << 24;
  const int64_t n = fft_length(request);
  const bool fits = n >= 2 && n <= kLongest && std::has_single_bit(static_cast<uint64_t>(n));
  return fits ? Support::yes() : Support::no("has a length that is no power of two from 2 to 2^24");
}

Result<std::unique_ptr<Kernel>> create_double_fft(const KernelRequest& request, PackCache&) {
  const DoubleRealFft fft(fft_length(request));
  const int64_t have = request.inputs[0].dims.back(), made = request.outputs[0].dims.back();
  const int64_t rows = request.outputs[0].element_count() / made,
                passes = std::bit_width(static_cast<uint64_t>(fft.n()));
  const int64_t worth = tasks_worth(2.0 * static_cast<double>(fft.n() * passes), rows);
  const auto tasks = static_cast<int>(std::min({rows, worth, int64_t{request.num_threads}}));
  const auto bytes_of_slot = static_cast<size_t>(fft.n()) * sizeof(double);
  return make_kernel(
      [=](const KernelArgs& args) {
        args.pool->parallel_for(tasks, [&](int task, int) {
          auto* scratch = reinterpret_cast<double*>(args.scratch + static_cast<size_t>(task) * bytes_of_slot);
          for (int64_t r = rows * task / tasks; r < rows * (task + 1) / tasks; ++r) {
            fft.run(input<double>(args, 0) + r * have, output<double>(args, 0) + r * made,
                    output<double>(args, 1) + r * made, scratch);
          }
        });
        return Status::ok_status();
      },
      0, bytes_of_slot * static_cast<size_t>(tasks));
}

constexpr KernelEntry kSignalRows[] = {
    {"cpu.fft.lanes_f32", ir::Op::kFft, supports_fft, nullptr, create_fft},
    {"cpu.fft.real_f64", ir::Op::kFft, supports_double_fft, nullptr, create_double_fft},
};

}  // namespace

std::span<const KernelEntry> signal_rows() { return kSignalRows; }

}  // namespace blade::backends::cpu
