// Loads and stores of four neighbouring elements, aligned to their size together.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"

namespace blade::backends::cuda {

__device__ __forceinline__ float4 load_four(const void* data, int64_t i, ElementType type) {
  if (type == ElementType::kFloat32) return *reinterpret_cast<const float4*>(static_cast<const float*>(data) + i);
  if (type == ElementType::kBool) {
    const uchar4 bits = *reinterpret_cast<const uchar4*>(static_cast<const uint8_t*>(data) + i);
    return make_float4(bits.x != 0, bits.y != 0, bits.z != 0, bits.w != 0);
  }
  const uint2 bits = *reinterpret_cast<const uint2*>(static_cast<const uint16_t*>(data) + i);
  float2 low, high;
  if (type == ElementType::kFloat16) {
    low = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
    high = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
  } else {
    low = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.x));
    high = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.y));
  }
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ __forceinline__ void store_four(void* data, int64_t i, ElementType type, float4 v) {
  if (type == ElementType::kFloat32) {
    *reinterpret_cast<float4*>(static_cast<float*>(data) + i) = v;
  } else if (type == ElementType::kBool) {
    *reinterpret_cast<uchar4*>(static_cast<uint8_t*>(data) + i) = make_uchar4(v.x != 0, v.y != 0, v.z != 0, v.w != 0);
  } else {
    uint2 bits;
    if (type == ElementType::kFloat16) {
      *reinterpret_cast<__half2*>(&bits.x) = __floats2half2_rn(v.x, v.y);
      *reinterpret_cast<__half2*>(&bits.y) = __floats2half2_rn(v.z, v.w);
    } else {
      *reinterpret_cast<__nv_bfloat162*>(&bits.x) = __floats2bfloat162_rn(v.x, v.y);
      *reinterpret_cast<__nv_bfloat162*>(&bits.y) = __floats2bfloat162_rn(v.z, v.w);
    }
    *reinterpret_cast<uint2*>(static_cast<uint16_t*>(data) + i) = bits;
  }
}

}  // namespace blade::backends::cuda
