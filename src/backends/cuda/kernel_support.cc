// Launching, and the small arithmetic that all rows need.
#include "backends/cuda/kernel_support.h"

#include <algorithm>

#include "base/half.h"

namespace blade::backends::cuda {
namespace {

struct LaunchConfig {
  LaunchConfig(const LaunchShape& shape, cudaStream_t stream) {
    config.gridDim = shape.grid;
    config.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config.dynamicSmemBytes = static_cast<size_t>(shape.shared_bytes);
    config.stream = stream;
    attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[0].val.programmaticStreamSerializationAllowed = 1;
    attributes[1].id = cudaLaunchAttributeClusterDimension;
    attributes[1].val.clusterDim.x = static_cast<unsigned>(shape.cluster);
    attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
    config.attrs = attributes;
    config.numAttrs = shape.cluster > 1 ? 2 : 1;
  }
  LaunchConfig(const LaunchConfig&) = delete;
  LaunchConfig& operator=(const LaunchConfig&) = delete;
  cudaLaunchAttribute attributes[2];
  cudaLaunchConfig_t config{};
};

}  // namespace

Status prepare_launch(const Device& device, const void* kernel, const LaunchShape& shape) {
  cudaFuncAttributes attributes{};
  BLADE_CUDA(cudaFuncGetAttributes(&attributes, kernel), "load a kernel");
  const size_t most = device.info().shared_bytes_per_block;
  if (attributes.sharedSizeBytes + static_cast<size_t>(shape.shared_bytes) > most) {
    return internal_error("A kernel was planned with " + std::to_string(shape.shared_bytes) +
                          " bytes of shared memory, the card has " + std::to_string(most) + ".");
  }
  const int allowed = static_cast<int>(most - attributes.sharedSizeBytes);
  BLADE_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, allowed),
             "give a kernel its shared memory");
  // Of all kernels alike: an SM must drain before it divides its memory otherwise.
  BLADE_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  static_cast<int>(cudaSharedmemCarveoutMaxShared)),
             "prefer shared memory for a kernel");
  constexpr int kPortableCluster = 8;
  if (shape.cluster > kPortableCluster) {
    BLADE_CUDA(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
               "allow a kernel large clusters");
  }
  return {};
}

Status launch(const KernelArgs& args, const void* kernel, const LaunchShape& shape, void** params) {
  const LaunchConfig launch(shape, static_cast<cudaStream_t>(args.queue));
  return cuda_status(cudaLaunchKernelExC(&launch.config, kernel, params), "start a kernel");
}

Result<int> clusters_at_once(const void* kernel, const LaunchShape& shape) {
  const LaunchConfig launch(shape, nullptr);
  int count = 0;
  BLADE_CUDA(cudaOccupancyMaxActiveClusters(&count, kernel, &launch.config), "count a kernel's clusters");
  return count;
}

std::optional<ElementType> element_type(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kFloat32:
      return ElementType::kFloat32;
    case ir::DType::kFloat16:
      return ElementType::kFloat16;
    case ir::DType::kBFloat16:
      return ElementType::kBFloat16;
    case ir::DType::kBool:
      return ElementType::kBool;
    default:
      return std::nullopt;
  }
}

Support needs_element_type(const TensorDesc& desc, const char* what, bool with_bool) {
  const auto type = element_type(desc.dtype);
  if (type && (with_bool || *type != ElementType::kBool)) return Support::yes();
  return Support::no(std::string(what) + " has type " + ir::dtype_name(desc.dtype) + ", needs a floating type" +
                     (with_bool ? " or bool" : ""));
}

Support needs_full_or_half(const TensorDesc& desc, const char* what) {
  if (desc.dtype == ir::DType::kFloat32 || is_half(desc.dtype)) return Support::yes();
  return Support::no(std::string(what) + " has type " + ir::dtype_name(desc.dtype) +
                     ", needs float32, float16 or bfloat16");
}

Support needs_small(const KernelRequest& request) {
  constexpr int64_t kMost = int64_t{1} << 30;
  for (const auto* descs : {&request.inputs, &request.outputs}) {
    for (const TensorDesc& desc : *descs) {
      if (desc.element_count() > kMost) return Support::no("an operand has more than 2^30 elements");
    }
  }
  for (const TensorDesc& desc : request.outputs) {
    if (desc.element_count() == 0) return Support::no("a result is empty");
  }
  return Support::yes();
}

Support needs_constant_ints(const KernelRequest& request, size_t i, const char* what) {
  if (!is_constant(request, i)) return Support::no(std::string(what) + " is not constant");
  if (ir::integer_values(*request.constants[i])) return Support::yes();
  return Support::no(std::string(what) + " is not of an integer type");
}

float float_at(const ir::Tensor& tensor, int64_t i) {
  const std::byte* data = tensor.data;
  uint16_t bits = 0;
  float value = 0;
  switch (tensor.dtype) {
    case ir::DType::kFloat16:
      __builtin_memcpy(&bits, data + 2 * i, 2);
      return float16_to_float(bits);
    case ir::DType::kBFloat16:
      __builtin_memcpy(&bits, data + 2 * i, 2);
      return bfloat16_to_float(bits);
    default:
      __builtin_memcpy(&value, data + 4 * i, 4);
      return value;
  }
}

MergedLoops merge_loops(const ir::Dims& dims, const std::vector<ir::Dims>& strides) {
  MergedLoops merged;
  merged.strides.resize(strides.size());
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 1) continue;
    bool joins = !merged.dims.empty();
    for (size_t k = 0; k < strides.size(); ++k) {
      joins = joins && merged.strides[k].back() == strides[k][d] * dims[d];
    }
    if (joins) {
      merged.dims.back() *= dims[d];
      for (size_t k = 0; k < strides.size(); ++k) merged.strides[k].back() = strides[k][d];
    } else {
      merged.dims.push_back(dims[d]);
      for (size_t k = 0; k < strides.size(); ++k) merged.strides[k].push_back(strides[k][d]);
    }
  }
  if (merged.dims.empty()) {
    merged.dims.push_back(1);
    for (ir::Dims& own : merged.strides) own.push_back(0);
  }
  return merged;
}

}  // namespace blade::backends::cuda
