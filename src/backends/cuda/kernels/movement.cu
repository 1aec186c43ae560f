// Copies between strided boxes, gathers, and resizing: kernels that only move data.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

__global__ void __launch_bounds__(kSimpleThreads) strided_copies(const __grid_constant__ StridedCopiesParams all) {
  start_later();
  wait_for_earlier();
  int i = 0;
  while (i + 1 < all.count && all.first_block[i + 1] <= static_cast<int>(blockIdx.x)) ++i;
  const StridedCopyParams& p = all.copies[i];
  const int64_t element = static_cast<int64_t>(blockIdx.x - all.first_block[i]) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  int64_t from = p.from_offset, to = p.to_offset;
  int rest = static_cast<int>(element);
  for (int d = p.rank - 1; d >= 0; --d) {
    const int next = divide(rest, p.dims[d]);
    const int index = rest - next * static_cast<int>(p.dims[d].divisor);
    from += index * p.from_strides[d];
    to += index * p.to_strides[d];
    rest = next;
  }
  copy_units(p.unit, p.from, from, p.to, to);
}

template <class T>
__global__ void __launch_bounds__(kSimpleThreads) gather(const __grid_constant__ GatherParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  const int row = divide(static_cast<int>(element), p.inner);
  const int inner = static_cast<int>(element) - row * static_cast<int>(p.inner.divisor);
  const int outer = divide(row, p.index_count), i = row - outer * static_cast<int>(p.index_count.divisor);
  const int batch = divide(outer, p.outer_per_batch);
  const int64_t at = static_cast<int64_t>(batch) * p.index_count.divisor + i;
  const int64_t index =
      p.index_is_64 ? static_cast<const int64_t*>(p.indices)[at] : static_cast<const int32_t*>(p.indices)[at];
  T value = {};
  if (index >= 0 && index < p.axis_size) {
    value =
        static_cast<const T*>(p.params)[(static_cast<int64_t>(outer) * p.axis_size + index) * p.inner.divisor + inner];
  }
  static_cast<T*>(p.y)[element] = value;
}

__global__ void __launch_bounds__(kSimpleThreads) one_hot(const __grid_constant__ OneHotParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  const int row = divide(static_cast<int>(element), p.inner);
  const int inner = static_cast<int>(element) - row * static_cast<int>(p.inner.divisor);
  const int outer = divide(row, p.depth), d = row - outer * static_cast<int>(p.depth.divisor);
  const int64_t at = static_cast<int64_t>(outer) * p.inner.divisor + inner;
  const int64_t index =
      p.index_is_64 ? static_cast<const int64_t*>(p.indices)[at] : static_cast<const int32_t*>(p.indices)[at];
  copy_units(p.unit, index == d ? p.on : p.off, 0, p.y, element);
}

// Where output position `out` looks in the input.
__device__ float source_position(int out, float scale, bool half_pixel) {
  return half_pixel ? (static_cast<float>(out) + 0.5f) * scale - 0.5f : static_cast<float>(out) * scale;
}

__device__ int nearest_position(int out, float scale, int size, const ResizeParams& p) {
  float at = p.half_pixel_centers ? floorf((static_cast<float>(out) + 0.5f) * scale)
             : p.align_corners    ? roundf(static_cast<float>(out) * scale)
                                  : floorf(static_cast<float>(out) * scale);
  return max(0, min(size - 1, static_cast<int>(at)));
}

template <class T>
__global__ void __launch_bounds__(kSimpleThreads) resize(const __grid_constant__ ResizeParams p) {
  start_later();
  wait_for_earlier();
  const int64_t element = static_cast<int64_t>(blockIdx.x) * kSimpleThreads + threadIdx.x;
  if (element >= p.count) return;
  const int c = static_cast<int>(element % p.channels);
  int64_t rest = element / p.channels;
  const int x = static_cast<int>(rest % p.out_width);
  rest /= p.out_width;
  const int y = static_cast<int>(rest % p.out_height), n = static_cast<int>(rest / p.out_height);
  const T* image = static_cast<const T*>(p.x) + static_cast<int64_t>(n) * p.in_height * p.in_width * p.channels + c;
  const auto at = [&](int row, int column) {
    return to_float(image[(static_cast<int64_t>(row) * p.in_width + column) * p.channels]);
  };
  T* out = static_cast<T*>(p.y);
  if (p.nearest) {
    out[element] = from_float<T>(
        at(nearest_position(y, p.scale_y, p.in_height, p), nearest_position(x, p.scale_x, p.in_width, p)));
    return;
  }
  const float in_y = source_position(y, p.scale_y, p.half_pixel_centers);
  const float in_x = source_position(x, p.scale_x, p.half_pixel_centers);
  const float floor_y = floorf(in_y), floor_x = floorf(in_x);
  const int y0 = max(0, static_cast<int>(floor_y)), y1 = min(p.in_height - 1, static_cast<int>(floor_y) + 1);
  const int x0 = max(0, static_cast<int>(floor_x)), x1 = min(p.in_width - 1, static_cast<int>(floor_x) + 1);
  const float fy = in_y - floor_y, fx = in_x - floor_x;
  const float top = at(y0, x0) + (at(y0, x1) - at(y0, x0)) * fx;
  const float bottom = at(y1, x0) + (at(y1, x1) - at(y1, x0)) * fx;
  out[element] = from_float<T>(top + (bottom - top) * fy);
}

}  // namespace

const void* strided_copies_kernel() { return reinterpret_cast<const void*>(&strided_copies); }
const void* gather_kernel(int element_bytes) {
  switch (element_bytes) {
    case 1:
      return reinterpret_cast<const void*>(&gather<uint8_t>);
    case 2:
      return reinterpret_cast<const void*>(&gather<uint16_t>);
    case 4:
      return reinterpret_cast<const void*>(&gather<uint32_t>);
    case 8:
      return reinterpret_cast<const void*>(&gather<uint2>);
    default:
      return reinterpret_cast<const void*>(&gather<uint4>);
  }
}
const void* one_hot_kernel() { return reinterpret_cast<const void*>(&one_hot); }
const void* resize_kernel(ElementType type) {
  return all_forms([&]<class T>() { return reinterpret_cast<const void*>(&resize<T>); }).of(type);
}

}  // namespace blade::backends::cuda
