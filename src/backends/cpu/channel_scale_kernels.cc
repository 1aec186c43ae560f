// Rows for bfloat16 pixels and one number a channel: the product with one of each image, the second half of squeeze and
// excite, and product, sum and clamp, as batch normalization stands in front of convolutions.
#include <limits>
#include <optional>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/convert.h"

namespace blade::backends::cpu {
namespace {

struct ScaledImages {
  int pixels = -1;  // which input has them; the other one has the factors
  int64_t images = 1, rows = 1, channels = 1;
};

// `pixels` -1: the node is no such product.
ScaledImages scaled_images(const KernelRequest& request) {
  ScaledImages s;
  const ir::PointwiseProgram& program = request.node->get<ir::PointwiseAttrs>().program;
  if (program.num_inputs != 2 || program.code.size() != 1 || program.code[0].op != ir::PointwiseOp::kMul) return s;
  if (program.code[0].a == program.code[0].b) return s;
  const ir::Dims& out = request.outputs[0].dims;
  for (int i = 0; i < 2; ++i) {
    const ir::Dims& factors = request.inputs[1 - i].dims;
    if (request.inputs[i].dims != out || factors.size() != out.size() || out.size() < 3) continue;
    if (factors.front() != out.front() || factors.back() != out.back()) continue;
    if (product(factors, 1, factors.size() - 1) != 1) continue;
    s = {i, out.front(), product(out, 1, out.size() - 1), out.back()};
  }
  return s;
}

Support all_bfloat16(const KernelRequest& request) {
  if (request.outputs[0].dtype != ir::DType::kBFloat16) return Support::no("the result is not bfloat16");
  for (const TensorDesc& operand : request.inputs) {
    if (operand.dtype != ir::DType::kBFloat16) return Support::no("an operand is not bfloat16");
  }
  return Support::yes();
}

Support supports_channel_scale(const KernelRequest& request) {
  if (Support s = all_bfloat16(request); !s.ok) return s;
  return scaled_images(request).pixels >= 0
             ? Support::yes()
             : Support::no("is no product of pixels with one number a channel and image");
}

Result<std::unique_ptr<Kernel>> create_channel_scale(const KernelRequest& request, PackCache&) {
  const ScaledImages s = scaled_images(request);
  return make_kernel(
      [=](const KernelArgs& args) {
        const auto* pixels = input<BFloat16>(args, static_cast<size_t>(s.pixels));
        const auto* factors = input<BFloat16>(args, static_cast<size_t>(1 - s.pixels));
        auto* wide = reinterpret_cast<float*>(args.scratch);
        widen(factors, wide, s.images * s.channels);
        parallel_ranges(args.pool, s.images * s.rows, static_cast<double>(s.channels), [&](int64_t begin, int64_t end) {
          while (begin < end) {
            const int64_t image = begin / s.rows, last = std::min(end, (image + 1) * s.rows);
            scale_rows(pixels + begin * s.channels, wide + image * s.channels,
                       output<BFloat16>(args) + begin * s.channels, last - begin, s.channels);
            begin = last;
          }
        });
        return Status::ok_status();
      },
      1u << s.pixels, static_cast<size_t>(s.images * s.channels) * sizeof(float));
}

// Inputs of a program that is pixels times numbers of channels plus others, and how the sum is clamped.
struct AffineInputs {
  int pixels = -1, scale = -1, shift = -1;
  float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();
};

std::optional<AffineInputs> affine_inputs(const ir::PointwiseProgram& program) {
  constexpr int kProduct = 3, kSum = 4;  // values behind the inputs
  const auto& code = program.code;
  if (program.num_inputs != 3 || code.size() < 2 || code.size() > 3) return std::nullopt;
  if (code[0].op != ir::PointwiseOp::kMul || code[1].op != ir::PointwiseOp::kAdd) return std::nullopt;
  if (code[1].a != kProduct && code[1].b != kProduct) return std::nullopt;
  AffineInputs inputs = {code[0].a, code[0].b, code[1].a == kProduct ? code[1].b : code[1].a};
  if (inputs.pixels + inputs.scale + inputs.shift != 0 + 1 + 2 || inputs.pixels == inputs.scale) return std::nullopt;
  if (code.size() == 2) return inputs;
  inputs.lo = 0;
  if (code[2].a != kSum) return std::nullopt;
  if (code[2].op == ir::PointwiseOp::kRelu6) inputs.hi = 6;
  return code[2].op == ir::PointwiseOp::kRelu || code[2].op == ir::PointwiseOp::kRelu6 ? std::optional(inputs)
                                                                                       : std::nullopt;
}

bool is_of_channels(const TensorDesc& operand, int64_t channels) {
  return !operand.dims.empty() && operand.dims.back() == channels && operand.element_count() == channels;
}

// Nothing where the node is no such program.
std::optional<AffineInputs> channel_affine(const KernelRequest& request) {
  // Channels, for vectors of one row; what is left of them goes one by one where there are no masks.
  constexpr int64_t kFewest = 16, kFewestWithRest = 128, kWhole = 8;
  auto found = affine_inputs(request.node->get<ir::PointwiseAttrs>().program);
  const TensorDesc& out = request.outputs[0];
  if (!found || out.dims.empty()) return std::nullopt;
  if (out.dims.back() < (out.dims.back() % kWhole == 0 ? kFewest : kFewestWithRest)) return std::nullopt;
  if (request.inputs[found->pixels].dims != out.dims) std::swap(found->pixels, found->scale);
  const bool fits = request.inputs[found->pixels].dims == out.dims &&
                    is_of_channels(request.inputs[found->scale], out.dims.back()) &&
                    is_of_channels(request.inputs[found->shift], out.dims.back());
  return fits ? found : std::nullopt;
}

Support supports_channel_affine(const KernelRequest& request) {
  if (Support s = all_bfloat16(request); !s.ok) return s;
  return channel_affine(request)
             ? Support::yes()
             : Support::no("is no pixels times numbers of channels plus others, with or without a ReLU");
}

Result<std::unique_ptr<Kernel>> create_channel_affine(const KernelRequest& request, PackCache&) {
  const AffineInputs inputs = *channel_affine(request);
  const int64_t channels = request.outputs[0].dims.back(), rows = request.outputs[0].element_count() / channels;
  const auto operand = [](const KernelArgs& args, int i) { return input<BFloat16>(args, static_cast<size_t>(i)); };
  return make_kernel(
      [=](const KernelArgs& args) {
        auto *const scale = reinterpret_cast<float*>(args.scratch), *const shift = scale + channels;
        widen(operand(args, inputs.scale), scale, channels);
        widen(operand(args, inputs.shift), shift, channels);
        const ChannelAffine affine = {scale, shift, inputs.lo, inputs.hi};
        const BFloat16* const pixels = operand(args, inputs.pixels);
        parallel_ranges(args.pool, rows, static_cast<double>(channels), [&](int64_t begin, int64_t end) {
          affine_rows(pixels + begin * channels, affine, output<BFloat16>(args) + begin * channels, end - begin,
                      channels);
        });
        return Status::ok_status();
      },
      1u << inputs.pixels, static_cast<size_t>(2 * channels) * sizeof(float));
}

constexpr KernelEntry kChannelScaleRows[] = {
    {"cpu.pointwise.affine_channels_bf16", ir::Op::kPointwise, supports_channel_affine, nullptr, create_channel_affine,
     nullptr, any_rows},
    {"cpu.pointwise.scale_channels_bf16", ir::Op::kPointwise, supports_channel_scale, nullptr, create_channel_scale,
     nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> channel_scale_rows() { return kChannelScaleRows; }

}  // namespace blade::backends::cpu
