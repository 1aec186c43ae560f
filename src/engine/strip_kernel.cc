// All calls and copies of a run are listed when the kernel is made, with their places in scratch memory.
#include "engine/strip_kernel.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <map>
#include <mutex>

#include "base/checked_math.h"
#include "engine/memory_plan.h"

namespace blade::engine {
namespace {

using backends::Kernel;
using backends::KernelArgs;

constexpr size_t kMostInputs = 32;
constexpr size_t kSharedCopyBytes = 64 << 10;  // shorter copies are one thread's

// A place in the memory of an operand, of the result or of the scratch memory.
struct Place {
  enum class In : uint8_t { kInput, kResult, kScratch } in = In::kScratch;
  size_t index = 0;  // of the kernel's input
  size_t offset = 0, image_bytes = 0;
};

// A kernel to run, or (without one) bytes of scratch memory to copy.
struct Action {
  const Kernel* kernel = nullptr;
  size_t step = 0;
  size_t first_input = 0, num_inputs = 0, scratch = 0;
  Place result;
  size_t from = 0, to = 0, bytes = 0;
};

class StripKernel final : public Kernel {
 public:
  size_t scratch_bytes() const override { return task_bytes_ * static_cast<size_t>(tasks_ == 1 ? 1 : threads_); }
  bool reads_input(int input) const override { return reads_[static_cast<size_t>(input)] != 0; }
  Status run(const KernelArgs& args) const override {
    if (tasks_ == 1) return run_images(args, actions_[0], 0, images_, args.inner_us);
    std::mutex mutex;
    Status first_error;
    args.pool->parallel_for(tasks_, [&](int task, int slot) {
      KernelArgs own = args;
      own.pool = &ThreadPool::caller_only();
      own.scratch = args.scratch + static_cast<size_t>(slot) * task_bytes_;
      const bool by_images = actions_.size() == 1;
      const int64_t first = by_images ? task * images_ / tasks_ : 0;
      const int64_t last = by_images ? (task + 1) * images_ / tasks_ : images_;
      const auto& actions = actions_[by_images ? 0 : static_cast<size_t>(task)];
      std::vector<double> us(args.inner_us != nullptr ? steps_ : 0, 0);
      Status status = run_images(own, actions, first, last, us.empty() ? nullptr : us.data());
      if (status.ok() && us.empty()) return;
      const std::lock_guard lock(mutex);
      for (size_t s = 0; s < us.size(); ++s) args.inner_us[s] += us[s] / tasks_;
      if (!status.ok() && first_error.ok()) first_error = std::move(status);
    });
    return first_error;
  }

 private:
  friend class StripKernelBuilder;

  // `us` (or null): a number for each step, to which its time is added.
  Status run_images(const KernelArgs& args, const std::vector<Action>& actions, int64_t first, int64_t last,
                    double* us) const {
    using Clock = std::chrono::steady_clock;
    Clock::time_point begin = us != nullptr ? Clock::now() : Clock::time_point();
    for (int64_t image = first; image < last; ++image) {
      for (const Action& action : actions) {
        if (action.kernel == nullptr) {
          copy(args, action);
        } else {
          BLADE_RETURN_IF_ERROR(call(args, action, static_cast<size_t>(image)));
        }
        if (us == nullptr) continue;
        const Clock::time_point end = Clock::now();
        us[action.step] += std::chrono::duration<double, std::micro>(end - begin).count();
        begin = end;
      }
    }
    return {};
  }

  static std::byte* at(const KernelArgs& args, const Place& place, size_t image) {
    if (place.in == Place::In::kScratch) return args.scratch + place.offset;
    std::byte* base = place.in == Place::In::kResult
                          ? static_cast<std::byte*>(args.outputs[0])
                          : static_cast<std::byte*>(const_cast<void*>(args.inputs[place.index]));
    return base == nullptr ? nullptr : base + place.offset + image * place.image_bytes;
  }

  Status call(const KernelArgs& args, const Action& action, size_t image) const {
    std::array<const void*, kMostInputs> inputs;
    for (size_t i = 0; i < action.num_inputs; ++i) inputs[i] = at(args, inputs_[action.first_input + i], image);
    void* const result = at(args, action.result, image);
    KernelArgs own = args;
    own.inputs = {inputs.data(), action.num_inputs};
    own.outputs = {&result, 1};
    own.scratch = args.scratch + action.scratch;
    return action.kernel->run(own);
  }

  static void copy(const KernelArgs& args, const Action& action) {
    const int tasks = action.bytes < kSharedCopyBytes ? 1 : args.pool->num_threads();
    args.pool->parallel_for(tasks, [&](int task, int) {
      const size_t begin = action.bytes * static_cast<size_t>(task) / static_cast<size_t>(tasks);
      const size_t end = action.bytes * static_cast<size_t>(task + 1) / static_cast<size_t>(tasks);
      std::memcpy(args.scratch + action.to + begin, args.scratch + action.from + begin, end - begin);
    });
  }

