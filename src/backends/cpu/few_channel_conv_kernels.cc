// Convolutions to few channels, which would leave most of a vector empty: neighbouring pixels of a row are taken as
// channels of one wider kernel that steps over all of them, so that NHWC results lie where they belong. Its weights of
// zero carry what is not finite to the neighbours in a group.
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/packed_weights.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kMostColumns = 16;  // pixels of a group times channels

// The convolution that makes `pixels` neighbours at a time.
Conv2DShape widened(Conv2DShape shape, int64_t pixels) {
  shape.kw += pixels - 1;
  shape.oc *= pixels;
  shape.ow /= pixels;
  shape.stride_w = pixels;
  shape.blocking = {};
  return shape;
}

double widened_us(const KernelRequest& request, int64_t pixels) {
  return conv_cost_us(widened(conv_shape(request), pixels), ConvAlgorithm::kDirect, request.num_threads);
}

// The best number of pixels; 1: none.
int64_t pixels_of_group(const KernelRequest& request) {
  const Conv2DShape shape = conv_shape(request);
  int64_t best = 1;
  double best_us = 0;
  for (int64_t pixels = 2; pixels * shape.oc <= kMostColumns; ++pixels) {
    if (shape.ow % pixels != 0) continue;
    if (conv_algorithm_refusal(widened(shape, pixels), ConvAlgorithm::kDirect) != nullptr) continue;
    const double us = widened_us(request, pixels);
    if (best == 1 || us < best_us) {
      best = pixels;
      best_us = us;
    }
  }
  return best;
}

bool is_per_channel(const KernelRequest& request, size_t operand) {
  const int64_t channels = request.outputs[0].dims.back();
  const ir::Dims& dims = request.inputs[operand].dims;
  return channels > 1 && !dims.empty() && dims.back() == channels && product(dims) == channels;
}

// The request of the wider convolution, for its epilogue.
KernelRequest widened_request(const KernelRequest& request, int64_t pixels) {
  KernelRequest wide = request;
  const auto widen_dims = [&](ir::Dims& dims) {
    dims[dims.size() - 2] /= pixels;
    dims.back() *= pixels;
  };
  for (size_t i = 2; i < wide.inputs.size(); ++i) {
    if (is_per_channel(request, i)) {
      wide.inputs[i].dims = {request.outputs[0].dims.back() * pixels};
    } else if (wide.inputs[i].dims == request.outputs[0].dims) {
      widen_dims(wide.inputs[i].dims);
    }
  }
  widen_dims(wide.outputs[0].dims);
  return wide;
}

Support supports_few_channels(const KernelRequest& request) {
  if (Support s = conv_node_support<float>(request); !s.ok) return s;
  if (!weights_constant(request)) return Support::no("weights are not constant");
  const Conv2DShape shape = conv_shape(request);
  if (shape.groups != 1 || shape.stride_w != 1 || shape.dilation_w != 1) {
    return Support::no("has groups, a stride or a dilation along rows");
  }
  if (request.inputs.size() > kMaxOperands) return Support::no("has too many operands");
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    const TensorDesc& desc = request.inputs[i];
    const bool usable = desc.dtype == ir::DType::kFloat32 && (desc.element_count() == 1 || is_per_channel(request, i) ||
                                                              desc.dims == request.outputs[0].dims);
    if (!usable) return Support::no("has an operand that is no number, none a channel and not like the output");
  }
  const int64_t pixels = pixels_of_group(request);
  if (pixels == 1) return Support::no("has too many channels, or rows that do not divide");
  return LoweredEpilogue::supports(widened_request(request, pixels), request.node->get<ir::ConvAttrs>().epilogue, 2);
}

double few_channels_us(const KernelRequest& request) { return widened_us(request, pixels_of_group(request)); }

// Kernel [y][x][c][o] once for each pixel of a group, moved by its place.
std::vector<float> widened_weights_of(const Conv2DShape& shape, int64_t pixels, const float* from) {
  const Conv2DShape wide = widened(shape, pixels);
  std::vector<float> to(static_cast<size_t>(wide.kh * wide.kw * wide.c * wide.oc));
  for (int64_t y = 0; y < shape.kh; ++y) {
    for (int64_t x = 0; x < shape.kw; ++x) {
      for (int64_t c = 0; c < shape.c; ++c, from += shape.oc) {
        for (int64_t p = 0; p < pixels; ++p) {
          std::copy_n(from, shape.oc, to.begin() + ((y * wide.kw + x + p) * wide.c + c) * wide.oc + p * shape.oc);
        }
      }
    }
  }
  return to;
}

Result<std::unique_ptr<Kernel>> create_few_channels(const KernelRequest& request, PackCache& packs) {
  const int64_t pixels = pixels_of_group(request);
  const Conv2DShape shape = conv_shape(request), wide = widened(shape, pixels);
  const LoweredEpilogue epilogue(widened_request(request, pixels), request.node->get<ir::ConvAttrs>().epilogue, 2);
  BLADE_ASSIGN_OR_RETURN(
      const auto packed,
      packed_weights(request, packs, layout_name("few_channels", {shape.kh, shape.kw, shape.c, shape.oc, pixels}),
                     packed_conv_bytes<float>(wide), [&](const float* from, void* to) {
                       pack_conv_weights(wide, widened_weights_of(shape, pixels, from).data(), to);
                     }));
  std::vector<size_t> repeated;  // operands of one number a channel
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    if (is_per_channel(request, i)) repeated.push_back(i);
  }
  const size_t of_conv = align_up(conv2d_scratch_bytes<float>(wide, request.num_threads), kBufferAlignment);
  return make_kernel(
      [=, channels = shape.oc](const KernelArgs& args) {
        std::array<const void*, kMaxOperands> operands{};
        std::copy(args.inputs.begin(), args.inputs.end(), operands.begin());
        auto* to = reinterpret_cast<float*>(args.scratch + of_conv);
        for (size_t operand : repeated) {
          operands[operand] = to;
          for (int64_t p = 0; p < pixels; ++p) to = std::copy_n(input<float>(args, operand), channels, to);
        }
        KernelArgs wide_args = args;
        wide_args.inputs = {operands.data(), args.inputs.size()};
        LoweredEpilogue::Bound bound;
        epilogue.bind(wide_args, bound);
        conv2d(wide, input<float>(args, 0), packed->data(), output<float>(args), bound.raw, *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), of_conv + repeated.size() * static_cast<size_t>(wide.oc) * sizeof(float),
      kWeightsPacked);
}

constexpr KernelEntry kFewChannelConvRows[] = {
    {"cpu.conv.few_channels_f32", ir::Op::kConv, supports_few_channels, few_channels_us, create_few_channels},
};

}  // namespace

std::span<const KernelEntry> few_channel_conv_rows() { return kFewChannelConvRows; }

}  // namespace blade::backends::cpu
