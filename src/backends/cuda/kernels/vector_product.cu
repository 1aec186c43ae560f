// Matrix products of a few rows: every weight is read once by one thread, before the wait for what made the rows.
#include "backends/cuda/kernels/conv_finish.cuh"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

constexpr int kColumns = kVectorColumns, kGroups = 4, kThreads = kColumns * 8 * kGroups;
// A constant, now: a plain load may be moved behind the wait.
__device__ __forceinline__ uint4 load_ahead(const void* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

constexpr int kAhead = 8;  // pieces of weights that a thread holds
static_assert(kThreads == kSimpleThreads);

template <class T>
__device__ __forceinline__ float dot(const uint4& a, const uint4& b, float sum, T) {
  const auto *x = reinterpret_cast<const Pair<T>*>(&a), *w = reinterpret_cast<const Pair<T>*>(&b);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 left = to_floats(x[i]), right = to_floats(w[i]);
    sum = fmaf(left.x, right.x, fmaf(left.y, right.y, sum));
  }
  return sum;
}
__device__ __forceinline__ float dot(const uint4& a, const uint4& b, float sum, float) {
  const auto *x = reinterpret_cast<const float*>(&a), *w = reinterpret_cast<const float*>(&b);
#pragma unroll
  for (int i = 0; i < 4; ++i) sum = fmaf(x[i], w[i], sum);
  return sum;
}

// A block computes 8 channels. Eight threads share a chunk of one channel's weights (packed as for all products), the
// groups of threads take turns in chunks.
template <class T>
__global__ void __launch_bounds__(kThreads) vector_product(const __grid_constant__ ConvParams p) {
  __shared__ float parts[kGroups][kMostVectorRows][kColumns];
  const int thread = static_cast<int>(threadIdx.x), slot = thread & 7, column = thread >> 3 & 7, group = thread >> 6;
  const int first_channel = static_cast<int>(blockIdx.x) * kColumns;
  const char* weights =
      static_cast<const char*>(p.weights) + static_cast<int64_t>(first_channel + column) * 128 + slot * 16;
  const int64_t chunk_bytes = static_cast<int64_t>(p.channels_padded) * 128;
  constexpr int kPiece = 16 / sizeof(T);
  const int offset = (slot ^ column) * kPiece;  // of this thread's piece in a chunk
  uint4 held[kAhead];
  const auto hold = [&](int first) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i * kGroups;
      if (chunk < p.chunks) held[i] = load_ahead(weights + chunk * chunk_bytes);
    }
  };
  hold(group);
  float4 bias[2] = {};
  if (thread < p.rows && p.epilogue.bias != nullptr) {
    bias[0] = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + first_channel));
    bias[1] = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + first_channel) + 1);
  }
  const int rows = kept(p.rows), chunks = kept(p.chunks), depth = kept(p.in_channels);
  const auto* image = static_cast<const T*>(p.x);
  keep(image);
  start_later();
  wait_for_earlier();
  ResidualVector<T> residual;
  if (thread < rows) residual.load(p, thread, first_channel);
  float sums[kMostVectorRows] = {};
  for (int first = group; first < chunks; first += kGroups * kAhead) {
    if (first != group) hold(first);
#pragma unroll
    for (int r = 0; r < kMostVectorRows; ++r) {
      if (r >= rows) break;
      const T* x = image + static_cast<int64_t>(r) * depth + offset;
      uint4 values[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const int at = (first + i * kGroups) * 8 * kPiece;
        values[i] = at + offset < depth ? __ldcg(reinterpret_cast<const uint4*>(x + at)) : make_uint4(0, 0, 0, 0);
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first + i * kGroups < chunks) sums[r] = dot(values[i], held[i], sums[r], T());
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kMostVectorRows; ++r) {
    if (r >= rows) break;
    for (int d = 4; d > 0; d >>= 1) sums[r] += __shfl_xor_sync(~0u, sums[r], d);
    if (slot == 0) parts[group][r][column] = sums[r];
  }
  __syncthreads();
  if (thread >= rows) return;
  float f[8] = {};
#pragma unroll
  for (int g = 0; g < kGroups; ++g) {
#pragma unroll
    for (int i = 0; i < kColumns; ++i) f[i] += parts[g][thread][i];
  }
  residual.add_to(f);
  finish_vector<std::conditional_t<sizeof(T) == 2, T, __half>>(p, f, bias, thread, first_channel);
}

}  // namespace

const void* vector_product_kernel(ElementType type) {
  return all_forms([&]<class T>() { return reinterpret_cast<const void*>(&vector_product<T>); }).of(type);
}

}  // namespace blade::backends::cuda