  std::vector<std::unique_ptr<Kernel>> kernels_;
  std::vector<Place> inputs_;
  std::vector<std::vector<Action>> actions_;  // of each part of an image
  std::vector<char> reads_;                   // one an input of the chain
  int64_t images_ = 1;
  int tasks_ = 1;  // parts, or shares of the images
  size_t steps_ = 0;
  int threads_ = 1;  // each of which has scratch memory of its own, where there are several tasks
  size_t task_bytes_ = 0;
};

class StripKernelBuilder {
 public:
  StripKernelBuilder(const StripChain& chain, backends::PackCache& packs)
      : chain_(chain), packs_(packs), steps_(chain.steps.size()) {}

  Result<std::unique_ptr<Kernel>> build() {
    for (const auto& rows : chain_.parts) {
      Part& part = parts_.emplace_back();
      part.schedule = strip_schedule(chain_.rows, rows);
      part.kept = kept_rows(chain_.rows, rows, part.schedule);
    }
    kernel_->images_ = chain_.steps.back()->images();
    kernel_->tasks_ = chain_.by_images ? chain_.threads : static_cast<int>(parts_.size());
    kernel_->steps_ = steps_;
    kernel_->threads_ = chain_.threads;
    kernel_->actions_.resize(parts_.size());
    find_readers();
    BLADE_RETURN_IF_ERROR(make_kernels());
    place_memory();
    for (size_t p = 0; p < parts_.size(); ++p) {
      part_ = p;
      for (size_t t = 0; t < parts_[p].schedule.size(); ++t) add_strip(t);
    }
    return std::unique_ptr<Kernel>(std::move(kernel_));
  }

 private:
  // Rows of an image that one task makes.
  struct Part {
    std::vector<std::vector<RowRange>> schedule;
    std::vector<std::vector<KeptRows>> kept;
    std::vector<std::vector<const Kernel*>> kernel_of;  // by strip and step; nullptr: nothing to make
  };

  // What is between two steps: its buffer in a strip, and where rows wait for the next one.
  struct Between {
    size_t last_reader = 0;
    int64_t buffer_rows = 0, waiting_rows = 0;
    bool is_whole = false;  // all rows have their places, and none is copied
    size_t buffer = 0, waiting = 0;
  };

  void find_readers() {
    between_.resize(steps_ - 1);
    for (size_t s = 0; s < steps_; ++s) {
      for (const StripRows::Read& read : chain_.rows[s].reads) between_[static_cast<size_t>(read.step)].last_reader = s;
    }
    for (size_t s = 0; s + 1 < steps_; ++s) {
      Between& b = between_[s];
      for (const Part& part : parts_) {
        for (const auto& strip : part.kept) {
          b.buffer_rows = std::max(b.buffer_rows, strip[s].end - strip[s].begin);
          b.waiting_rows = std::max(b.waiting_rows, strip[s].kept_end - strip[s].begin);
        }
      }
      b.is_whole = b.waiting_rows > chain_.rows[s].at_a_time;
      if (b.is_whole) b.buffer_rows = chain_.rows[s].rows;
    }
  }

  Status make_kernels() {
    step_scratch_.assign(steps_, 0);
    std::vector<std::map<std::string, const Kernel*>> made(steps_);
    for (Part& part : parts_) {
      part.kernel_of.assign(part.schedule.size(), std::vector<const Kernel*>(steps_, nullptr));
      for (size_t t = 0; t < part.schedule.size(); ++t) {
        for (size_t s = 0; s < steps_; ++s) {
          if (part.schedule[t][s].count() == 0) continue;
          BLADE_ASSIGN_OR_RETURN(part.kernel_of[t][s], kernel_for(s, part.schedule[t][s], made[s]));
        }
      }
    }
    return {};
  }

  // Strips of the same work share one.
  Result<const Kernel*> kernel_for(size_t s, RowRange rows, std::map<std::string, const Kernel*>& made) {
    const StripStep& step = *chain_.steps[s];
    const StepPart part = part_of(step, rows, chain_.threads_of_step());
    const Kernel*& kernel = made[part.key];
    if (kernel != nullptr) return kernel;
    auto created = step.entry->create(part.requests.back(), packs_);
    if (!created.ok())
      return created.status().with_context("Node '" + step.requests.back().node->name + "' (" + step.entry->name + ")");
    kernel = created->get();
    kernel_->kernels_.push_back(std::move(created).value());
    step_scratch_[s] = std::max(step_scratch_[s], kernel->scratch_bytes());
    return kernel;
  }

  void place_memory() {
    const int last = static_cast<int>(steps_) - 1;
    std::vector<Interval> intervals;
    for (size_t s = 0; s < steps_; ++s)
      intervals.push_back({static_cast<int>(s), static_cast<int>(s), step_scratch_[s]});
    for (size_t s = 0; s + 1 < steps_; ++s) {
      const Between& b = between_[s];
      const size_t row = chain_.steps[s]->row_bytes();
      const int first = b.is_whole ? 0 : static_cast<int>(s);
      intervals.push_back(
          {first, b.is_whole ? last : static_cast<int>(b.last_reader), static_cast<size_t>(b.buffer_rows) * row});
      intervals.push_back({0, last, b.is_whole ? 0 : static_cast<size_t>(b.waiting_rows) * row});
    }
    const MemoryPlan memory = plan_memory(intervals);
    step_places_.assign(memory.offsets.begin(), memory.offsets.begin() + static_cast<ptrdiff_t>(steps_));
    for (size_t s = 0; s + 1 < steps_; ++s) {
      between_[s].buffer = memory.offsets[steps_ + 2 * s];
      between_[s].waiting = memory.offsets[steps_ + 2 * s + 1];
    }
    kernel_->task_bytes_ = align_up(memory.bytes, kBufferAlignment);
  }

