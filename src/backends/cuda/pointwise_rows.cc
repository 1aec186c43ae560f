// Rows for Pointwise, Cast and BatchNorm-like elementwise work.
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

Support supports_pointwise(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  for (const TensorDesc& desc : request.inputs) {
    if (Support s = needs_element_type(desc, "an operand", true); !s.ok) return s;
  }
  if (Support s = needs_element_type(request.outputs[0], "the result", true); !s.ok) return s;
  if (request.outputs[0].dims.size() > kMaxRank) return Support::no("has more than 8 dims");
  return supports_program(request.node->get<ir::PointwiseAttrs>().program);
}

Result<std::unique_ptr<Kernel>> create_pointwise(const KernelRequest& request, PackCache&) {
  PointwiseParams params;
  params.program = to_device(request.node->get<ir::PointwiseAttrs>().program);
  params.output_type = *element_type(request.outputs[0].dtype);
  params.count = request.outputs[0].element_count();
  std::vector<ir::Dims> strides;
  uint32_t in_place = 0;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    params.input_types[i] = *element_type(request.inputs[i].dtype);
    strides.push_back(broadcast_strides(request.inputs[i].dims, request.outputs[0].dims));
    const bool same =
        request.inputs[i].dtype == request.outputs[0].dtype && request.inputs[i].element_count() == params.count;
    if (same) in_place |= 1u << i;
  }
  const MergedLoops loops = merge_loops(request.outputs[0].dims, strides);
  params.rank = static_cast<int>(loops.dims.size());
  for (int d = 0; d < params.rank; ++d) {
    params.dims[d] = FastDivisor(loops.dims[static_cast<size_t>(d)]);
    for (size_t i = 0; i < strides.size(); ++i) params.strides[i][d] = loops.strides[i][static_cast<size_t>(d)];
  }
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  const void* kernel = pointwise_kernel(params.rank == 1);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        PointwiseParams p = params;
        for (size_t i = 0; i < args.inputs.size(); ++i) p.inputs[i] = args.inputs[i];
        p.output = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      in_place);
}

Support supports_cast(const KernelRequest& request) { return needs_small(request); }

Result<std::unique_ptr<Kernel>> create_cast(const KernelRequest& request, PackCache&) {
  const int64_t count = request.outputs[0].element_count();
  const LaunchShape shape = one_each(count, kSimpleThreads);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, cast_kernel(), shape));
  const int from = static_cast<int>(request.inputs[0].dtype), to = static_cast<int>(request.outputs[0].dtype);
  return make_kernel([=](const KernelArgs& args) {
    const void* source = args.inputs[0];
    void* target = args.outputs[0];
    int64_t n = count;
    int types[2] = {from, to};
    void* arguments[] = {&source, &target, &n, &types[0], &types[1]};
    return launch(args, cast_kernel(), shape, arguments);
  });
}

constexpr KernelEntry kRows[] = {
    {"cuda.pointwise.program", ir::Op::kPointwise, supports_pointwise, nullptr, create_pointwise},
    {"cuda.cast.elements", ir::Op::kCast, supports_cast, nullptr, create_cast},
};

}  // namespace

std::span<const KernelEntry> pointwise_rows() { return kRows; }

}  // namespace blade::backends::cuda
