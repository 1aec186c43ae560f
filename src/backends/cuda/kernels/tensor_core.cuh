// The instructions that matrix kernels are made of: asynchronous copies, barriers, clusters and matrix multiplication.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace blade::backends::cuda {

// Where weights come by bulk copies, the thread that starts one arrives for it.
#if __CUDA_ARCH__ >= 900
inline constexpr int kBulkArrivals = 1;
#else
inline constexpr int kBulkArrivals = 0;
#endif

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes from global to shared memory; zeros where !valid.
__device__ __forceinline__ void copy_16(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

__device__ __forceinline__ void barrier_init(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}
// This thread's arrival, once its copies so far have landed.
__device__ __forceinline__ void barrier_arrive_after_copies(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint32_t barrier) {
  asm volatile("{\n.reg .b64 state;\nmbarrier.arrive.shared.b64 state, [%0];\n}" ::"r"(barrier) : "memory");
}
__device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#else
    asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
#endif
  } while (done == 0);
}

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// One arrival that also announces bytes which bulk copies or remote stores will bring.
__device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copy_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
               "l"(from), "r"(bytes), "r"(barrier)
               : "memory");
}
// Pixels in the order of the output, starting from that at (x, y) of the image under tap (0, 0), as the tap at the
// offset sees them: rows of 64 channels, zeros outside the image. `map` is a CUtensorMap in im2col form.
__device__ __forceinline__ void copy_pixels(uint32_t to, const void* map, int channel, int x, int y, int image,
                                            int offset_x, int offset_y, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(to),
      "l"(map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(barrier), "h"(static_cast<uint16_t>(offset_x)),
      "h"(static_cast<uint16_t>(offset_y))
      : "memory");
}
// A box of an image [image, y, x, channel], by a CUtensorMap in tiled form; zeros outside.
__device__ __forceinline__ void copy_patch(uint32_t to, const void* map, int channel, int x, int y, int image,
                                           uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];" ::"r"(to),
      "l"(map), "r"(channel), "r"(x), "r"(y), "r"(image), "r"(barrier)
      : "memory");
}
// Fetches a CUtensorMap itself ahead of the first copy by it.
__device__ __forceinline__ void prefetch_map(const void* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}
// A box of a matrix, by a CUtensorMap in tiled form: zeros outside, and nothing is written there.
__device__ __forceinline__ void copy_box(uint32_t to, const void* map, int column, int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
          to),
      "l"(map), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}
__device__ __forceinline__ void store_box(const void* map, int column, int row, uint32_t from) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column),
               "r"(row), "r"(from)
               : "memory");
}
__device__ __forceinline__ void stores_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// This thread's stores have read what they write.
__device__ __forceinline__ void stores_wait_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
// Before the tensor copy engine reads what this thread wrote to shared memory.
__device__ __forceinline__ void fence_for_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Says that this block has begun: barrier_init_fence() has made its barriers known, and nothing else is passed on, so
// that no thread waits for what it has under way.
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// The same shared address in another block of the cluster.
__device__ __forceinline__ uint32_t remote_address(uint32_t address, uint32_t rank) {
  uint32_t remote;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}
__device__ __forceinline__ void store_remote(uint32_t address, float4 v, uint32_t barrier) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(address),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(barrier)
      : "memory");
}
#endif

// Four 8x8 matrices of 16 bits an element; lane i gives the address of row i % 8 of matrix i / 8.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same from registers to shared memory.
__device__ __forceinline__ void store_matrices(uint32_t address, const uint32_t (&r)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]), "r"(r[1]),
               "r"(r[2]), "r"(r[3])
               : "memory");