  // Where row `row` of what step `s` makes stands in strip `t`.
  size_t row_place(size_t t, size_t s, int64_t row) const {
    const Between& b = between_[s];
    const int64_t begin = b.is_whole ? 0 : parts_[part_].kept[t][s].begin;
    return b.buffer + static_cast<size_t>(row - begin) * chain_.steps[s]->row_bytes();
  }

  void add_strip(size_t t) {
    size_t chain_input = 0;
    for (size_t s = 0; s < steps_; ++s) {
      if (s + 1 < steps_) copy_waiting(t, s, /*back=*/true);
      add_call(t, s, chain_input);
      for (size_t made = 0; made + 1 < steps_; ++made) {
        if (between_[made].last_reader == s) copy_waiting(t, made, /*back=*/false);
      }
    }
  }

  // Rows that were kept go before those that are made; rows that the next strip needs go to where they wait.
  void copy_waiting(size_t t, size_t s, bool back) {
    const Between& b = between_[s];
    if (b.is_whole || (!back && t + 1 == parts_[part_].kept.size())) return;
    const KeptRows& rows = parts_[part_].kept[back ? t : t + 1][s];
    const size_t row = chain_.steps[s]->row_bytes();
    Action action;
    action.step = s;
    action.bytes = static_cast<size_t>(rows.kept_end - rows.begin) * row;
    if (action.bytes == 0) return;
    const size_t place = row_place(t, s, rows.begin);
    action.from = back ? b.waiting : place;
    action.to = back ? place : b.waiting;
    kernel_->actions_[part_].push_back(action);
  }

  void add_call(size_t t, size_t s, size_t& chain_input) {
    const StripStep& step = *chain_.steps[s];
    const RowRange rows = parts_[part_].schedule[t][s];
    Action action;
    action.step = s;
    action.kernel = parts_[part_].kernel_of[t][s];
    action.scratch = step_places_[s];
    action.first_input = kernel_->inputs_.size();
    action.num_inputs = step.inputs.size();
    std::vector<RowRange> reads(step.inputs.size());
    if (action.kernel != nullptr) reads = part_of(step, rows, chain_.threads_of_step()).inputs;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      const int made_by = chain_.step_of(step.inputs[i]);
      Place place;
      if (made_by >= 0) {
        place.offset = row_place(t, static_cast<size_t>(made_by), reads[i].begin);
      } else {
        place = {Place::In::kInput, chain_input, 0, step.image_bytes(i)};
        if (!step.windows[i].all)
          place.offset = static_cast<size_t>(reads[i].begin) * StripStep::row_bytes(step.input_descs[i]);
        if (kernel_->reads_.size() <= chain_input) kernel_->reads_.resize(chain_input + 1, 0);
        if (action.kernel != nullptr && action.kernel->reads_input(static_cast<int>(i)))
          kernel_->reads_[chain_input] = 1;
        ++chain_input;
      }
      if (action.kernel != nullptr) kernel_->inputs_.push_back(place);
    }
    if (action.kernel == nullptr) return;
    if (s + 1 < steps_) {
      action.result.offset = row_place(t, s, rows.begin);
    } else {
      action.result = {Place::In::kResult, 0, static_cast<size_t>(rows.begin) * step.row_bytes(),
                       static_cast<size_t>(step.rows()) * step.row_bytes()};
    }
    kernel_->actions_[part_].push_back(action);
  }

  const StripChain& chain_;
  backends::PackCache& packs_;
  const size_t steps_;
  std::unique_ptr<StripKernel> kernel_ = std::make_unique<StripKernel>();
  std::vector<Part> parts_;
  size_t part_ = 0;  // whose actions are added
  std::vector<Between> between_;
  std::vector<size_t> step_scratch_, step_places_;
};

}  // namespace

std::vector<ir::ValueId> StripChain::inputs() const {
  std::vector<ir::ValueId> all;
  for (const auto& step : steps) {
    for (ir::ValueId id : step->inputs) {
      if (step_of(id) < 0) all.push_back(id);
    }
  }
  return all;
}

int StripChain::step_of(ir::ValueId value) const {
  for (size_t s = 0; s < steps.size(); ++s) {
    if (steps[s]->output == value) return static_cast<int>(s);
  }
  return -1;
}

Result<std::unique_ptr<Kernel>> make_strip_kernel(const StripChain& chain, backends::PackCache& packs) {
  return StripKernelBuilder(chain, packs).build();
}

}  // namespace blade::engine
