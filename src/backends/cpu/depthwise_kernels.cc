// Rows for depthwise convolutions, which have little arithmetic and need no packed weights, and for those of few
// channels a group, which go the same way.
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

// --- some channels a group ---

DepthwiseShape grouped_shape(const KernelRequest& request) {
  DepthwiseShape shape = depthwise_shape(request);
  shape.group = request.inputs[1].dims.rbegin()[1];
  return shape;
}

Support supports_grouped(const KernelRequest& request) {
  if (Support s = conv_node_support<float>(request); !s.ok) return s;
  if (Support s = needs_dtype(request, ir::DType::kFloat32); !s.ok) return s;
  if (is_depthwise(request)) return Support::no("has one input channel a group: the depthwise row takes that");
  if (!weights_constant(request)) return Support::no("weights are not constant");
  const DepthwiseShape shape = grouped_shape(request);
  if (shape.group == shape.c || request.outputs[0].dims.back() != shape.c)
    return Support::no("has one group, or other numbers of outputs than of inputs");
  return has_grouped_kernel(shape) ? Support::yes()
                                   : Support::no(
                                         "is not 3x3 at a stride of 1 or 2 with groups of as many inputs as "
                                         "outputs that fill vectors");
}

double grouped_us(const KernelRequest& request) {
  return grouped_cost_us(conv_shape(request), std::max(1, request.num_threads));
}

Result<std::unique_ptr<Kernel>> create_grouped(const KernelRequest& request, PackCache& packs) {
  const DepthwiseShape shape = grouped_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  BLADE_ASSIGN_OR_RETURN(const auto packed,
                         packed_weights(request, packs, layout_name("grouped", {shape.kh, shape.c, shape.group}),
                                        grouped_weights_bytes(shape), [&](const float* from, void* to) {
                                          pack_grouped_weights(shape, from, static_cast<float*>(to));
                                        }));
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        DepthwiseWeights weights;
        weights.grouped = packed->as<float>();
        depthwise_conv2d(shape, input<float>(args, 0), weights, output<float>(args), bound.raw, *args.pool,
                         args.scratch);
        return Status::ok_status();
      },
      0, depthwise_scratch_bytes<float>(shape, request.num_threads), kWeightsPacked);
}

constexpr KernelEntry kDepthwiseRows[] = {
    {"cpu.conv.depthwise_f32", ir::Op::kConv, supports_depthwise<float>, depthwise_us, create_depthwise,
     depthwise_blockings<float>, any_rows},
    {"cpu.conv.depthwise_bf16", ir::Op::kConv, supports_depthwise<BFloat16>, depthwise_us, create_depthwise_bf16,
     depthwise_blockings<BFloat16>, any_rows},
    {"cpu.conv.grouped_f32", ir::Op::kConv, supports_grouped, grouped_us, create_grouped, depthwise_blockings<float>,
     any_rows},
};

}  // namespace

std::span<const KernelEntry> depthwise_rows() { return kDepthwiseRows; }

}  // namespace blade::backends::cpu
