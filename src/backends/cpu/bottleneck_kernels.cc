// Rows for a convolution, the depthwise convolution that alone reads it and, for the second, the 1x1 convolution behind
// that, computed in one step: inverted bottlenecks and first layers whose inner tensors do not fit L2.
#include "backends/cpu/blockings.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/matrix/bottleneck.h"
#include "backends/cpu/matrix/depthwise_half.h"
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

// The types of a row: what is stored, and what multiplies the 1x1s.
struct InFloat32 {
  using T = float;
  static constexpr MatrixUnit kUnit = MatrixUnit::kVectors;
};
struct OnTiles {
  using T = BFloat16;
  static constexpr MatrixUnit kUnit = MatrixUnit::kTiles;
};

// What is saved where a value stays in L2 in any case: nothing beside sums in float32.
template <class Types>
constexpr double kOwnBytesPerUs = std::is_same_v<Types, OnTiles> ? 60e3 : std::numeric_limits<double>::infinity();

template <class Types>
Support supports_operands(const KernelRequest& request) {
  if (request.node->op != ir::Op::kConv) return Support::no("reads no convolution");
  if (Support s = conv_node_support<typename Types::T>(request); !s.ok) return s;
  if constexpr (std::is_same_v<Types, InFloat32>) {
    if (Support s = needs_float32(request); !s.ok) return s;
  }
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

template <class Types>
LoweredEpilogue lowered_epilogue(const KernelRequest& request) {
  return {request, request.node->get<ir::ConvAttrs>().epilogue, 2, kElement<typename Types::T>};
}

// Whether float16 has all weights of a depthwise convolution, and as many bits of them as bfloat16.
bool fit_half(const DepthwiseShape& s, const BFloat16* weights) {
  constexpr float kLeast = 0x1p-10f;  // of a channel's largest
  for (int64_t c = 0; c < s.c; ++c) {
    float largest = 0;
    for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) {
      const float weight = std::abs(static_cast<float>(weights[tap * s.c + c]));
      if (!(weight <= kMostHalf)) return false;  // nor NaN
      largest = std::max(largest, weight);
    }
    if (largest > 0 && largest < kLeast) return false;
  }
  return true;
}

// Whether, for inputs of about one, what float16 between the convolutions loses is less than what bfloat16 does: `lost`
// at most of small activations, which the other's weights [kh][kw][channels] multiply.
bool keeps_bits(const DepthwiseShape& s, const BFloat16* first, int64_t first_rows, float lost,
                const BFloat16* weights) {
  const float most = 0x1p-15f / lost;  // of errors to results: 2^-8 of bfloat16, 2^-7 of margin
  float error = 0, result = 0;
  for (int64_t c = 0; c < s.c; ++c) {
    float largest = 0, sum = 0;
    for (int64_t row = 0; row < first_rows; ++row)
      largest = std::max(largest, std::abs(static_cast<float>(first[row * s.c + c])));
    for (int64_t tap = 0; tap < s.kh * s.kw; ++tap) sum += std::abs(static_cast<float>(weights[tap * s.c + c]));
    error = std::max(error, sum);
    result = std::max(result, largest * sum);
  }
  return error <= most * result;
}

// Whether all that a node's epilogue reads is constant and at most `most` in size.
bool has_small_operands(const KernelRequest& request, float most) {
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    if (request.constants[i] == nullptr || request.inputs[i].dtype != ir::DType::kFloat32) return false;
    const auto operand = ir::aligned(request.constants[i]);
    if (!operand.ok()) return false;
    const auto* values = reinterpret_cast<const float*>((*operand)->data);
    if (!std::all_of(values, values + request.inputs[i].element_count(), [=](float x) { return std::abs(x) <= most; }))
      return false;
  }
  return true;
}

