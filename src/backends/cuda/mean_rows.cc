// Rows of a convolution of few pixels and the mean of its pixels, which alone reads it.
#include <algorithm>
#include <iterator>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

// True for the mean over all dims but the last.
bool is_mean_of_pixels(const KernelRequest& request) {
  if (request.node->op != ir::Op::kReduce) return false;
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  const ir::Dims& dims = request.inputs[0].dims;
  if (attrs.kind != ir::ReduceKind::kMean || dims.empty() || dims.back() == 1) return false;
  for (size_t d = 0; d < dims.size(); ++d) {
    const auto axis = static_cast<int64_t>(d);
    const bool reduced = std::find(attrs.axes.begin(), attrs.axes.end(), axis) != attrs.axes.end();
    if (d + 1 == dims.size() ? reduced : !reduced && dims[d] != 1) return false;
  }
  return true;
}

int shared_bytes(const ConvProblem& problem, const MeanVariant& variant) {
  return std::max(static_cast<int>(problem.chunks()) * variant.stage_bytes, variant.sum_bytes);
}

Support supports_conv_mean(const KernelRequest& request, const MeanVariant& variant) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv || request.producer_input != 0 ||
      !is_mean_of_pixels(request)) {
    return Support::no("is no mean of a convolution's pixels");
  }
  const KernelRequest& conv = *request.producer;
  const DeviceInfo& card = request.device->info();
  if (card.capability != 90) return Support::no("needs compute capability 9.0");
  if (Support s = supports_conv_problem(conv); !s.ok) return s;
  if (request.outputs[0].dtype != conv.outputs[0].dtype) return Support::no("the mean is of another type");
  if (Support s = Epilogue::supports_plain(conv, epilogue_of(conv), 2); !s.ok) return s;
  const ConvProblem problem = conv_problem(conv);
  if (Support s = supports_tensor_map(problem); !s.ok) return s;
  if (problem.channels % 8 != 0) return Support::no("has channels in no multiple of 8");
  if (problem.rows() > kMeanRows) return Support::no("has more pixels than a tile");
  if (problem.chunks() > kMostMeanChunks ||
      static_cast<size_t>(shared_bytes(problem, variant)) + 4096 > card.shared_bytes_per_block) {
    return Support::no("the depth does not fit into shared memory");
  }
  return Support::yes();
}

// Constants are of an H200, roughly.
double predict_conv_mean_us(const KernelRequest& request, const MeanVariant& variant) {
  const ConvProblem problem = conv_problem(*request.producer);
  const double waves = static_cast<double>(
      ceil_div(ceil_div(problem.channels, int64_t{variant.columns}), int64_t{request.device->info().multiprocessors}));
  return 2.0 + waves * (0.8 + 0.06 * static_cast<double>(problem.chunks()));
}

Result<std::unique_ptr<Kernel>> create_conv_mean(const KernelRequest& request, PackCache& packs,
                                                 const MeanVariant& variant) {
  const KernelRequest& conv = *request.producer;
  const ConvProblem problem = conv_problem(conv);
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(conv, problem, packs));
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(ceil_div(problem.channels, int64_t{variant.columns}));
  shape.threads = variant.threads;
  shape.shared_bytes = shared_bytes(problem, variant);
  const void* kernel = form_of(conv, variant.kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  const ConvParams params = conv_params(problem, shape.grid.x);
  const uint32_t axes = 1u << conv.inputs.size();
  return make_kernel(
      [=](const KernelArgs& args) -> Status {
        ConvParams p = operands.bind(params, args);
        PixelMaps maps;
        BLADE_ASSIGN_OR_RETURN(maps, make_pixel_maps(problem, problem, p.x, p.x, kMeanRows));
        void* arguments[] = {&maps, &p};
        return launch(args, kernel, shape, arguments);
      },
      {.unread_inputs = operands.unread_inputs | axes});
}

template <int kNumber>
constexpr KernelEntry conv_mean_row(const char* name) {
  struct Row {
    static const MeanVariant& variant() { return mean_variants()[kNumber]; }
    static Support supports(const KernelRequest& request) { return supports_conv_mean(request, variant()); }
    static double predicted_us(const KernelRequest& request) { return predict_conv_mean_us(request, variant()); }
    static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
      return create_conv_mean(request, packs, variant());
    }
  };
  return {name, ir::Op::kReduce, Row::supports, Row::predicted_us, Row::create};
}

constexpr KernelEntry kConvMeanRows[] = {
    conv_mean_row<0>("cuda.conv_mean.wgmma_64x16k1"),
    conv_mean_row<1>("cuda.conv_mean.wgmma_64x16k2"),
    conv_mean_row<2>("cuda.conv_mean.wgmma_64x32k2"),
};
static_assert(std::size(kConvMeanRows) == decltype(mean_variants())::extent);

}  // namespace

std::span<const KernelEntry> conv_mean_rows() { return kConvMeanRows; }

}  // namespace blade::backends::cuda
