// Rows of the convolutions whose taps read one patch of pixels from shared memory.
#include <algorithm>
#include <string>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/pair_kernels.h"
#include "backends/cuda/row_table.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

struct Patches {
  static constexpr bool kTakesProducts = false;
  static constexpr auto& variants = patch_variants;
  static std::string label(const PatchVariant& v) {
    return tile_label("patch_wgmma", v.rows, v.columns, v.warps_k, v.split_log2);
  }
  static Support supports(const KernelRequest& request, const PatchVariant& variant);
  static double predict_us(const KernelRequest& request, const PatchVariant& variant);
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs,
                                                const PatchVariant& variant);
};

// How a problem is cut; see conv_patch.cu.
struct PatchShape {
  int64_t width, height;  // of one plane of a patch
  int64_t image_tiles, column_tiles, slabs, slabs_each;
  int64_t box_bytes, plane_bytes, shared_bytes, blocks;
};

PatchShape patch_shape(const ConvProblem& problem, const PatchVariant& variant) {
  PatchShape s;
  const int64_t reach_x = (problem.kernel_w - 1) / problem.stride_w * problem.dilation_w;
  const int64_t reach_y = (problem.kernel_h - 1) / problem.stride_h * problem.dilation_h;
  s.width = problem.out_width + reach_x;
  const int64_t positions = (problem.out_height - 1) * s.width + problem.out_width;
  s.image_tiles = ceil_div(positions, int64_t{variant.rows});
  s.height = 0;
  for (int64_t tile = 0; tile < std::min(s.image_tiles, s.width); ++tile) {
    const int64_t last = tile * variant.rows % s.width + variant.rows - 1 + reach_x;
    s.height = std::max(s.height, last / s.width + 1 + reach_y);
  }
  s.column_tiles = ceil_div(problem.channels, static_cast<int64_t>(variant.columns));
  s.slabs = problem.in_channels / 64;
  s.slabs_each = ceil_div(s.slabs, int64_t{1} << variant.split_log2);
  s.box_bytes = s.width * s.height * 128;
  s.plane_bytes = ceil_div(s.box_bytes, int64_t{1024}) * 1024;
  const int64_t weights = problem.kernel_h * problem.kernel_w * variant.columns * 128;
  const int64_t loaded = s.slabs_each * (s.plane_bytes * problem.stride_h * problem.stride_w + weights);
  const int64_t inbox = variant.split_log2 > 0 ? int64_t{variant.rows} * variant.columns * 4 : 0;
  s.shared_bytes = loaded + variant.sum_bytes + inbox;
  s.blocks = problem.images * s.image_tiles * s.column_tiles << variant.split_log2;
  return s;
}

Support Patches::supports(const KernelRequest& request, const PatchVariant& variant) {
  if (Support s = supports_conv_problem(request); !s.ok) return s;
  if (request.node->op != ir::Op::kConv || request.inputs[0].dims.size() != 4)
    return Support::no("has no 2 spatial dims");
  const DeviceInfo& card = request.device->info();
  if (card.capability != 90) return Support::no("needs compute capability 9.0");
  const ConvProblem problem = conv_problem(request);
  if (problem.kernel_h * problem.kernel_w == 1) return Support::no("has a single tap");
  const bool strided = problem.stride_h > 1 || problem.stride_w > 1;
  if (problem.stride_h > 2 || problem.stride_w > 2) return Support::no("has a stride above 2");
  if (strided && (problem.dilation_h > 1 || problem.dilation_w > 1)) return Support::no("has strides and dilations");
  if (Support s = supports_patch_map(problem); !s.ok) return s;
  if (problem.in_channels / 64 < int64_t{1} << variant.split_log2)
    return Support::no("has too few channels to be split so often");
  if (problem.channels % 4 != 0) return Support::no("has channels in no multiple of 4");
  if (Support s = Epilogue::supports_plain(request, epilogue_of(request), 2); !s.ok) return s;
  const PatchShape shape = patch_shape(problem, variant);
  if (shape.width * problem.stride_w > 256 || shape.height * problem.stride_h > 256) {
    return Support::no("the patch is larger than 256 pixels");
  }
  const int64_t planes = shape.slabs_each * problem.stride_h * problem.stride_w;
  if (shape.slabs_each > kMostSlabs || planes > kMostRequests * variant.threads / 32 ||
      static_cast<size_t>(shape.shared_bytes) + 1024 > card.shared_bytes_per_block) {
    return Support::no("a block's depth does not fit into shared memory");
  }
  return Support::yes();
}

