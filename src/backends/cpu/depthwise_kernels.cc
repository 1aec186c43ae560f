// Rows for depthwise convolutions, which have little arithmetic and need no packed weights.
#include "backends/cpu/blockings.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

template <class T>
Support supports_depthwise(const KernelRequest& request) {
  if (Support s = conv_node_support<T>(request); !s.ok) return s;
  if (request.inputs[0].dtype != kElement<T>) return Support::no("the input is not of the type of the weights");
  if (!is_depthwise(request)) {
    return Support::no("has " + std::to_string(request.node->get<ir::ConvAttrs>().groups) +
                       " groups, needs one an input channel (" + std::to_string(request.inputs[0].dims.back()) + ")");
  }
  return std::is_same_v<T, float> || weights_constant(request) ? Support::yes()
                                                               : Support::no("weights are not constant");
}

double depthwise_us(const KernelRequest& request) {
  return depthwise_cost_us(conv_shape(request), std::max(1, request.num_threads));
}

template <class T>
std::vector<Blocking> depthwise_blockings(const KernelRequest& request) {
  const DepthwiseShape shape = depthwise_shape(request);
  std::vector<Blocking> blockings;
  add_strips(blockings, depthwise_block_rows<T>(shape), std::min(shape.oh, kMaxDepthwiseRows));
  return blockings;
}

Result<std::unique_ptr<Kernel>> create_depthwise(const KernelRequest& request, PackCache&) {
  const DepthwiseShape shape = depthwise_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        depthwise_conv2d(shape, input<float>(args, 0), input<float>(args, 1), output<float>(args), bound.raw,
                         *args.pool, args.scratch);
        return Status::ok_status();
      },
      0, depthwise_scratch_bytes<float>(shape, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_depthwise_bf16(const KernelRequest& request, PackCache& packs) {
  const DepthwiseShape shape = depthwise_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<BFloat16>);
  BLADE_ASSIGN_OR_RETURN(const PackedDepthwise packed, PackedDepthwise::pack(request, packs));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<BFloat16> bound;
        epilogue.bind(args, bound);
        depthwise_conv2d(shape, input<BFloat16>(args, 0), packed.weights(), output<BFloat16>(args), bound.raw,
                         *args.pool, args.scratch);
        return Status::ok_status();
      },
      0, depthwise_scratch_bytes<BFloat16>(shape, request.num_threads), kWeightsPacked);
}

constexpr KernelEntry kDepthwiseRows[] = {
    {"cpu.conv.depthwise_f32", ir::Op::kConv, supports_depthwise<float>, depthwise_us, create_depthwise,
     depthwise_blockings<float>, any_rows},
    {"cpu.conv.depthwise_bf16", ir::Op::kConv, supports_depthwise<BFloat16>, depthwise_us, create_depthwise_bf16,
     depthwise_blockings<BFloat16>, any_rows},
};

}  // namespace

std::span<const KernelEntry> depthwise_rows() { return kDepthwiseRows; }

}  // namespace blade::backends::cpu
