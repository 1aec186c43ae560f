// Rows of a depthwise convolution and the 1x1 convolution that alone reads it: what flows between them exists only in
// shared memory.
#include <string>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

// The product by itself.
KernelRequest product_of(const KernelRequest& pair) {
  KernelRequest product = pair;
  product.producer = nullptr;
  return product;
}

Support supports_depthwise_input(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const int64_t channels = request.inputs[0].dims.back();
  if (attrs.groups == 1 || attrs.groups != channels || request.outputs[0].dims.back() != channels ||
      attrs.strides.size() != 2) {
    return Support::no("the first convolution is not depthwise in 2 dims");
  }
  for (const TensorDesc* desc : {&request.inputs[0], &request.inputs[1], &request.outputs[0]}) {
    if (!is_half(desc->dtype) || desc->dtype != request.outputs[0].dtype) {
      return Support::no("the depthwise convolution is not in float16 or bfloat16");
    }
  }
  if (!is_constant(request, 1)) return Support::no("weights are not constant");
  if (request.inputs.size() > 3 || (request.inputs.size() == 3 && !is_constant(request, 2))) {
    return Support::no("the depthwise convolution has more than a constant bias");
  }
  if (request.inputs.size() == 3 && request.inputs[2].dims.size() > 1) {
    return Support::no("the depthwise convolution's operand is no bias");
  }
  return Epilogue::supports_plain(request, attrs.epilogue, 2);
}

// Each column of tiles computes the depthwise convolution anew.
Support supports_depthwise_product(const KernelRequest& request, const ConvVariant& variant) {
  constexpr int64_t kMostElements = 2 << 20, kMostColumns = 8;
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv || request.node->op != ir::Op::kConv ||
      request.producer_input != 0) {
    return Support::no("is no product of a convolution");
  }
  if (request.device->info().capability < 90) return Support::no("needs compute capability 9.0");
  if (Support s = supports_depthwise_input(*request.producer); !s.ok) return s;
  const KernelRequest product = product_of(request);
  if (Support s = supports_variant(product, variant, 0); !s.ok) return s;
  // Operands of the whole pair would have to be found.
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    if (!is_constant(request, i) || request.inputs[i].dims.size() > 1) return Support::no("the product has a residual");
  }
  if (request.inputs.size() > 3) return Support::no("the product has more than a bias");
  if (Support s = Epilogue::supports_plain(product, epilogue_of(product), 2); !s.ok) return s;
  const ConvProblem problem = conv_problem(product);
  if (!is_plain_product(problem)) return Support::no("the second convolution is not 1x1 with stride 1");
  const int64_t columns = ceil_div(problem.channels, static_cast<int64_t>(variant.columns));
  if (columns > kMostColumns || columns * problem.rows() * problem.in_channels > kMostElements) {
    return Support::no("the depthwise convolution would be computed too often");
  }
  return Support::yes();
}

double predict_depthwise_product_us(const KernelRequest& request, const ConvVariant& variant) {
  const KernelRequest product = product_of(request);
  const ir::Dims& window = request.producer->inputs[1].dims;
  const ConvProblem problem = conv_problem(product);
  const double columns = static_cast<double>(ceil_div(problem.channels, static_cast<int64_t>(variant.columns)));
  const double taps = static_cast<double>(problem.rows() * problem.in_channels * window[0] * window[1]) * columns;
  return predict_variant_us(product, variant, 0) + 0.3 + taps / 4e6;
}

DepthwiseInputParams depthwise_input_params(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const reference::Windows w =
      reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, request.inputs[1].dims, attrs.strides,
                              attrs.dilations, attrs.padding, attrs.explicit_pads);
  DepthwiseInputParams p;
  p.out_width = FastDivisor(w.dim[2].out);
  p.out_pixels = FastDivisor(w.dim[1].out * w.dim[2].out);
  p.height = static_cast<int>(w.dim[1].in);
  p.width = static_cast<int>(w.dim[2].in);
  p.kernel_h = static_cast<int>(w.dim[1].size);
  p.kernel_w = static_cast<int>(w.dim[2].size);
  p.stride_h = static_cast<int>(w.dim[1].stride);
  p.stride_w = static_cast<int>(w.dim[2].stride);
  p.dilation_h = static_cast<int>(w.dim[1].dilation);
  p.dilation_w = static_cast<int>(w.dim[2].dilation);
  p.pad_top = static_cast<int>(w.dim[1].pad_before);
  p.pad_left = static_cast<int>(w.dim[2].pad_before);
  return p;
}

Result<std::unique_ptr<Kernel>> create_depthwise_product(const KernelRequest& request, PackCache& packs,
                                                         const ConvVariant& variant) {
  const KernelRequest& first = *request.producer;
  const KernelRequest product = product_of(request);
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(product, conv_problem(product), packs));
  BLADE_ASSIGN_OR_RETURN(
      const Epilogue epilogue,
      Epilogue::create(first, epilogue_of(first), 2, ceil_div(first.inputs[0].dims.back(), int64_t{64}) * 64, packs));
  const VariantLaunch made = variant_launch(product, variant, 0);
  const void* kernel = form_of(request, variant.kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, made.shape));
  const DepthwiseInputParams depthwise = depthwise_input_params(first);
  return make_kernel(
      [=](const KernelArgs& args) {
        ConvParams p = operands.bind(made.params, args);
        p.x = args.inputs[0];
        DepthwiseInputParams d = depthwise;
        const EpilogueParams before = epilogue.bind(args);
        d.weights = args.inputs[1];
        d.bias = before.bias;
        d.has_clamp = before.has_clamp;
        d.lo = before.lo;
        d.hi = before.hi;
        void* arguments[] = {&d, &p};
        return launch(args, kernel, made.shape, arguments);
      },
      {.unread_inputs = ~3u});  // all but the image and the depthwise weights are packed
}

template <int kNumber>
struct DepthwiseProductRow {
  static const ConvVariant& variant() { return conv_variants_depthwise()[kNumber]; }
  static Support supports(const KernelRequest& request) { return supports_depthwise_product(request, variant()); }
  static double predicted_us(const KernelRequest& request) { return predict_depthwise_product_us(request, variant()); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_depthwise_product(request, packs, variant());
  }
};

template <int kNumber>
constexpr KernelEntry depthwise_product_row(const char* name) {
  using Row = DepthwiseProductRow<kNumber>;
  return {name, ir::Op::kConv, Row::supports, Row::predicted_us, Row::create};
}

constexpr KernelEntry kDepthwiseProductRows[] = {
    depthwise_product_row<0>("cuda.depthwise_product.mma_32x32k4"),
    depthwise_product_row<1>("cuda.depthwise_product.mma_32x64k2"),
    depthwise_product_row<2>("cuda.depthwise_product.mma_64x64k1"),
};
static_assert(std::size(kDepthwiseProductRows) == decltype(conv_variants_depthwise())::extent);

}  // namespace

std::span<const KernelEntry> depthwise_product_rows() { return kDepthwiseProductRows; }

}  // namespace blade::backends::cuda
