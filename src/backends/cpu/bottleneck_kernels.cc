// Rows for a convolution, the depthwise convolution that alone reads it and, for the second, the 1x1 convolution behind
// that, computed in one step: inverted bottlenecks and first layers whose inner tensors do not fit L2.
#include "backends/cpu/blockings.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/bottleneck.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

constexpr double kOuterBytesPerUs = 30e3;  // of a core, behind its L2
constexpr double kL2ReadBytesPerUs = 150e3;

// The requests of a step: of the depthwise convolution, of what it reads, and of the 1x1 behind it or null.
struct BottleneckRequests {
  const KernelRequest *first = nullptr, *depthwise = nullptr, *last = nullptr;

  BottleneckRequests(const KernelRequest& request, bool projects) {
    depthwise = projects ? request.producer : &request;
    last = projects ? &request : nullptr;
    if (depthwise != nullptr) first = depthwise->producer;
  }
};

Support supports_operands(const KernelRequest& request) {
  if (request.node->op != ir::Op::kConv) return Support::no("reads no convolution");
  if (Support s = conv_node_support<float>(request); !s.ok) return s;
  if (Support s = needs_float32(request); !s.ok) return s;
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

template <bool kProjects>
Support supports_bottleneck(const KernelRequest& request) {
  const BottleneckRequests r(request, kProjects);
  if (r.first == nullptr) return Support::no("reads no depthwise convolution of a convolution");
  if (r.first->producer != nullptr) return Support::no("takes fewer nodes");
  for (const KernelRequest* own : {r.first, r.depthwise, r.last}) {
    if (own == nullptr) continue;
    if (Support s = supports_operands(*own); !s.ok) return s;
  }
  if (is_depthwise(*r.first)) return Support::no("the first convolution is depthwise");
  if (!is_depthwise(*r.depthwise) || depthwise_shape(*r.depthwise).multiplier != 1)
    return Support::no("the convolution between is not depthwise with one output a channel");
  if (const char* refusal = conv2d_rows_refusal<float>(conv_shape(*r.first))) return Support::no(refusal);
  if (r.last == nullptr || is_pointwise_conv(conv_shape(*r.last))) return Support::yes();
  return Support::no("is no 1x1 convolution of every pixel");
}

BottleneckShape bottleneck_shape(const BottleneckRequests& r, const KernelRequest& request) {
  BottleneckShape shape;
  shape.first = conv_shape(*r.first);
  shape.first.blocking = {};
  shape.depthwise = depthwise_shape(*r.depthwise);
  shape.depthwise.blocking = request.blocking;
  shape.oc = r.last != nullptr ? r.last->outputs[0].dims.back() : 0;
  return shape;
}

// The convolutions alone, with the rows that two parts need, less what need not leave L2, more for weights that each
// strip reads again.
template <bool kProjects>
double bottleneck_us(const KernelRequest& request) {
  const BottleneckRequests r(request, kProjects);
  const BottleneckShape shape = bottleneck_shape(r, request);
  const DepthwiseShape& d = shape.depthwise;
  const int threads = std::max(1, request.num_threads);
  const auto tasks = static_cast<double>(bottleneck_tasks(shape, threads));
  const int64_t read_by_two = std::max<int64_t>(0, (d.kh - 1) * d.dilation_h + 1 - d.stride_h);
  const double twice = (tasks - 1) * static_cast<double>(read_by_two) / static_cast<double>(d.n * d.h);
  const auto moved = [&](const TensorDesc& between) {
    const auto bytes = static_cast<double>(between.bytes());
    const bool fits = bytes / threads <= static_cast<double>(request.machine->l2_bytes) / 2;
    return fits ? 0.0 : 2 * bytes / kOuterBytesPerUs / threads;
  };
  double us = conv_cost_us<float>(shape.first, ConvAlgorithm::kDirect, static_cast<int>(tasks)) * (1 + twice) +
              depthwise_cost_us(conv_shape(*r.depthwise), static_cast<int>(tasks)) - moved(r.depthwise->inputs[0]);
  auto weights = static_cast<double>(r.first->inputs[1].bytes());
  if (kProjects) {
    us += conv_cost_us<float>(conv_shape(*r.last), ConvAlgorithm::kDirect, static_cast<int>(tasks)) -
          moved(r.last->inputs[0]);
    weights += static_cast<double>(r.last->inputs[1].bytes());
  }
  const auto strips = static_cast<double>(d.n * d.oh) / static_cast<double>(bottleneck_strip_rows(shape));
  return us + strips * weights / kL2ReadBytesPerUs / threads;
}

template <bool kProjects>
std::vector<Blocking> bottleneck_blockings(const KernelRequest& request) {
  const BottleneckShape shape = bottleneck_shape(BottleneckRequests(request, kProjects), request);
  std::vector<Blocking> blockings;
  add_strips(blockings, bottleneck_strip_rows(shape), std::min(shape.depthwise.oh, kMaxDepthwiseRows));
  return blockings;
}

template <bool kProjects>
Result<std::unique_ptr<Kernel>> create_bottleneck(const KernelRequest& request, PackCache& packs) {
  const BottleneckRequests r(request, kProjects);
  const BottleneckShape shape = bottleneck_shape(r, request);
  const auto lowered = [](const KernelRequest& own) {
    return LoweredEpilogue(own, own.node->get<ir::ConvAttrs>().epilogue, 2);
  };
  const LoweredEpilogue first = lowered(*r.first), depthwise = lowered(*r.depthwise), last = lowered(request);
  BLADE_ASSIGN_OR_RETURN(const auto first_packed, packed_direct_weights<float>(*r.first, packs, shape.first));
  // Where each node's inputs begin in the step's, less the value before it, which is none of them.
  const size_t to_depthwise = r.first->inputs.size() - 1, to_last = to_depthwise + r.depthwise->inputs.size() - 1;
  std::shared_ptr<const AlignedBuffer> last_packed;
  uint32_t in_place = 0, packed_inputs = kWeightsPacked;
  if (kProjects) {
    Conv2DShape projection = conv_shape(request);
    projection.blocking = {};
    BLADE_ASSIGN_OR_RETURN(last_packed, packed_direct_weights<float>(request, packs, projection));
    if (to_last < 31) {
      in_place = last.in_place_inputs() << to_last;
      packed_inputs |= kWeightsPacked << to_last;
    }
  }
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound_first, bound_depthwise, bound_last;
        first.bind(args, bound_first);
        KernelArgs own = args;
        own.inputs = args.inputs.subspan(to_depthwise);
        depthwise.bind(own, bound_depthwise);
        const BottleneckWeights weights = {first_packed->data(), input<float>(own, 1),
                                           kProjects ? last_packed->data() : nullptr};
        if (kProjects) {
          own.inputs = args.inputs.subspan(to_last);
          last.bind(own, bound_last);
        }
        bottleneck_conv2d(shape, input<float>(args, 0), weights, output<float>(args),
                          {bound_first.raw, bound_depthwise.raw, bound_last.raw}, *args.pool, args.scratch);
        return Status::ok_status();
      },
      in_place, bottleneck_scratch_bytes(shape, request.num_threads), packed_inputs);
}

constexpr KernelEntry kBottleneckRows[] = {
    {"cpu.conv.before_depthwise_f32", ir::Op::kConv, supports_bottleneck<false>, bottleneck_us<false>,
     create_bottleneck<false>, bottleneck_blockings<false>},
    {"cpu.conv.bottleneck_f32", ir::Op::kConv, supports_bottleneck<true>, bottleneck_us<true>, create_bottleneck<true>,
     bottleneck_blockings<true>},
};

}  // namespace

std::span<const KernelEntry> bottleneck_rows() { return kBottleneckRows; }

}  // namespace blade::backends::cpu