#endif
}
// The threads that wait at one of the block's numbered barriers (0 is __syncthreads()).
__device__ __forceinline__ void sync_threads_of(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// Counts for that barrier without waiting.
__device__ __forceinline__ void arrive_for_threads_of(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
// c[16x8] += a[16x16] * b[16x8], of T
template <class T>
__device__ __forceinline__ void multiply_16x8x16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#define BLADE_MULTIPLY(type)                                 \
  asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type \
      ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "  \
      "{%0, %1, %2, %3};"                                    \
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])       \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
  if constexpr (std::is_same_v<T, __nv_bfloat16>) {
    BLADE_MULTIPLY("bf16");
  } else {
    BLADE_MULTIPLY("f16");
  }
#undef BLADE_MULTIPLY
}
__device__ __forceinline__ void multiply_16x8x8(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// A float as the TF32 that its upper bits are, and what remains.
__device__ __forceinline__ uint32_t upper_bits(uint32_t value) { return value & 0xffffe000u; }
__device__ __forceinline__ uint32_t lower_part(uint32_t value) {
  const float rest = __uint_as_float(value) - __uint_as_float(upper_bits(value));
  return rest == rest ? __float_as_uint(rest) : 0u;  // infinity leaves nothing
}
// c[16x8] += a[16x8] * b[8x8], all float32: three products of TF32 leave out only what is below 2^-21 of a product.
__device__ __forceinline__ void multiply_floats(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  uint32_t upper[4], lower[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    upper[i] = upper_bits(a[i]);
    lower[i] = lower_part(a[i]);
  }
  const uint32_t upper0 = upper_bits(b0), upper1 = upper_bits(b1);
  multiply_16x8x8(c, lower, upper0, upper1);
  multiply_16x8x8(c, upper, lower_part(b0), lower_part(b1));
  multiply_16x8x8(c, upper, upper0, upper1);
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ __forceinline__ void group_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void group_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// A tile whose rows are 128 bytes, swizzled by 128 bytes, rows 8 to a group of 1024 bytes.
__device__ __forceinline__ uint64_t tile_descriptor(uint32_t address) {
  return static_cast<uint64_t>(address >> 4) | (1ull << 16) | (64ull << 32) | (1ull << 62);
}

#define BLADE_C4(i) "+f"(c[i][0]), "+f"(c[i][1]), "+f"(c[i][2]), "+f"(c[i][3])
#define BLADE_C16(i) BLADE_C4(i), BLADE_C4(i + 1), BLADE_C4(i + 2), BLADE_C4(i + 3)
#define BLADE_C32(i) BLADE_C16(i), BLADE_C16(i + 4)
#define BLADE_C64(i) BLADE_C32(i), BLADE_C32(i + 8)

// c[64xN] += a[64x16] * b[16xN] of T by four warps, each of which holds 16 rows of c; a and b are descriptors.
template <int kColumns, class T>
struct GroupMultiply;
#define BLADE_GROUP_MULTIPLY(T, type)                                                                                  \
  template <>                                                                                                          \
  struct GroupMultiply<16, T> {                                                                                        \
    static __device__ __forceinline__ void run(float (&c)[2][4], uint64_t a, uint64_t b) {                             \
      asm volatile("wgmma.mma_async.sync.aligned.m64n16k16.f32." type "." type                                         \
                   " {%0,%1,%2,%3,%4,%5,%6,%7}, %8, %9, 1, 1, 1, 0, 0;"                                                \
                   : BLADE_C4(0), BLADE_C4(1)                                                                          \
                   : "l"(a), "l"(b));                                                                                  \
    }                                                                                                                  \
  };                                                                                                                   \
  template <>                                                                                                          \
  struct GroupMultiply<32, T> {                                                                                        \
    static __device__ __forceinline__ void run(float (&c)[4][4], uint64_t a, uint64_t b) {                             \
      asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type                                         \
                   " "                                                                                                 \
                   "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, %16, %17, 1, 1, 1, 0, 0;"                 \
                   : BLADE_C16(0)                                                                                      \
                   : "l"(a), "l"(b));                                                                                  \
    }                                                                                                                  \
  };                                                                                                                   \
  template <>                                                                                                          \
  struct GroupMultiply<64, T> {                                                                                        \
    static __device__ __forceinline__ void run(float (&c)[8][4], uint64_t a, uint64_t b) {                             \
      asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                                         \
                   " "                                                                                                 \
                   "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                           \
                   "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, 1, 1, 1, 0, 0;"        \
                   : BLADE_C32(0)                                                                                      \
                   : "l"(a), "l"(b));                                                                                  \
    }                                                                                                                  \
  };                                                                                                                   \
  template <>                                                                                                          \
  struct GroupMultiply<128, T> {                                                                                       \
    static __device__ __forceinline__ void run(float (&c)[16][4], uint64_t a, uint64_t b) {                            \
      asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type                                        \
                   " "                                                                                                 \
                   "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                           \
                   "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                                  \
                   "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                                  \
                   "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, %64, %65, 1, 1, 1, 0, 0;"        \
                   : BLADE_C64(0)                                                                                      \
                   : "l"(a), "l"(b));                                                                                  \
    }                                                                                                                  \
  };                                                                                                                   \
  template <>                                                                                                          \
  struct GroupMultiply<256, T> {                                                                                       \
    static __device__ __forceinline__ void run(float (&c)[32][4], uint64_t a, uint64_t b) {                            \
      asm volatile("wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type                                        \
                   " "                                                                                                 \
                   "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"                                           \
                   "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"                                  \
                   "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"                                  \
                   "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"                                  \
                   "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"                                  \
                   "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,"                                  \
                   "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,"                      \
                   "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}, %128, %129, 1, " \
                   "1, 1, 0, 0;"                                                                                       \
                   : BLADE_C64(0), BLADE_C64(16)                                                                       \
                   : "l"(a), "l"(b));                                                                                  \
    }                                                                                                                  \
  }
BLADE_GROUP_MULTIPLY(__half, "f16");
BLADE_GROUP_MULTIPLY(__nv_bfloat16, "bf16");
#undef BLADE_GROUP_MULTIPLY
#undef BLADE_C4
#undef BLADE_C16
#undef BLADE_C32
#undef BLADE_C64
#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace blade::backends::cuda
