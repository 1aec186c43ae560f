// The kernels of the op library, each registered by a function of its file.
#pragma once

#include "tensorflow_op/tf_support.h"

namespace blade::tensorflow_op {

void register_engine_kernels();        // BladeEngine, BladeInProfile
void register_engine_file_kernels();   // BladeEngineFile, BladeEnginePiece
void register_original_kernels();      // BladeOriginal, BladeOriginalReady
void register_stored_weight_kernel();  // BladeStoredWeight

// Registers `Kernel` (constructed from a TF_OpKernelConstruction*, with compute(TF_OpKernelContext*)) for `op` on the
// CPU.
template <class Kernel>
void register_cpu_kernel(const char* op) {
  const auto create = [](TF_OpKernelConstruction* construction) -> void* { return new Kernel(construction); };
  const auto compute = [](void* kernel, TF_OpKernelContext* context) {
    static_cast<Kernel*>(kernel)->compute(context);
  };
  const auto destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  TF_KernelBuilder* builder = TF_NewKernelBuilder(op, "CPU", create, compute, destroy);
  StatusPtr status = new_status();
  TF_RegisterKernelBuilder(op, builder, status.get());
}

}  // namespace blade::tensorflow_op