// Whether what lies between the first convolution and the depthwise one is float16: safe where it is bounded and,
// within its bounds, no sum of the other overflows.
enum class HalfBetween { kNo, kSafe, kMayOverflow };
HalfBetween half_between(const BottleneckRequests& r) {
  constexpr float kLeastMost = 0x1p-10f, kMostBias = kMostHalf / 4;  // products are half of kMostHalf at most
  constexpr float kLostByRounding = 0x1p-25f, kLostBySwish = 0x1p-18f;
  const DepthwiseShape shape = depthwise_shape(*r.depthwise);
  if (!r.first->machine->avx512_fp16 || !multiplies_halves(shape)) return HalfBetween::kNo;
  const LoweredEpilogue e = lowered_epilogue<OnTiles>(*r.first);
  if (e.has_program() || e.has_residual() || e.has_scale()) return HalfBetween::kNo;
  if (int{e.has_clamp()} + int{e.has_slope()} + int{e.has_gate()} > 1) return HalfBetween::kNo;
  if (lowered_epilogue<OnTiles>(*r.depthwise).has_program() || !has_small_operands(*r.depthwise, kMostBias))
    return HalfBetween::kNo;
  const float most = std::max(std::abs(e.lo()), std::abs(e.hi()));
  const auto constant = ir::aligned(r.depthwise->constants[1]);
  if (!constant.ok() || !(most >= kLeastMost)) return HalfBetween::kNo;
  const auto* weights = reinterpret_cast<const BFloat16*>((*constant)->data);
  const auto of_first = ir::aligned(r.first->constants[1]);
  if (!fit_half(shape, weights) || !of_first.ok()) return HalfBetween::kNo;
  const Conv2DShape first = conv_shape(*r.first, MatrixUnit::kTiles);
  if (!keeps_bits(shape, reinterpret_cast<const BFloat16*>((*of_first)->data), first.kh * first.kw * first.c,
                  e.has_swish() ? kLostBySwish : kLostByRounding, weights))
    return HalfBetween::kNo;
  return most <= most_half_pixel(shape, weights) ? HalfBetween::kSafe : HalfBetween::kMayOverflow;
}

template <class Types, bool kProjects>
Support supports_bottleneck(const KernelRequest& request) {
  if constexpr (Types::kUnit == MatrixUnit::kTiles) {
    if (Support s = tiles_support(request); !s.ok) return s;
  }
  const BottleneckRequests r(request, kProjects);
  if (r.first == nullptr) return Support::no("reads no depthwise convolution of a convolution");
  if (r.first->producer != nullptr) return Support::no("takes fewer nodes");
  for (const KernelRequest* own : {r.first, r.depthwise, r.last}) {
    if (own == nullptr) continue;
    if (Support s = supports_operands<Types>(*own); !s.ok) return s;
    if (own != r.first && own->inputs[0].dtype != kElement<typename Types::T>)
      return Support::no("an input is not of the type of the weights");
  }
  if (is_depthwise(*r.first)) return Support::no("the first convolution is depthwise");
  if (!is_depthwise(*r.depthwise) || depthwise_shape(*r.depthwise).multiplier != 1)
    return Support::no("the convolution between is not depthwise with one output a channel");
  if (const char* refusal = conv2d_rows_refusal<typename Types::T>(conv_shape(*r.first, Types::kUnit)))
    return Support::no(refusal);
  if (r.last == nullptr || is_pointwise_conv(conv_shape(*r.last))) return Support::yes();
  return Support::no("is no 1x1 convolution of every pixel");
}

template <class Types>
BottleneckShape bottleneck_shape(const BottleneckRequests& r, const KernelRequest& request) {
  BottleneckShape shape;
  shape.first = conv_shape(*r.first, Types::kUnit);
  shape.first.blocking = {};
  if (Types::kUnit == MatrixUnit::kTiles) {
    const HalfBetween half = half_between(r);
    shape.first.to_half = half != HalfBetween::kNo;
    shape.may_overflow = half == HalfBetween::kMayOverflow;
  }
  shape.depthwise = depthwise_shape(*r.depthwise);
  shape.depthwise.blocking = request.blocking;
  shape.oc = r.last != nullptr ? r.last->outputs[0].dims.back() : 0;
  return shape;
}

// In float16: twice as many multiplications a vector and no widening, but the same loads, stores and copies of rows.
constexpr double kHalfDepthwiseFlopsPerUs = 28.2e3;

// What conv_cost_us() leaves out of rows that are made twice: their curves and gates.
double activation_us(const KernelRequest& request, int threads) {
  constexpr double kCurveUs = 5e-3, kGateUs = 1e-3, kLanes = 16;  // a vector
  const LoweredEpilogue e = lowered_epilogue<OnTiles>(request);
  const double us = !e.has_gate() ? 0 : e.has_curve() ? kCurveUs : kGateUs;
  return us * static_cast<double>(request.outputs[0].element_count()) / kLanes / threads;
}

// On tile registers, where each thread has images of its own: apart, the convolutions go in strips of their own, in
// which what lies between them stays in L2, too, and tiles are fuller: beside them 1x1s of a row or two take so much
// longer, and all that float16 saves is time of curves and, with more taps than nine, of the depthwise convolution.
constexpr int64_t kFewTaps = 9;
constexpr double kOfShortStrips = 0.5, kOfCurvesInHalf = 1.5;
double more_than_in_strips_us(const BottleneckRequests& r, const BottleneckShape& shape, int threads) {
  double us = conv_cost_us<BFloat16>(shape.first, ConvAlgorithm::kDirect, threads);
  if (r.last != nullptr)
    us += conv_cost_us<BFloat16>(conv_shape(*r.last, MatrixUnit::kTiles), ConvAlgorithm::kDirect, threads);
  us *= kOfShortStrips;
  if (shape.first.to_half)
    us -= kOfCurvesInHalf * (activation_us(*r.first, threads) + activation_us(*r.depthwise, threads));
  return us;
}

