// Rows for pooling and resizing.
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

Support supports_pool(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  return needs_full_or_half(request.inputs[0], "the input");
}

Result<std::unique_ptr<Kernel>> create_pool(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  const reference::Windows w = reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window,
                                                       attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  PoolParams params;
  params.is_max = attrs.kind == ir::PoolKind::kMax;
  params.channels = static_cast<int>(request.inputs[0].dims.back());
  params.count = request.outputs[0].element_count();
  for (int d = 0; d < 3; ++d) {
    params.in[d] = static_cast<int>(w.dim[d].in);
    params.out[d] = FastDivisor(w.dim[d].out);
    params.size[d] = static_cast<int>(w.dim[d].size);
    params.stride[d] = static_cast<int>(w.dim[d].stride);
    params.pad[d] = static_cast<int>(w.dim[d].pad_before);
  }
  const bool vectors = is_half(request.inputs[0].dtype) && params.channels % 8 == 0;
  params.units = FastDivisor(vectors ? params.channels / 8 : params.channels);
  const LaunchShape shape = one_each(vectors ? params.count / 8 : params.count, kSimpleThreads);
  const void* kernel = pool_kernel(*element_type(request.inputs[0].dtype), vectors);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel([=](const KernelArgs& args) {
    PoolParams p = params;
    p.x = args.inputs[0];
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, kernel, shape, arguments);
  });
}

Support supports_resize(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const ir::ResizeKind kind = request.node->get<ir::ResizeAttrs>().kind;
  if (kind == ir::ResizeKind::kBicubic) return Support::no("is bicubic");
  if (kind == ir::ResizeKind::kArea) return Support::no("is a mean over areas");
  if (request.inputs[0].dtype != request.outputs[0].dtype) return Support::no("changes the type");
  return needs_full_or_half(request.inputs[0], "the input");
}

float scale_of(int64_t in, int64_t out, bool align_corners) {
  return align_corners && out > 1 ? static_cast<float>(in - 1) / static_cast<float>(out - 1)
                                  : static_cast<float>(in) / static_cast<float>(out);
}

Result<std::unique_ptr<Kernel>> create_resize(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ResizeAttrs>();
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  ResizeParams params;
  params.count = request.outputs[0].element_count();
  params.in_height = static_cast<int>(in[1]);
  params.in_width = static_cast<int>(in[2]);
  params.out_height = static_cast<int>(out[1]);
  params.out_width = static_cast<int>(out[2]);
  params.channels = static_cast<int>(out[3]);
  params.scale_y = scale_of(in[1], out[1], attrs.align_corners);
  params.scale_x = scale_of(in[2], out[2], attrs.align_corners);
  params.nearest = attrs.kind == ir::ResizeKind::kNearest;
  params.half_pixel_centers = attrs.half_pixel_centers;
  params.align_corners = attrs.align_corners;
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  const void* kernel = resize_kernel(*element_type(request.inputs[0].dtype));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        ResizeParams p = params;
        p.x = args.inputs[0];
        p.y = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.unread_inputs = 1u << 1});
}

constexpr KernelEntry kRows[] = {
    {"cuda.pool.windows", ir::Op::kPool, supports_pool, nullptr, create_pool},
    {"cuda.resize.elements", ir::Op::kResize, supports_resize, nullptr, create_resize},
};

}  // namespace

std::span<const KernelEntry> spatial_rows() { return kRows; }

}  // namespace blade::backends::cuda
