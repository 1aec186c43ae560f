// What the CPU kernels share: a kernel made from a function object, and the splitting of work over the pool by its
// cost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <type_traits>
#include <utility>

#include "backends/kernel.h"
#include "backends/strides.h"
#include "base/checked_math.h"
#include "base/even_tasks.h"

namespace blade::backends::cpu {

// Below this much work (in units of about a fifth of a nanosecond) waking other threads costs more than it saves.
inline constexpr int64_t kMinWorkPerTask = 4'000;
inline constexpr double kWorkUnitNs = 0.2;
// From so much on there are two tasks, which the pool hands out where cores are near enough to each other.
inline constexpr double kMinSharedWork = 2'500;

// Calls fn(begin, end) on disjoint ranges that cover [0, count); `work` is the cost of one item, where an element that
// is only loaded and stored costs 1.
template <class Fn>
void parallel_ranges(ThreadPool* pool, int64_t count, double work, Fn&& fn) {
  if (count <= 0) return;
  const double total = static_cast<double>(count) * work;
  const int threads = pool == nullptr ? 1 : pool->num_threads();
  const double wanted = std::max(total / kMinWorkPerTask, total < kMinSharedWork ? 1.0 : 2.0);
  const int64_t tasks = even_tasks(static_cast<int64_t>(std::min(wanted, 2.0 * threads)), threads, count);
  if (tasks <= 1) {
    fn(int64_t{0}, count);
    return;
  }
  pool->parallel_for(static_cast<int>(tasks), total * kWorkUnitNs,
                     [&](int task, int) { fn(count * task / tasks, count * (task + 1) / tasks); });
}

// A kernel whose run is `Fn: Status(const KernelArgs&) const`.
template <class Fn>
class FunctionKernel final : public Kernel {
 public:
  FunctionKernel(Fn fn, uint32_t in_place_inputs, size_t scratch, uint32_t packed_inputs)
      : fn_(std::move(fn)), in_place_inputs_(in_place_inputs), packed_inputs_(packed_inputs), scratch_(scratch) {}
  size_t scratch_bytes() const override { return scratch_; }
  bool can_run_in_place(int input) const override { return input < 32 && ((in_place_inputs_ >> input) & 1u) != 0; }
  bool reads_input(int input) const override { return input >= 32 || ((packed_inputs_ >> input) & 1u) == 0; }
  Status run(const KernelArgs& args) const override { return fn_(args); }

 private:
  Fn fn_;
  uint32_t in_place_inputs_, packed_inputs_;
  size_t scratch_;
};

// Constant weights, input 1 of the matrix operations, that the kernel has packed and reads no more.
inline constexpr uint32_t kWeightsPacked = 1u << 1;

// `in_place_inputs`: bit i where output 0 may share input i's memory; `packed_inputs`: bit i where runs never read it.
template <class Fn>
Result<std::unique_ptr<Kernel>> make_kernel(Fn fn, uint32_t in_place_inputs = 0, size_t scratch = 0,
                                            uint32_t packed_inputs = 0) {
  return std::unique_ptr<Kernel>(
      std::make_unique<FunctionKernel<Fn>>(std::move(fn), in_place_inputs, scratch, packed_inputs));
}

template <class T = std::byte>
const T* input(const KernelArgs& args, size_t i) {
  return static_cast<const T*>(args.inputs[i]);
}
template <class T = std::byte>
T* output(const KernelArgs& args, size_t i = 0) {
  return static_cast<T*>(args.outputs[i]);
}

// Memory of output i, whose dims the kernel has just found; null where it has no elements.
template <class T>
Result<T*> found_output(const KernelArgs& args, int i, std::span<const int64_t> dims, const std::string& label) {
  void* data = args.allocator->allocate(i, dims);
  if (data == nullptr && checked_element_count(dims).value_or(1) != 0) {
    return resource_exhausted(label + "there is no memory for its result.");
  }
  return static_cast<T*>(data);
}
template <class T>
Result<T*> found_output(const KernelArgs& args, int i, std::initializer_list<int64_t> dims, const std::string& label) {
  return found_output<T>(args, i, std::span<const int64_t>(dims.begin(), dims.size()), label);
}

inline Support yes(const KernelRequest&) { return Support::yes(); }
// KernelEntry::row_unit of rows that compute each result by itself.
inline int64_t any_rows(const KernelRequest&) { return 1; }
constexpr KernelEntry on_tiles(KernelEntry row) {
  row.traits |= kOnTiles;
  return row;
}
// Predicted so slow that only a stored, measured choice picks the row.
inline double never_by_prediction(const KernelRequest&) { return 1e9; }

inline std::string node_label(const KernelRequest& request) {
  return "Node '" + request.node->name + "' (" + ir::op_name(request.node->op) + "): ";
}

// The element type of a kernel that is a template over float and BFloat16.
template <class T>
inline constexpr ir::DType kElement = std::is_same_v<T, float> ? ir::DType::kFloat32 : ir::DType::kBFloat16;

inline Support needs_dtype(const KernelRequest& request, ir::DType dtype) {
  for (const TensorDesc* desc : {&request.inputs[0], &request.outputs[0]}) {
    if (desc->dtype != dtype) {
      return Support::no(std::string("has type ") + ir::dtype_name(desc->dtype) + ", needs " + ir::dtype_name(dtype));
    }
  }
  return Support::yes();
}
inline Support needs_float32(const KernelRequest& request) { return needs_dtype(request, ir::DType::kFloat32); }

// "no" unless input i is a constant of int32 or int64.
inline Support needs_constant_ints(const KernelRequest& request, size_t i, const char* what) {
  const bool constant = i < request.constants.size() && request.constants[i] != nullptr;
  if (!constant) return Support::no(std::string(what) + " is not constant");
  const ir::DType dtype = request.inputs[i].dtype;
  if (dtype == ir::DType::kInt32 || dtype == ir::DType::kInt64) return Support::yes();
  return Support::no(std::string(what) + " has type " + ir::dtype_name(dtype) + ", needs int32 or int64");
}

inline std::vector<int64_t> constant_ints(const KernelRequest& request, size_t i) {
  return ir::integer_values(*request.constants[i]).value_or(std::vector<int64_t>{});
}

}  // namespace blade::backends::cpu