// The convolutions alone, with the rows that two parts need, less what need not leave L2, more for weights that each
// strip reads again, each thread all of them.
template <class Types, bool kProjects>
double bottleneck_us(const KernelRequest& request) {
  using T = typename Types::T;
  const BottleneckRequests r(request, kProjects);
  const BottleneckShape shape = bottleneck_shape<Types>(r, request);
  const DepthwiseShape& d = shape.depthwise;
  const int threads = std::max(1, request.num_threads);
  const auto tasks = static_cast<double>(bottleneck_tasks<T>(shape, threads));
  const int64_t read_by_two = std::max<int64_t>(0, d.read_rows(1) - d.stride_h);
  const double twice = (tasks - 1) * static_cast<double>(read_by_two) / static_cast<double>(d.n * d.h);
  const bool goes_in_strips = Types::kUnit == MatrixUnit::kTiles && has_images_for_all(d.n, threads);
  const auto moved = [&](const TensorDesc& between) {
    const auto bytes = static_cast<double>(between.bytes());
    const bool fits = goes_in_strips || bytes / threads <= static_cast<double>(request.machine->l2_bytes) / 2;
    // Beside products on tiles reads of L2 count, too.
    const double rate = fits ? kOwnBytesPerUs<Types> : kOuterBytesPerUs;
    return 2 * bytes / rate / threads;
  };
  const bool faster_in_half = shape.first.to_half && (!goes_in_strips || d.kh * d.kw > kFewTaps);
  const double depthwise_rate = faster_in_half ? kHalfDepthwiseFlopsPerUs : kDepthwiseFlopsPerUs;
  double us = conv_cost_us<T>(shape.first, ConvAlgorithm::kDirect, static_cast<int>(tasks)) * (1 + twice) +
              depthwise_cost_us(conv_shape(*r.depthwise), static_cast<int>(tasks), depthwise_rate) -
              moved(r.depthwise->inputs[0]);
  if (Types::kUnit == MatrixUnit::kTiles) us += activation_us(*r.first, static_cast<int>(tasks)) * twice;
  if (goes_in_strips) us += more_than_in_strips_us(r, shape, static_cast<int>(tasks));
  auto weights = static_cast<double>(r.first->inputs[1].bytes());
  if (kProjects) {
    us += conv_cost_us<T>(conv_shape(*r.last, Types::kUnit), ConvAlgorithm::kDirect, static_cast<int>(tasks)) -
          moved(r.last->inputs[0]);
    weights += static_cast<double>(r.last->inputs[1].bytes());
  }
  const auto strips = static_cast<double>(d.n * d.oh) / static_cast<double>(bottleneck_strip_rows<T>(shape));
  us += strips * weights / kL2ReadBytesPerUs / threads;
  return Types::kUnit == MatrixUnit::kTiles ? std::max(us, weights / request.machine->core_far_bytes_per_us) : us;
}

template <bool kProjects>
std::vector<Blocking> bottleneck_blockings(const KernelRequest& request) {
  const BottleneckShape shape = bottleneck_shape<InFloat32>(BottleneckRequests(request, kProjects), request);
  std::vector<Blocking> blockings;
  add_strips(blockings, bottleneck_strip_rows<float>(shape), std::min(shape.depthwise.oh, kMaxDepthwiseRows));
  return blockings;
}

// As the kernels want them: as they stand, in float32; packed; packed in float16; or both.
template <class Types>
class BottleneckDepthwise {
 public:
  static Result<BottleneckDepthwise> pack(const KernelRequest& request, const BottleneckShape& step, PackCache& packs) {
    BottleneckDepthwise weights;
    if constexpr (std::is_same_v<Types, OnTiles>) {
      if (step.first.to_half) {
        const DepthwiseShape& shape = step.depthwise;
        BLADE_ASSIGN_OR_RETURN(
            weights.half_, packed_weights<BFloat16>(request, packs, layout_name("depthwise_half", {shape.kh, shape.c}),
                                                    depthwise_half_bytes(shape), [&](const BFloat16* from, void* to) {
                                                      pack_depthwise_half(shape, from, static_cast<uint16_t*>(to));
                                                    }));
      }
      if (!step.first.to_half || step.may_overflow) {
        BLADE_ASSIGN_OR_RETURN(weights.packed_, PackedDepthwise::pack(request, packs));
      }
    }
    return weights;
  }
  DepthwiseWeights bind(const KernelArgs& own) const {
    DepthwiseWeights weights;
    if (packed_) weights = packed_->weights();
    if (half_ != nullptr) weights.half = half_->template as<uint16_t>();
    if (!packed_ && half_ == nullptr) weights.wide = input<float>(own, 1);
    return weights;
  }
  uint32_t packed_inputs() const { return packed_ || half_ != nullptr ? kWeightsPacked : 0; }

