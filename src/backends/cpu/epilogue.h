// Fused pointwise programs of matrix kernels, lowered to what the raw kernels do themselves (bias, residual, slope,
// clamp, scale and shift) and, for the rest, to a program that runs on each finished tile.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "backends/cpu/broadcast.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/pointwise_program.h"
#include "base/half.h"

namespace blade::backends::cpu {

// Immutable; made with the kernel. Program input 0 is the product, input k >= 1 is node input first_operand + k - 1.
class LoweredEpilogue {
 public:
  // `channels` is the last dim of the output. Refuses operands that are neither scalars, vectors of `channels` nor
  // shaped like the output; a residual may have fewer channels, the rest count as zero. Operands are float32 or, like
  // `activations`, bfloat16; a residual that the raw kernel adds has the type of the activations.
  static Support supports(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand,
                          ir::DType activations = ir::DType::kFloat32);
  LoweredEpilogue(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand,
                  ir::DType activations = ir::DType::kFloat32);

  // What one run passes to the raw kernel, whose activations are T; must outlive the call.
  struct Operands {
    const LoweredEpilogue* lowered = nullptr;
    std::array<const std::byte*, kMaxOperands> operands{};  // of the program of the rest
  };
  template <class T>
  struct BoundTo : Operands {
    Epilogue<T> raw;
  };
  using Bound = BoundTo<float>;
  template <class T>
  void bind(const KernelArgs& args, BoundTo<T>& bound) const;
  // Inputs whose memory the output may share: the residual, each element of which is read before it is written.
  uint32_t in_place_inputs() const {
    return parts_.residual < 0 || rest_ != nullptr || !residual_like_output_ ? 0 : 1u << parts_.residual;
  }
  bool has_program() const { return rest_ != nullptr; }
  bool has_gate() const { return parts_.gate.used(); }
  bool has_curve() const { return parts_.gate.curve != Curve::kNone; }
  bool has_swish() const { return parts_.gate.curve == Curve::kSwish; }
  bool has_bias() const { return parts_.bias >= 0; }
  bool has_residual() const { return parts_.residual >= 0; }
  bool has_scale() const { return parts_.scaled || parts_.shifted; }
  bool has_slope() const { return parts_.slope >= 0 || !parts_.leaky_slope.empty(); }
  bool is_plain() const { return !has_program() && !has_gate() && !has_scale() && !has_slope(); }
  bool has_clamp() const {
    return parts_.lo > -std::numeric_limits<float>::infinity() || parts_.hi < std::numeric_limits<float>::infinity();
  }
  float lo() const { return parts_.lo; }
  float hi() const { return parts_.hi; }

 private:
  enum class Kind : uint8_t { kScalar, kChannels, kFull, kNarrow };  // kNarrow: the first channels of a full one
  static std::optional<Kind> kind_of(const KernelRequest& request, size_t input);
  static void run_tile(void* context, const EpilogueTile& tile);

  // What raw kernels do.
  struct Parts {
    int bias = -1, residual = -1, slope = -1;  // node inputs
    int64_t residual_channels = 0;
    std::vector<float> leaky_slope;  // the same number for every channel
    bool residual_last = false, scaled = false, shifted = false;
    Gate gate;
    int scale = -1, shift = -1;  // node inputs; else the numbers below
    std::vector<float> own_scale, own_shift;
    float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();
  };

  Parts parts_;
  int64_t channels_ = 0;
  size_t first_operand_ = 0;
  bool residual_like_output_ = true;
  std::vector<Kind> kinds_;        // of program inputs 1, 2, ...
  std::vector<ir::DType> dtypes_;  // likewise
  std::shared_ptr<const ProgramF32> rest_;
};

}  // namespace blade::backends::cpu
