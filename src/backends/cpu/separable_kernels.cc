// Row for a depthwise convolution and the 1x1 convolution that alone reads it, computed in one step.
#include <optional>

#include "backends/cpu/blockings.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

// Bytes a microsecond that a core reads from its L2.
constexpr double kL2BytesPerUs = 60e3;
constexpr double kSectionUs = 0.5;

template <class T, MatrixUnit kUnit = MatrixUnit::kVectors>
Support supports_separable(const KernelRequest& request) {
  if constexpr (kUnit == MatrixUnit::kTiles) {
    if (Support s = tiles_support(request); !s.ok) return s;
  }
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv)
    return Support::no("reads no convolution");
  for (const KernelRequest* r : {request.producer, &request}) {
    if (Support s = conv_node_support<T>(*r); !s.ok) return s;
    if (r->inputs[0].dtype != kElement<T>) return Support::no("an input is not of the type of the weights");
    if (!weights_constant(*r)) return Support::no("weights are not constant");
  }
  if (!is_depthwise(*request.producer)) return Support::no("the convolution before it is not depthwise");
  if (request.producer->producer != nullptr) return Support::no("takes two nodes, not three");
  return is_pointwise_conv(conv_shape(request)) ? Support::yes() : Support::no("is no 1x1 convolution of every pixel");
}

// The two alone, less what they move between them, more for weights that each strip reads again.
template <class T, MatrixUnit kUnit = MatrixUnit::kVectors>
double separable_us(const KernelRequest& request) {
  const Conv2DShape first = conv_shape(*request.producer), second = conv_shape(request, kUnit);
  const int threads = std::max(1, request.num_threads);
  const double arithmetic =
      depthwise_cost_us(first, threads) + conv_cost_us<T>(second, ConvAlgorithm::kDirect, threads);
  const auto between = static_cast<double>(request.inputs[0].bytes());
  const auto weights = static_cast<double>(request.inputs[1].bytes());
  const auto strips = static_cast<double>(separable_strips<T>(depthwise_shape(*request.producer)));
  // As steps of strips, which they else are, both take less: see bottleneck_us().
  constexpr double kOfShortStrips = 0.5;
  const bool goes_in_strips = kUnit == MatrixUnit::kTiles && has_images_for_all(second.n, threads);
  const double more = goes_in_strips ? kOfShortStrips * conv_cost_us<T>(second, ConvAlgorithm::kDirect, threads) : 0;
  return arithmetic - kSectionUs + more + (strips * weights - 2 * between) / kL2BytesPerUs / threads;
}

template <class T>
std::vector<Blocking> separable_blockings(const KernelRequest& request) {
  const DepthwiseShape shape = depthwise_shape(*request.producer);
  std::vector<Blocking> blockings = panel_blockings(request.outputs[0].dims.back());
  add_strips(blockings, separable_strip_rows<T>(shape), std::min(shape.oh, kMaxDepthwiseRows));
  return blockings;
}

// Nothing where the run finds the depthwise weights in its inputs, as the kernels want them.
template <class T>
Result<std::optional<PackedDepthwise>> own_depthwise_weights(const KernelRequest& producer, PackCache& packs) {
  if constexpr (std::is_same_v<T, float>) return std::optional<PackedDepthwise>();
  BLADE_ASSIGN_OR_RETURN(PackedDepthwise packed, PackedDepthwise::pack(producer, packs));
  return std::optional<PackedDepthwise>(std::move(packed));
}

template <class T, MatrixUnit kUnit = MatrixUnit::kVectors>
Result<std::unique_ptr<Kernel>> create_separable(const KernelRequest& request, PackCache& packs) {
  const KernelRequest& producer = *request.producer;
  DepthwiseShape shape = depthwise_shape(producer);
  shape.unit = kUnit;
  shape.blocking = blocking_for(request, kUnit);
  Conv2DShape second = conv_shape(request);
  second.blocking = shape.blocking;
  const LoweredEpilogue between(producer, producer.node->get<ir::ConvAttrs>().epilogue, 2, kElement<T>);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<T>);
  BLADE_ASSIGN_OR_RETURN(const auto packed, packed_direct_weights<T>(request, packs, second));
  BLADE_ASSIGN_OR_RETURN(const auto weights, own_depthwise_weights<T>(producer, packs));
  // The 1x1's input i is the step's input i + skipped: the value between the two is none.
  const size_t skipped = producer.inputs.size() - 1;
  const auto in_place = skipped < 31 ? epilogue.in_place_inputs() << skipped : 0;
  const auto packed_inputs = (skipped < 31 ? kWeightsPacked << skipped : 0) | (weights ? kWeightsPacked : 0);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<T> bound_between, bound;
        between.bind(args, bound_between);
        KernelArgs second_args = args;
        second_args.inputs = args.inputs.subspan(skipped);
        epilogue.bind(second_args, bound);
        separable_conv2d(shape, second.oc, input<T>(args, 0),
                         weights ? weights->weights() : DepthwiseWeights(input<float>(args, 1)), packed->data(),
                         output<T>(args), bound_between.raw, bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      in_place, separable_scratch_bytes<T>(shape, second.oc, request.num_threads), packed_inputs);
}

constexpr KernelEntry kSeparableRows[] = {
    {"cpu.conv.separable_f32", ir::Op::kConv, supports_separable<float>, separable_us<float>, create_separable<float>,
     separable_blockings<float>, product_row_unit},
    {"cpu.conv.separable_bf16", ir::Op::kConv, supports_separable<BFloat16>, separable_us<BFloat16>,
     create_separable<BFloat16>, separable_blockings<BFloat16>, product_row_unit},
    on_tiles({"cpu.conv.separable_amx_bf16", ir::Op::kConv, supports_separable<BFloat16, MatrixUnit::kTiles>,
              separable_us<BFloat16, MatrixUnit::kTiles>, create_separable<BFloat16, MatrixUnit::kTiles>}),
};

}  // namespace

std::span<const KernelEntry> separable_rows() { return kSeparableRows; }

}  // namespace blade::backends::cpu