 private:
  std::optional<PackedDepthwise> packed_;
  std::shared_ptr<const AlignedBuffer> half_;
};

template <class Types, bool kProjects>
Result<std::unique_ptr<Kernel>> create_bottleneck(const KernelRequest& request, PackCache& packs) {
  using T = typename Types::T;
  const BottleneckRequests r(request, kProjects);
  const BottleneckShape shape = bottleneck_shape<Types>(r, request);
  const LoweredEpilogue first = lowered_epilogue<Types>(*r.first), depthwise = lowered_epilogue<Types>(*r.depthwise),
                        last = lowered_epilogue<Types>(request);
  BLADE_ASSIGN_OR_RETURN(const auto first_packed, packed_direct_weights<T>(*r.first, packs, shape.first));
  BLADE_ASSIGN_OR_RETURN(const auto depthwise_weights, BottleneckDepthwise<Types>::pack(*r.depthwise, shape, packs));
  // Where each node's inputs begin in the step's, less the value before it, which is none of them.
  const size_t to_depthwise = r.first->inputs.size() - 1, to_last = to_depthwise + r.depthwise->inputs.size() - 1;
  std::shared_ptr<const AlignedBuffer> last_packed;
  uint32_t in_place = 0, packed_inputs = kWeightsPacked;
  if (to_depthwise < 31) packed_inputs |= depthwise_weights.packed_inputs() << to_depthwise;
  if (kProjects) {
    Conv2DShape projection = conv_shape(request);
    projection.blocking = {};
    BLADE_ASSIGN_OR_RETURN(last_packed, packed_direct_weights<T>(request, packs, projection));
    if (to_last < 31) {
      in_place = last.in_place_inputs() << to_last;
      packed_inputs |= kWeightsPacked << to_last;
    }
  }
  const bool from_float = r.first->inputs[0].dtype == ir::DType::kFloat32;
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::BoundTo<T> bound_first, bound_depthwise, bound_last;
        first.bind(args, bound_first);
        KernelArgs own = args;
        own.inputs = args.inputs.subspan(to_depthwise);
        depthwise.bind(own, bound_depthwise);
        const BottleneckWeights weights = {first_packed->data(), depthwise_weights.bind(own),
                                           kProjects ? last_packed->data() : nullptr};
        if (kProjects) {
          own.inputs = args.inputs.subspan(to_last);
          last.bind(own, bound_last);
        }
        const BottleneckEpilogues<T> epilogues = {bound_first.raw, bound_depthwise.raw, bound_last.raw};
        if (from_float) {
          bottleneck_conv2d(shape, input<float>(args, 0), weights, output<T>(args), epilogues, *args.pool,
                            args.scratch);
        } else {
          bottleneck_conv2d(shape, input<T>(args, 0), weights, output<T>(args), epilogues, *args.pool, args.scratch);
        }
        return Status::ok_status();
      },
      in_place, bottleneck_scratch_bytes<T>(shape, request.num_threads), packed_inputs);
}

template <bool kProjects>
int64_t bottleneck_row_unit(const KernelRequest& request) {
  constexpr int64_t kLeastRow = 32;
  const BottleneckRequests r(request, kProjects);
  if (conv_shape(*r.first).ow < kLeastRow || product_row_unit(*r.first) == 0) return 0;
  return kProjects ? product_row_unit(request) : 1;
}

constexpr KernelEntry kBottleneckRows[] = {
    {"cpu.conv.before_depthwise_f32", ir::Op::kConv, supports_bottleneck<InFloat32, false>,
     bottleneck_us<InFloat32, false>, create_bottleneck<InFloat32, false>, bottleneck_blockings<false>,
     bottleneck_row_unit<false>},
    {"cpu.conv.bottleneck_f32", ir::Op::kConv, supports_bottleneck<InFloat32, true>, bottleneck_us<InFloat32, true>,
     create_bottleneck<InFloat32, true>, bottleneck_blockings<true>, bottleneck_row_unit<true>},
    on_tiles({"cpu.conv.before_depthwise_amx_bf16", ir::Op::kConv, supports_bottleneck<OnTiles, false>,
              bottleneck_us<OnTiles, false>, create_bottleneck<OnTiles, false>}),
    on_tiles({"cpu.conv.bottleneck_amx_bf16", ir::Op::kConv, supports_bottleneck<OnTiles, true>,
              bottleneck_us<OnTiles, true>, create_bottleneck<OnTiles, true>}),
};

}  // namespace

std::span<const KernelEntry> bottleneck_rows() { return kBottleneckRows; }

}  // namespace blade::backends::cpu
