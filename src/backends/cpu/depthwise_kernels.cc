// Row for depthwise convolutions, which have little arithmetic and need no packed weights.
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"

namespace blade::backends::cpu {
namespace {

Support supports_depthwise(const KernelRequest& request) {
  if (Support s = conv_node_support(request); !s.ok) return s;
  if (is_depthwise(request)) return Support::yes();
  return Support::no("has " + std::to_string(request.node->get<ir::ConvAttrs>().groups) +
                     " groups, needs one an input channel (" + std::to_string(request.inputs[0].dims.back()) + ")");
}

double depthwise_us(const KernelRequest& request) {
  return depthwise_cost_us(conv_shape(request), std::max(1, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_depthwise(const KernelRequest& request, PackCache&) {
  const DepthwiseShape shape = depthwise_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        depthwise_conv2d_f32(shape, input<float>(args, 0), input<float>(args, 1), output<float>(args), bound.raw,
                             *args.pool, args.scratch);
        return Status::ok_status();
      },
      0, depthwise_scratch_bytes(shape, request.num_threads));
}

constexpr KernelEntry kDepthwiseRows[] = {
    {"cpu.conv.depthwise_f32", ir::Op::kConv, supports_depthwise, depthwise_us, create_depthwise},
};

}  // namespace

std::span<const KernelEntry> depthwise_rows() { return kDepthwiseRows; }

}  // namespace blade::backends::cpu
