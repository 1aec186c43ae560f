// Rows for casts to float32 of what a bfloat16 convolution or product computes: its kernel writes float32 itself.
#pragma once

#include <string>

#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {

template <ir::Op kOp, Support (*kSupports)(const KernelRequest&)>
Support supports_to_f32(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != kOp)
    return Support::no(std::string("does not read the result of ") + ir::op_name(kOp));
  if (request.outputs[0].dtype != ir::DType::kFloat32) return Support::no("casts to another type than float32");
  return kSupports(*request.producer);
}

template <double (*kUs)(const KernelRequest&)>
double to_f32_us(const KernelRequest& request) {
  return kUs(*request.producer);
}

template <std::vector<Blocking> (*kBlockings)(const KernelRequest&)>
std::vector<Blocking> to_f32_blockings(const KernelRequest& request) {
  return kBlockings(*request.producer);
}

template <Result<std::unique_ptr<Kernel>> (*kCreate)(const KernelRequest&, PackCache&)>
Result<std::unique_ptr<Kernel>> create_to_f32(const KernelRequest& request, PackCache& packs) {
  KernelRequest both = *request.producer;
  both.outputs = request.outputs;
  both.blocking = request.blocking;
  both.num_threads = request.num_threads;
  return kCreate(both, packs);
}

}  // namespace blade::backends::cpu