// Constants are of an H200, roughly.
double Patches::predict_us(const KernelRequest& request, const PatchVariant& variant) {
  const ConvProblem problem = conv_problem(request);
  const PatchShape shape = patch_shape(problem, variant);
  const auto depth = static_cast<double>(shape.slabs_each * problem.kernel_h * problem.kernel_w);
  const double multiply_us = 2.0 * variant.rows * variant.columns * 64 / 5.5e6 * depth;
  const double load_us = static_cast<double>(shape.shared_bytes) / 80e3;
  return predict_deep_blocks_us(request, {.blocks = shape.blocks,
                                          .shared_bytes = shape.shared_bytes,
                                          .start_us = 1.3,
                                          .busy_us = std::max(multiply_us, load_us),
                                          .wait_us = 0.8 + 0.06 * depth,
                                          .exchange_us = variant.split_log2 > 0 ? 0.4 : 0.0});
}

PatchParams patch_params(const ConvProblem& problem, const PatchShape& shape) {
  PatchParams p;
  p.conv = conv_params(problem, shape.column_tiles);
  p.patch_width = FastDivisor(shape.width);
  p.image_tiles = FastDivisor(shape.image_tiles);
  p.out_height = static_cast<int>(problem.out_height);
  p.slabs = static_cast<int>(shape.slabs);
  p.stride_h_log2 = problem.stride_h == 2 ? 1 : 0;
  p.stride_w_log2 = problem.stride_w == 2 ? 1 : 0;
  p.box_bytes = static_cast<int>(shape.box_bytes);
  p.plane_bytes = static_cast<int>(shape.plane_bytes);
  return p;
}

class PatchKernel final : public PairedKernel {
 public:
  PatchKernel(PairPart part, const void* kernel, const LaunchShape& shape, const PatchShape& patch)
      : PairedKernel(std::move(part)),
        kernel_(kernel),
        shape_(shape),
        patch_(patch),
        params_(patch_params(this->part().problem, patch)) {}
  Status run(const KernelArgs& args) const override {
    PatchParams p = params_;
    p.conv = part().operands.bind(params_.conv, args);
    TensorMap image;
    BLADE_ASSIGN_OR_RETURN(image, make_patch_map(part().problem, p.conv.x, patch_.height, patch_.width));
    void* arguments[] = {&image, &p};
    return launch(args, kernel_, shape_, arguments);
  }

 private:
  const void* kernel_;
  LaunchShape shape_;
  PatchShape patch_;
  PatchParams params_;
};

Result<std::unique_ptr<Kernel>> Patches::create(const KernelRequest& request, PackCache& packs,
                                                const PatchVariant& variant) {
  PairPart part;
  BLADE_ASSIGN_OR_RETURN(part, pair_part(request, packs));
  part.is_plain = true;
  const PatchShape patch = patch_shape(part.problem, variant);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(patch.blocks);
  shape.threads = variant.threads;
  shape.shared_bytes = static_cast<int>(patch.shared_bytes);
  shape.cluster = 1 << variant.split_log2;
  const void* kernel = form_of(request, variant.kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return std::unique_ptr<Kernel>(std::make_unique<PatchKernel>(std::move(part), kernel, shape, patch));
}

}  // namespace

std::span<const KernelEntry> patch_rows() { return RowTable<Patches>::get().rows; }

}  // namespace blade::backends::cuda
