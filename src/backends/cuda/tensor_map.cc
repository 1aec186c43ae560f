// Asks the driver for tensor maps, through the runtime: nothing here links against the driver.
#include "backends/cuda/tensor_map.h"

#include <cuda.h>

namespace blade::backends::cuda {
namespace {

static_assert(sizeof(TensorMap) == sizeof(CUtensorMap) && alignof(TensorMap) >= alignof(CUtensorMap));

template <class Function>
Function driver_function(const char* name) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
  const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &found);
  return error == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<Function>(address) : nullptr;
}

auto encode_pixels() {
  static const auto function = driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
  return function;
}
auto encode_boxes() {
  static const auto function = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
  return function;
}

Result<TensorMap> checked(const TensorMap& map, CUresult result) {
  if (result == CUDA_SUCCESS) return map;
  return internal_error("The GPU's driver refused a tensor map (error " + std::to_string(static_cast<int>(result)) +
                        ").");
}

// Where the last output's first tap stands, counted from the last pixel of the image.
int64_t upper_corner(int64_t out, int64_t stride, int64_t pad, int64_t in) {
  return (out - 1) * stride - pad - (in - 1);
}

}  // namespace

Support supports_tensor_map(const ConvProblem& problem) {
  if (problem.in_channels % 64 != 0) {
    return Support::no("has " + std::to_string(problem.in_channels) + " input channels, needs a multiple of 64");
  }
  if (problem.stride_h > 8 || problem.stride_w > 8) return Support::no("has a stride above 8");
  const int64_t corners[] = {-problem.pad_left, -problem.pad_top,
                             upper_corner(problem.out_width, problem.stride_w, problem.pad_left, problem.width),
                             upper_corner(problem.out_height, problem.stride_h, problem.pad_top, problem.height)};
  for (int64_t corner : corners) {
    if (corner < -128 || corner > 127) return Support::no("the window is too large for the tensor copy engine");
  }
  if ((problem.kernel_h - 1) * problem.dilation_h > 255 || (problem.kernel_w - 1) * problem.dilation_w > 255) {
    return Support::no("the window is too large for the tensor copy engine");
  }
  const bool both = encode_pixels() != nullptr && encode_boxes() != nullptr;
  return both ? Support::yes() : Support::no("the driver has no tensor maps");
}

Result<TensorMap> make_tensor_map(const ConvProblem& problem, const void* x, int rows) {
  const auto c = static_cast<cuuint64_t>(problem.in_channels);
  const auto w = static_cast<cuuint64_t>(problem.width), h = static_cast<cuuint64_t>(problem.height);
  const cuuint64_t dims[] = {c, w, h, static_cast<cuuint64_t>(problem.images)};
  const cuuint64_t strides[] = {c * 2, w * c * 2, h * w * c * 2};
  const int lower[] = {static_cast<int>(-problem.pad_left), static_cast<int>(-problem.pad_top)};
  const int upper[] = {
      static_cast<int>(upper_corner(problem.out_width, problem.stride_w, problem.pad_left, problem.width)),
      static_cast<int>(upper_corner(problem.out_height, problem.stride_h, problem.pad_top, problem.height))};
  const cuuint32_t steps[] = {1, static_cast<cuuint32_t>(problem.stride_w), static_cast<cuuint32_t>(problem.stride_h),
                              1};
  TensorMap map;
  const CUresult result = encode_pixels()(
      reinterpret_cast<CUtensorMap*>(&map), CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4, const_cast<void*>(x), dims, strides,
      lower, upper, 64, static_cast<cuuint32_t>(rows), steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return checked(map, result);
}

Result<PixelMaps> make_pixel_maps(const ConvProblem& problem, const ConvProblem& addend, const void* x,
                                  const void* addend_x, int rows) {
  PixelMaps maps;
  BLADE_ASSIGN_OR_RETURN(maps.image, make_tensor_map(problem, x, rows));
  if (problem.addend_channels > 0) {
    BLADE_ASSIGN_OR_RETURN(maps.addend, make_tensor_map(addend, addend_x, rows));
  }
  return maps;
}

Support supports_patch_map(const ConvProblem& problem) {
  if (problem.in_channels % 64 != 0) {
    return Support::no("has " + std::to_string(problem.in_channels) + " input channels, needs a multiple of 64");
  }
  return encode_boxes() != nullptr ? Support::yes() : Support::no("the driver has no tensor maps");
}

Result<TensorMap> make_patch_map(const ConvProblem& problem, const void* x, int64_t height, int64_t width) {
  const auto c = static_cast<cuuint64_t>(problem.in_channels);
  const auto w = static_cast<cuuint64_t>(problem.width), h = static_cast<cuuint64_t>(problem.height);
  const cuuint64_t dims[] = {c, w, h, static_cast<cuuint64_t>(problem.images)};
  const cuuint64_t strides[] = {c * 2, w * c * 2, h * w * c * 2};
  const cuuint32_t steps[] = {1, static_cast<cuuint32_t>(problem.stride_w), static_cast<cuuint32_t>(problem.stride_h),
                              1};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(width * problem.stride_w),
                            static_cast<cuuint32_t>(height * problem.stride_h), 1};
  TensorMap map;
  const CUresult result =
      encode_boxes()(reinterpret_cast<CUtensorMap*>(&map), CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4, const_cast<void*>(x),
                     dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return checked(map, result);
}

Result<TensorMap> make_box_map(const void* matrix, int64_t matrix_rows, int64_t columns, int rows) {
  const cuuint64_t dims[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(matrix_rows)};
  const cuuint64_t strides[] = {dims[0] * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(rows)}, steps[] = {1, 1};
  TensorMap map;
  const CUresult result =
      encode_boxes()(reinterpret_cast<CUtensorMap*>(&map), CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2,
                     const_cast<void*>(matrix), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                     CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return checked(map, result);
}

Support supports_rows_map() {
  return encode_boxes() != nullptr ? Support::yes() : Support::no("the driver has no tensor maps");
}

Result<TensorMap> make_rows_map(const void* data, const ir::Dims& dims, const ir::Dims& strides, int rows) {
  constexpr size_t kRank = 5;
  constexpr cuuint64_t kAlignment = 16;
  cuuint64_t all[kRank] = {static_cast<cuuint64_t>(dims[0]), 1, 1, 1, 1};
  cuuint64_t bytes[kRank - 1] = {kAlignment, kAlignment, kAlignment, kAlignment};
  for (size_t d = 1; d < dims.size(); ++d) {
    if (strides[d - 1] == 0) continue;
    all[d] = static_cast<cuuint64_t>(dims[d]);
    bytes[d - 1] = static_cast<cuuint64_t>(strides[d - 1]) * 2;
  }
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(rows), 1, 1, 1}, steps[] = {1, 1, 1, 1, 1};
  TensorMap map;
  const CUresult result =
      encode_boxes()(reinterpret_cast<CUtensorMap*>(&map), CU_TENSOR_MAP_DATA_TYPE_FLOAT16, kRank,
                     const_cast<void*>(data), all, bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                     CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return checked(map, result);
}

}  // namespace blade::backends::cuda
