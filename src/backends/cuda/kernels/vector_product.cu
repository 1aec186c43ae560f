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

// Results that need no more than bias, residual and clamp: one a thread, and no parameter is read behind the wait.
template <class T>
struct PlainResult {
  bool is_mine, to_floats;
  int place = 0;
  float bias = 0, lo, hi;
  void* y;
  const T* residual;
  T added = T(0);

  __device__ __forceinline__ PlainResult(const ConvParams& p, int first_channel)
      : to_floats(pinned(static_cast<int>(p.y_is_float)) != 0),
        lo(pinned(p.epilogue.has_clamp ? p.epilogue.lo : -INFINITY)),
        hi(pinned(p.epilogue.has_clamp ? p.epilogue.hi : INFINITY)),
        y(pinned(p.y)),
        residual(pinned(static_cast<const T*>(p.epilogue.residual))) {
    const int thread = static_cast<int>(threadIdx.x), channel = first_channel + thread % kColumns;
    is_mine = thread < p.rows * kColumns && channel < p.channels;
    if (!is_mine) return;
    place = kept(thread / kColumns * p.channels + channel);
    if (p.epilogue.bias != nullptr) bias = __ldg(p.epilogue.bias + channel);
  }
  __device__ __forceinline__ void load_residual() {
    if (is_mine && residual != nullptr) added = __ldcg(residual + place);
  }
  __device__ __forceinline__ void store(const float (&parts)[kGroups][kMostVectorRows][kColumns]) const {
    if (!is_mine) return;
    float sum = bias;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) sum += parts[g][threadIdx.x / kColumns][threadIdx.x % kColumns];
    sum += to_float(added);
    sum = sum != sum ? sum : fminf(fmaxf(sum, lo), hi);
    if (to_floats) {
      static_cast<float*>(y)[place] = sum;
    } else {
      static_cast<T*>(y)[place] = from_float<T>(sum);
    }
  }
};

// Any other results: eight a thread.
template <class T>
struct AnyResult {
  const ConvParams& p;
  const int first_channel;
  float4 bias[2] = {};
  ResidualVector<T> residual;

  __device__ __forceinline__ AnyResult(const ConvParams& params, int channel) : p(params), first_channel(channel) {
    if (!is_mine() || p.epilogue.bias == nullptr) return;
    bias[0] = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + first_channel));
    bias[1] = __ldg(reinterpret_cast<const float4*>(p.epilogue.bias + first_channel) + 1);
  }
  __device__ __forceinline__ bool is_mine() const { return static_cast<int>(threadIdx.x) < p.rows; }
  __device__ __forceinline__ void load_residual() {
    if (is_mine()) residual.load(p, static_cast<int>(threadIdx.x), first_channel);
  }
  __device__ __forceinline__ void store(const float (&parts)[kGroups][kMostVectorRows][kColumns]) const {
    if (!is_mine()) return;
    float f[8] = {};
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
#pragma unroll
      for (int i = 0; i < kColumns; ++i) f[i] += parts[g][threadIdx.x][i];
    }
    residual.add_to(f);
    finish_vector<std::conditional_t<sizeof(T) == 2, T, __half>>(p, f, bias, static_cast<int>(threadIdx.x),
                                                                 first_channel);
  }
};

// A block computes 8 channels. Eight threads share a chunk of one channel's weights (packed as for all products), the
// groups of threads take turns in chunks.
template <class T, class Results>
__global__ void __launch_bounds__(kThreads) vector_product(const __grid_constant__ ConvParams p) {
  __shared__ float parts[kGroups][kMostVectorRows][kColumns];
  const int thread = static_cast<int>(threadIdx.x), slot = thread & 7, column = thread >> 3 & 7, group = thread >> 6;
  const int first_channel = static_cast<int>(blockIdx.x) * kColumns;
  const char* weights =
      static_cast<const char*>(p.weights) + static_cast<int64_t>(first_channel + column) * 128 + slot * 16;
  const int64_t chunk_bytes = static_cast<int64_t>(p.channels_padded) * 128;
  constexpr int kPiece = 16 / sizeof(T);
  const int offset = (slot ^ column) * kPiece;  // of this thread's piece in a chunk
  const int chunks = pinned(p.chunks);
  uint4 held[kAhead];
  const auto hold = [&](int first) {
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int chunk = first + i * kGroups;
      if (chunk < chunks) held[i] = load_ahead(weights + chunk * chunk_bytes);
    }
  };
  hold(group);
  Results results(p, first_channel);
  const int rows = pinned(p.rows), depth = pinned(p.in_channels);
  const auto* image = pinned(static_cast<const T*>(p.x));
  start_later();
  wait_for_earlier();
  results.load_residual();
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
  results.store(parts);
}

template <class T>
const void* kernel_of(bool plain) {
  return plain ? reinterpret_cast<const void*>(&vector_product<T, PlainResult<T>>)
               : reinterpret_cast<const void*>(&vector_product<T, AnyResult<T>>);
}

}  // namespace

const void* vector_product_kernel(ElementType type, bool plain) {
  return all_forms([&]<class T>() { return kernel_of<T>(plain); }).of(type);
}

}  // namespace blade::backends::cuda
