// How parts of a row's attention, each of some of its keys, are put together and stored.
#pragma once

#include "backends/cuda/kernels/attention_item.cuh"

namespace blade::backends::cuda::attention_kernel {

template <class T>
__device__ __forceinline__ void store_piece(T* to, const float (&f)[8]) {
  *reinterpret_cast<uint4*>(to) = make_uint4(to_pair_bits<T>(f[0], f[1]), to_pair_bits<T>(f[2], f[3]),
                                             to_pair_bits<T>(f[4], f[5]), to_pair_bits<T>(f[6], f[7]));
}
__device__ __forceinline__ void store_piece(float* to, const float (&f)[8]) {
  reinterpret_cast<float4*>(to)[0] = {f[0], f[1], f[2], f[3]};
  reinterpret_cast<float4*>(to)[1] = {f[4], f[5], f[6], f[7]};
}

// Parts of a row's sums, each with the largest score and the sum of weights of its keys, together: of one piece of 8.
struct PieceSum {
  float largest = -INFINITY, total = 0, f[8] = {};

  template <int kParts, class TotalOf, class PieceOf>
  __device__ __forceinline__ void add(const TotalOf& total_of, const PieceOf& piece_of) {
    float2 totals[kParts];
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      totals[p] = total_of(p);
      largest = fmaxf(largest, totals[p].x);
    }
    const float base = largest == -INFINITY ? 0.0f : largest;
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      const float factor = power_of_e(totals[p].x - base);
      total = fmaf(factor, totals[p].y, total);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float4 four = piece_of(p, half);
        float* to = f + 4 * half;
        to[0] = fmaf(factor, four.x, to[0]), to[1] = fmaf(factor, four.y, to[1]);
        to[2] = fmaf(factor, four.z, to[2]), to[3] = fmaf(factor, four.w, to[3]);
      }
    }
  }

  template <class T>
  __device__ __forceinline__ void store(const Item<T>& item, int query, int column) {
    const float share = 1.0f / total;
#pragma unroll
    for (int k = 0; k < 8; ++k) f[k] *= share;
    T* to = item.out + static_cast<int64_t>(query) * item.out_row + column;
    if (item.out_in_pieces) return store_piece(to, f);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (column + k < item.v.columns) to[k] = from_float<T>(f[k]);
    }
  }
};

}  // namespace blade::backends::cuda::attention_kernel
