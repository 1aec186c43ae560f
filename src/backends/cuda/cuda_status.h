// CUDA's error codes as sentences.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "base/status.h"

namespace blade::backends::cuda {

inline Status cuda_status(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  const std::string text = std::string("The GPU could not ") + what + ": " + cudaGetErrorString(error) + ".";
  return error == cudaErrorMemoryAllocation ? resource_exhausted(text) : internal_error(text);
}

}  // namespace blade::backends::cuda

#define BLADE_CUDA(call, what) BLADE_RETURN_IF_ERROR(::blade::backends::cuda::cuda_status(call, what))
