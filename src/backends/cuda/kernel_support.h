// What the rows of CUDA kernels share: launching, element types, and the kernel object around one or more launches.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backends/cuda/cuda_status.h"
#include "backends/cuda/kernel_params.h"
#include "backends/cuda/small_work.h"
#include "backends/kernel.h"
#include "backends/strides.h"
#include "base/checked_math.h"
#include "ir/half_types.h"

namespace blade::backends::cuda {

struct LaunchShape {
  dim3 grid = {1, 1, 1};
  int threads = 256;
  int shared_bytes = 0;
  int cluster = 1;
};

// Makes the card of this process the current one of this thread: each thread has its own.
Status select_card();

// Loads the kernel and allows it the shared memory of the shape: once, when a row is made, so that launches do no more
// than launch.
Status prepare_launch(const Device& device, const void* kernel, const LaunchShape& shape);
// Puts the kernel on the queue, to begin when the one before lets it (programmatic dependent launch).
Status launch(const KernelArgs& args, const void* kernel, const LaunchShape& shape, void** params);

// How many clusters of such a launch the card holds at once.
Result<int> clusters_at_once(const void* kernel, const LaunchShape& shape);

inline LaunchShape one_each(int64_t count, int threads = 256) {
  LaunchShape shape;
  shape.threads = threads;
  shape.grid.x = static_cast<unsigned>(ceil_div(count, threads));
  return shape;
}

std::optional<ElementType> element_type(ir::DType dtype);
// "no" unless the operand is one of the types that kernels compute in (float32, float16, bfloat16, bool if
// `with_bool`).
Support needs_element_type(const TensorDesc& desc, const char* what, bool with_bool = false);
// "no" unless float32, float16 or bfloat16.
Support needs_full_or_half(const TensorDesc& desc, const char* what);
// Index arithmetic is in 32 bits.
Support needs_small(const KernelRequest& request);

// What a kernel object knows beside its launch. Bits of `in_place_inputs` and `unread_inputs` are inputs.
struct KernelTraits {
  uint32_t in_place_inputs = 0, unread_inputs = 0;
  size_t scratch_bytes = 0;
  SmallWork small = {};  // where the same can be done with others in one launch
};

// A kernel whose run is `Fn: Status(const KernelArgs&) const`.
template <class Fn>
class LaunchKernel final : public Kernel, public SmallKernel {
 public:
  LaunchKernel(Fn fn, KernelTraits traits) : fn_(std::move(fn)), traits_(std::move(traits)) {}
  size_t scratch_bytes() const override { return traits_.scratch_bytes; }
  bool can_run_in_place(int input) const override { return has_bit(traits_.in_place_inputs, input); }
  bool reads_input(int input) const override { return !has_bit(traits_.unread_inputs, input); }
  bool can_join() const override { return !traits_.small.pieces.empty() || traits_.small.rows.has_value(); }
  const SmallWork& work() const override { return traits_.small; }
  Status run(const KernelArgs& args) const override { return fn_(args); }

 private:
  static bool has_bit(uint32_t bits, int input) { return input < 32 && ((bits >> input) & 1u) != 0; }

  Fn fn_;
  KernelTraits traits_;
};

template <class Fn>
Result<std::unique_ptr<Kernel>> make_kernel(Fn fn, KernelTraits traits = {}) {
  return std::unique_ptr<Kernel>(std::make_unique<LaunchKernel<Fn>>(std::move(fn), std::move(traits)));
}

inline bool is_constant(const KernelRequest& request, size_t i) {
  return i < request.constants.size() && request.constants[i] != nullptr;
}
inline std::vector<int64_t> constant_ints(const KernelRequest& request, size_t i) {
  return ir::integer_values(*request.constants[i]).value_or(std::vector<int64_t>{});
}
Support needs_constant_ints(const KernelRequest& request, size_t i, const char* what);

float float_at(const ir::Tensor& tensor, int64_t i);  // of float32, float16 or bfloat16

// Loops over `dims` merged where every operand's strides allow it; at least one dim.
struct MergedLoops {
  ir::Dims dims;
  std::vector<ir::Dims> strides;  // one an operand
};
MergedLoops merge_loops(const ir::Dims& dims, const std::vector<ir::Dims>& strides);

// Positions of a box that go from one layout to another: strides and offsets in elements.
StridedCopiesParams one_copy(const ir::Dims& dims, const ir::Dims& from_strides, const ir::Dims& to_strides,
                             size_t element_bytes);

// A constant operand of a matrix node, a scalar or one value a channel, as floats on the device, zeros up to `padded`.
Result<std::shared_ptr<const DeviceBuffer>> vector_on_device(const KernelRequest& request, int input, int64_t padded,
                                                             PackCache& packs);

// The same in the type of the result, float16 or bfloat16, as NVIDIA's libraries want it.
Result<std::shared_ptr<const DeviceBuffer>> half_vector_on_device(const KernelRequest& request, int input,
                                                                  PackCache& packs);

// A fused program of a matrix node: what the kernels do themselves, and the rest as a program.
class Epilogue {
 public:
  static Support supports(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand);
  // "no" where more than bias, residual and clamp is to be done.
  static Support supports_plain(const KernelRequest& request, const ir::PointwiseProgram& program,
                                size_t first_operand);
  // "no" where more than bias, residual, a curve without operands and clamp is to be done.
  static Support supports_short(const KernelRequest& request, const ir::PointwiseProgram& program,
                                size_t first_operand);
  // "no" where more than bias, a curve without operands and clamp is to be done.
  static Support supports_by_channel(const KernelRequest& request, const ir::PointwiseProgram& program,
                                     size_t first_operand);
  // Constant biases are packed as float, padded to `padded_channels`.
  static Result<Epilogue> create(const KernelRequest& request, const ir::PointwiseProgram& program,
                                 size_t first_operand, int64_t padded_channels, PackCache& packs);
  // Of a convolution whose only residual is the request's producer, a convolution with at most a bias: one bias for
  // both, and no residual.
  static Support supports_sum(const KernelRequest& request);
  static Result<Epilogue> create_sum(const KernelRequest& request, int64_t padded_channels);
  EpilogueParams bind(const KernelArgs& args) const;
  uint32_t in_place_inputs() const { return residual_ < 0 || params_.has_program ? 0 : 1u << residual_; }
  uint32_t unread_inputs() const { return bias_input_ < 0 ? 0 : 1u << bias_input_; }

 private:
  EpilogueParams params_;
  std::shared_ptr<const DeviceBuffer> bias_, slopes_;
  int bias_input_ = -1, residual_ = -1;
  std::vector<int> operand_inputs_;  // node inputs of the program's inputs 1, 2, ...
};

// Scratch of NVIDIA's libraries, which want it aligned to more than the arena is: how much to ask for, and where it is.
constexpr uintptr_t kLibraryAlignment = 256;
inline size_t library_scratch_bytes(size_t bytes) { return bytes > 0 ? bytes + kLibraryAlignment : 0; }
inline void* library_scratch(std::byte* scratch) {
  const auto address = reinterpret_cast<uintptr_t>(scratch);
  return scratch + (kLibraryAlignment - address % kLibraryAlignment) % kLibraryAlignment;
}

// Whether the program fits into the device's form, or why not; and whether it is computed in float there.
Support fits_device(const ir::PointwiseProgram& program);
Support supports_program(const ir::PointwiseProgram& program);
Program to_device(const ir::PointwiseProgram& program);

}  // namespace blade::backends::cuda
