// Merging of loops, and the widest vector that all operands of a step allow.
#include "backends/cuda/pointwise_loops.h"

#include <algorithm>

namespace blade::backends::cuda {
namespace {

bool takes_vectors(const PointwiseLoops& loops, int vector) {
  if (loops.dims.back() % vector != 0) return false;
  return std::ranges::all_of(loops.strides, [&](const ir::Dims& strides) {
    if (strides.back() == 0) return true;
    return strides.back() == 1 &&
           std::all_of(strides.begin(), strides.end() - 1, [&](int64_t s) { return s % vector == 0; });
  });
}

}  // namespace

PointwiseLoops pointwise_loops(const KernelRequest& request) {
  const TensorDesc& out = request.outputs[0];
  std::vector<ir::Dims> strides;
  for (const TensorDesc& desc : request.inputs) strides.push_back(broadcast_strides(desc.dims, out.dims));
  MergedLoops merged = merge_loops(out.dims, strides);
  PointwiseLoops loops{std::move(merged.dims), std::move(merged.strides)};
  size_t widest = ir::dtype_size(out.dtype);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    if (loops.strides[i].back() != 0) widest = std::max(widest, ir::dtype_size(request.inputs[i].dtype));
  }
  loops.vector = static_cast<int>(16 / widest);
  while (loops.vector > 1 && !takes_vectors(loops, loops.vector)) loops.vector /= 2;
  return loops;
}

}  // namespace blade::backends::cuda
