// What attention multiplies with: fragments of queries, keys, weights and values for matrix instructions, in float16,
// bfloat16, and in float32 by three products of TF32.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda::attention_kernel {

inline constexpr int kGroup = 32;  // keys or elements of depth that are multiplied together
inline constexpr int kGroupTiles = kGroup / 8;
inline constexpr float kLog2E = 1.4426950408889634f;

// Like load_matrices(), each matrix transposed.
__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// Ends a group of this thread's copies; waits until all but the last `kPending` groups have landed.
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ __forceinline__ float power_of_e(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * kLog2E));
  return y;
}

// How 32 of the summed dim are multiplied: fragments of the left operand, and one tile of 8 columns of the right one.
// Rows in shared memory are longer than the data by what spreads them over the banks.
template <class T>
struct Multiplier {  // of 16 bits
  static constexpr int kSteps = kGroup / 16, kKeyPadding = 8, kValuePadding = 8;
  using Left = uint32_t[kSteps][4];

  // 16 rows at `row`, columns from `column`.
  static __device__ __forceinline__ void load_left(Left& a, const T* rows, int stride, int column) {
    const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      load_matrices(a[s], shared_address(rows + (lane & 15) * stride + column + s * 16 + (lane >> 4) * 8));
    }
  }
  // Weights of 32 keys.
  static __device__ __forceinline__ void to_left(Left& a, const float (*p)[4]) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float* pair = &p[2 * s + i / 2][i % 2 * 2];
        a[s][i] = to_pair_bits<T>(pair[0], pair[1]);
      }
    }
  }
  static constexpr bool kSumsInPlace = true;
  using Right = uint32_t[4];
  static __device__ __forceinline__ void multiply(float (&c)[4], const Left& a, const Right& b) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) multiply_16x8x16<T>(c, a[s], b[2 * s], b[2 * s + 1]);
  }
  // 32 columns of 8 keys, transposed.
  static __device__ __forceinline__ void load_keys(Right& b, const T* keys, int stride) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    load_matrices(b, shared_address(keys + (lane & 7) * stride + (lane >> 3) * 8));
  }
  // 8 columns of 32 rows.
  static __device__ __forceinline__ void load_values(Right& b, const T* values, int stride) {
    load_matrices_transposed(b, shared_address(values + static_cast<int>(threadIdx.x % 32) * stride));
  }
};

// Of 8 neighbours of the summed dim a lane takes two side by side, where the instruction has them 4 apart: their order
// is the same in both operands.
template <>
struct Multiplier<float> {
  static constexpr int kSteps = kGroup / 8, kKeyPadding = 8, kValuePadding = 4;
  using Left = uint32_t[kSteps][4];
  static constexpr bool kSumsInPlace = false;  // tensor cores cut off what they add: a chunk is summed by itself

  static __device__ __forceinline__ void load_left(Left& a, const float* rows, int stride, int column) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const float* own = rows + lane / 4 * stride + column + lane % 4 * 2;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[s][i] = __float_as_uint(own[s * 8 + i % 2 * 8 * stride + i / 2]);
    }
  }
  static __device__ __forceinline__ void to_left(Left& a, const float (*p)[4]) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[s][i] = __float_as_uint(p[s][i % 2 * 2 + i / 2]);
    }
  }
  using Right = uint2[kSteps];
  static __device__ __forceinline__ void multiply(float (&c)[4], const Left& a, const Right& b) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) multiply_floats(c, a[s], b[s].x, b[s].y);
  }
  static __device__ __forceinline__ void load_keys(Right& b, const float* keys, int stride) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const float* own = keys + lane / 4 * stride + lane % 4 * 2;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) b[s] = *reinterpret_cast<const uint2*>(own + s * 8);
  }
  static __device__ __forceinline__ void load_values(Right& b, const float* values, int stride) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const float* own = values + lane % 4 * 2 * stride + lane / 4;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const float* pair = own + s * 8 * stride;
      b[s] = make_uint2(__float_as_uint(pair[0]), __float_as_uint(pair[stride]));
    }
  }
};

}  // namespace blade::backends::cuda::attention_kernel
