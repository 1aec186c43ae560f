// Rows for casts of what the node before computes, whose kernel writes the other type itself: float32 behind
// convolutions and products in bfloat16, bfloat16 behind nodes in float32.
#pragma once

#include <string>

#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {

template <ir::Op kOp, ir::DType kTo, Support (*kSupports)(const KernelRequest&)>
Support supports_cast_of(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != kOp)
    return Support::no(std::string("does not read the result of ") + ir::op_name(kOp));
  if (request.outputs[0].dtype != kTo)
    return Support::no(std::string("casts to another type than ") + ir::dtype_name(kTo));
  if (request.producer->producer != nullptr) return Support::no("takes two nodes, not three");
  return kSupports(*request.producer);
}

template <ir::Op kOp, Support (*kSupports)(const KernelRequest&)>
constexpr auto supports_to_f32 = supports_cast_of<kOp, ir::DType::kFloat32, kSupports>;
template <ir::Op kOp, Support (*kSupports)(const KernelRequest&)>
constexpr auto supports_to_bf16 = supports_cast_of<kOp, ir::DType::kBFloat16, kSupports>;

template <double (*kUs)(const KernelRequest&)>
double us_with_cast(const KernelRequest& request) {
  return kUs(*request.producer);
}

template <std::vector<Blocking> (*kBlockings)(const KernelRequest&)>
std::vector<Blocking> blockings_with_cast(const KernelRequest& request) {
  return kBlockings(*request.producer);
}

template <Result<std::unique_ptr<Kernel>> (*kCreate)(const KernelRequest&, PackCache&)>
Result<std::unique_ptr<Kernel>> create_with_cast(const KernelRequest& request, PackCache& packs) {
  KernelRequest both = *request.producer;
  both.outputs = request.outputs;
  both.blocking = request.blocking;
  both.num_threads = request.num_threads;
  return kCreate(both, packs);
}

}  // namespace blade::backends::cpu
