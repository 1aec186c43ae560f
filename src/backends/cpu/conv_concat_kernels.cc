// Rows for a concatenation of channels and the convolution that alone reads it, computed in one step: a kernel that
// copies its input to planes takes it from the parts. Its results may go as float32.
#include <array>

#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/conv_planes.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

constexpr MatrixUnit kTiles = MatrixUnit::kTiles;
constexpr size_t kMostParts = 16;

Support supports_conv_of_parts(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConcat)
    return Support::no("reads no concatenation");
  const KernelRequest& parts = *request.producer;
  const auto rank = static_cast<int64_t>(parts.outputs[0].dims.size());
  if (parts.node->get<ir::AxisAttrs>().axis != rank - 1) return Support::no("no channels are concatenated");
  if (parts.inputs.size() > kMostParts) return Support::no("has too many parts");
  for (const TensorDesc& part : parts.inputs) {
    if (part.dtype != ir::DType::kBFloat16) return Support::no("a part is not bfloat16");
  }
  if (Support s = conv_node_support<BFloat16>(request); !s.ok) return s;
  if (!weights_constant(request)) return Support::no("weights are not constant");
  const Conv2DShape shape = conv_shape(request, kTiles);
  if (shape.groups != 1) return Support::no("has several groups");
  return rounds_input(shape) ? Support::no("has few channels") : Support::yes();
}

// A convolution of all pixels by themselves would read them where they lie.
double conv_of_parts_us(const KernelRequest& request) {
  constexpr double kCopiedBytesPerUs = 40e3;  // of one thread
  const Conv2DShape shape = conv_shape(request, kTiles);
  const double copied = is_pointwise_conv(shape) ? static_cast<double>(request.inputs[0].bytes()) : 0;
  const int threads = std::max(1, request.num_threads);
  return conv_cost_us<BFloat16>(shape, ConvAlgorithm::kDirect, threads) + copied / kCopiedBytesPerUs / threads;
}

template <class Out>
Result<std::unique_ptr<Kernel>> make_conv_of_parts(const KernelRequest& request, PackCache& packs) {
  const Conv2DShape shape = conv_shape(request, kTiles);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, ir::DType::kBFloat16);
  BLADE_ASSIGN_OR_RETURN(const auto packed, packed_direct_weights<BFloat16>(request, packs, shape));
  std::vector<int64_t> channels;
  for (const TensorDesc& part : request.producer->inputs) channels.push_back(part.dims.back());
  const PlaneSplits splits = conv_planes_splits(shape, request.num_threads);
  // The convolution's input i is the step's input i + skipped: the value between the two is none.
  const size_t skipped = channels.size() - 1;
  return make_kernel(
      [=](const KernelArgs& args) {
        std::array<PlanePart, kMostParts> parts{};
        for (size_t i = 0; i < channels.size(); ++i) parts[i] = {input<BFloat16>(args, i), channels[i], channels[i]};
        KernelArgs own = args;
        own.inputs = args.inputs.subspan(skipped);
        LoweredEpilogue::BoundTo<BFloat16> bound;
        epilogue.bind(own, bound);
        conv_by_planes(shape, splits[static_cast<size_t>(args.pool->num_threads() - 1)],
                       {parts.data(), channels.size()}, conv_planes_weights(shape, packed->data()), output<Out>(args),
                       bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs() << skipped, conv_planes_scratch_bytes(shape, splits), kWeightsPacked << skipped);
}

Result<std::unique_ptr<Kernel>> create_conv_of_parts(const KernelRequest& request, PackCache& packs) {
  const bool wide = request.outputs[0].dtype == ir::DType::kFloat32;
  return wide ? make_conv_of_parts<float>(request, packs) : make_conv_of_parts<BFloat16>(request, packs);
}

Support supports_conv_of_parts_to_f32(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv)
    return Support::no("does not read the result of a convolution");
  if (request.outputs[0].dtype != ir::DType::kFloat32) return Support::no("casts to another type than float32");
  return supports_conv_of_parts(*request.producer);
}

constexpr KernelEntry kConvConcatRows[] = {
    on_tiles({"cpu.conv.of_parts_amx_bf16", ir::Op::kConv, supports_conv_of_parts, conv_of_parts_us,
              create_conv_of_parts, nullptr, any_rows}),
    on_tiles({"cpu.conv.of_parts_amx_bf16_to_f32", ir::Op::kCast, supports_conv_of_parts_to_f32,
              us_with_cast<conv_of_parts_us>, create_with_cast<create_conv_of_parts>, nullptr, any_rows}),
};

}  // namespace

std::span<const KernelEntry> conv_concat_rows() { return kConvConcatRows; }

}  // namespace blade::backends::cpu
