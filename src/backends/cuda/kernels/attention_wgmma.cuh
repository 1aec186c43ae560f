// What attention of groups of four warps multiplies with: wgmma whose first product of a sum overwrites it, and whose
// left operand may stand in registers (compute capability 9.0).
#pragma once

#include "backends/cuda/kernels/tensor_core.cuh"

namespace blade::backends::cuda::attention_kernel {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// Rows of 16 keys, 64 columns of 128 bytes each, swizzled by 128 bytes, read down the columns; the next 64 columns
// `box_bytes` on.
__device__ __forceinline__ uint64_t column_descriptor(uint32_t address, uint32_t box_bytes) {
  return static_cast<uint64_t>(address >> 4) | (static_cast<uint64_t>(box_bytes >> 4) << 16) | (64ull << 32) |
         (1ull << 62);
}

#define BLADE_C4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define BLADE_C16(i) BLADE_C4(i), BLADE_C4(i + 1), BLADE_C4(i + 2), BLADE_C4(i + 3)
#define BLADE_C32(i) BLADE_C16(i), BLADE_C16(i + 4)
#define BLADE_C64(i) BLADE_C32(i), BLADE_C32(i + 8)

// c[64xN] = a[64x16] * b[16xN], or += where `add`; a and b are descriptors, both with rows along the summed dim.
template <int kColumns, class T>
struct GroupScores;
// c[64xN] += a[64x16] * b[16xN], a in registers, b with columns along the summed dim.
template <int kColumns, class T>
struct GroupValues;
#define BLADE_ATTENTION_MULTIPLY(T, type)                                                                         \
  template <>                                                                                                     \
  struct GroupScores<64, T> {                                                                                     \
    static __device__ __forceinline__ void run(float (&c)[8][4], uint64_t a, uint64_t b, bool add) {              \
      asm volatile(                                                                                               \
          "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                                            \
          "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                             \
          " "                                                                                                     \
          "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                               \
          "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0;\n}"         \
          : BLADE_C32(0)                                                                                          \
          : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                          \
    }                                                                                                             \
  };                                                                                                              \
  template <>                                                                                                     \
  struct GroupScores<128, T> {                                                                                    \
    static __device__ __forceinline__ void run(float (&c)[16][4], uint64_t a, uint64_t b, bool add) {             \
      asm volatile(                                                                                               \
          "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                                            \
          "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                            \
          " "                                                                                                     \
          "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                               \
          "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                                      \
          "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                                      \
          "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, 0, 0;\n}"         \
          : BLADE_C64(0)                                                                                          \
          : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                                          \
    }                                                                                                             \
  };                                                                                                              \
  template <>                                                                                                     \
  struct GroupValues<64, T> {                                                                                     \
    static __device__ __forceinline__ void run(float (&c)[8][4], const uint32_t (&a)[4], uint64_t b) {            \
      asm volatile(                                                                                               \
          "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                             \
          " "                                                                                                     \
          "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                               \
          "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;" \
          : BLADE_C32(0)                                                                                          \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                  \
    }                                                                                                             \
  };                                                                                                              \
  template <>                                                                                                     \
  struct GroupValues<128, T> {                                                                                    \
    static __device__ __forceinline__ void run(float (&c)[16][4], const uint32_t (&a)[4], uint64_t b) {           \
      asm volatile(                                                                                               \
          "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                            \
          " "                                                                                                     \
          "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                               \
          "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                                      \
          "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                                      \
          "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68, 1, 1, 1, 1;" \
          : BLADE_C64(0)                                                                                          \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                  \
    }                                                                                                             \
  }
BLADE_ATTENTION_MULTIPLY(__half, "f16");
BLADE_ATTENTION_MULTIPLY(__nv_bfloat16, "bf16");
#undef BLADE_ATTENTION_MULTIPLY
#undef BLADE_C4
#undef BLADE_C16
#undef BLADE_C32
#undef BLADE_C64
#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace blade::backends::cuda::attention_kernel
