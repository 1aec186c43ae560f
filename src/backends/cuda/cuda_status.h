// CUDA's error codes as sentences.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/status.h"

namespace blade::backends::cuda {

inline Status cuda_status(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const std::string text = std::string("The GPU could not ") + what + ": " + cudaGetErrorString(error);
  if (error != cudaErrorMemoryAllocation) return internal_error(text + ".");
  cudaGetLastError();  // forgotten: later calls are not to blame
  return resource_exhausted(text + ": free memory of the card or use smaller inputs.");
}

}  // namespace blade::backends::cuda

#define BLADE_CUDA(call, what) BLADE_RETURN_IF_ERROR(::blade::backends::cuda::cuda_status(call, what))
