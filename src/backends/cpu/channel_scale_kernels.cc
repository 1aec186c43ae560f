// Rows for the product of bfloat16 pixels with one number a channel and image: the second half of squeeze and excite.
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

Support supports_channel_scale(const KernelRequest& request) {
  if (request.outputs[0].dtype != ir::DType::kBFloat16) return Support::no("the result is not bfloat16");
  for (const TensorDesc& operand : request.inputs) {
    if (operand.dtype != ir::DType::kBFloat16) return Support::no("an operand is not bfloat16");
  }
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

constexpr KernelEntry kChannelScaleRows[] = {
    {"cpu.pointwise.scale_channels_bf16", ir::Op::kPointwise, supports_channel_scale, nullptr, create_channel_scale,
     nullptr, any_rows},
};

}  // namespace

std::span<const KernelEntry> channel_scale_rows() { return kChannelScaleRows; }

}  // namespace blade::backends::cpu
