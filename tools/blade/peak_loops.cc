// One source for each width and element; the instruction sets are chosen at run time, not by compiler flags.
#include "peak_loops.h"

#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#include "base/amx.h"

namespace blade::command {
namespace {

constexpr int kChains = 16;      // independent accumulators: latency 4 or 5 times two ports, with room
constexpr int kChainsAvx2 = 12;  // sixteen registers hold twelve sums and the two factors

using Float16 = float __attribute__((vector_size(64)));
using Float8 = float __attribute__((vector_size(32)));

// Returns a value that depends on every product, so that none is removed.
__attribute__((target("avx512f"))) float fma_loop_avx512(long iterations) {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_set1_ps(1.0f);
  __m512 a = _mm512_set1_ps(0.999f);
  __m512 b = _mm512_set1_ps(0.001f);
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_fmadd_ps(sum, a, b);
  }
  Float16 total = {};
  for (auto& sum : sums) total += reinterpret_cast<Float16&>(sum);
  return total[0] + total[15];
}

__attribute__((target("avx512f,avx512bf16"))) float dot_loop_bf16(long iterations) {
  __m512 sums[kChains];
  for (auto& sum : sums) sum = _mm512_set1_ps(1.0f);
  __m512i a = _mm512_set1_epi16(0x3c00), b = _mm512_set1_epi16(0x3c01);  // small bfloat16 numbers
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  Float16 total = {};
  for (auto& sum : sums) total += reinterpret_cast<Float16&>(sum);
  return total[0] + total[15];
}

__attribute__((target("avx512f,avx512vnni"))) float dot_loop_int8_avx512(long iterations) {
  __m512i sums[kChains];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  __m512i a = _mm512_set1_epi8(1), b = _mm512_set1_epi8(2);
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 16
    for (auto& sum : sums) sum = _mm512_dpbusd_epi32(sum, a, b);
  }
  __m512i total = sums[0];
  for (auto& sum : sums) total = _mm512_xor_si512(total, sum);
  return static_cast<float>(_mm512_cvtsi512_si32(total));
}

__attribute__((target("avx2,avxvnni"))) float dot_loop_int8_avx2(long iterations) {
  __m256i sums[kChainsAvx2];
  for (auto& sum : sums) sum = _mm256_setzero_si256();
  __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2);
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_dpbusd_avx_epi32(sum, a, b);
  }
  __m256i total = sums[0];
  for (auto& sum : sums) total = _mm256_xor_si256(total, sum);
  return static_cast<float>(_mm256_cvtsi256_si32(total));
}

// Eight tiles of 16 rows of 64 bytes, four of them zeroed sums, the others holding `element` (16 bits of it).
void configure_tiles(uint16_t element) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  alignas(64) uint16_t elements[512];
  std::fill_n(elements, 512, element);
  asm volatile(
      "ldtilecfg %0\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
      "tileloadd (%1,%2,1), %%tmm4\n\ttileloadd (%1,%2,1), %%tmm5\n\t"
      "tileloadd (%1,%2,1), %%tmm6\n\ttileloadd (%1,%2,1), %%tmm7" ::"m"(configuration),
      "r"(elements), "r"(int64_t{64})
      : "memory");
}

// Four sums from two tiles of each factor, as the kernels have them.
float dot_loop_bf16_amx(long iterations) {
  configure_tiles(0x3c01);  // a small bfloat16 number
  for (long i = 0; i < iterations; ++i) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
  return 0;
}

float dot_loop_int8_amx(long iterations) {
  configure_tiles(0x0102);
  for (long i = 0; i < iterations; ++i) {
    asm volatile(
        "tdpbssd %tmm6, %tmm4, %tmm0\n\ttdpbssd %tmm7, %tmm4, %tmm1\n\t"
        "tdpbssd %tmm6, %tmm5, %tmm2\n\ttdpbssd %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
  return 0;
}

__attribute__((target("avx2,fma"))) float fma_loop_avx2(long iterations) {
  __m256 sums[kChainsAvx2];
  for (auto& sum : sums) sum = _mm256_set1_ps(1.0f);
  __m256 a = _mm256_set1_ps(0.999f);
  __m256 b = _mm256_set1_ps(0.001f);
  for (long i = 0; i < iterations; ++i) {
    asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
    for (auto& sum : sums) sum = _mm256_fmadd_ps(sum, a, b);
  }
  Float8 total = {};
  for (auto& sum : sums) total += reinterpret_cast<Float8&>(sum);
  return total[0] + total[7];
}

// Sums `bytes` at `data` `passes` times; bytes is a multiple of 512.
__attribute__((target("avx512f"))) float read_loop_avx512(const float* data, size_t bytes, long passes) {
  __m512 sums[8];
  for (auto& sum : sums) sum = _mm512_setzero_ps();
  for (long pass = 0; pass < passes; ++pass) {
    const float* end = data + bytes / sizeof(float);
    for (const float* p = data; p < end; p += 128) {
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) sums[k] = _mm512_add_ps(sums[k], _mm512_load_ps(p + 16 * k));
    }
    asm volatile("" ::: "memory");
  }
  Float16 total = {};
  for (auto& sum : sums) total += reinterpret_cast<Float16&>(sum);
  return total[0] + total[15];
}

__attribute__((target("avx2"))) float read_loop_avx2(const float* data, size_t bytes, long passes) {
  __m256 sums[8];
  for (auto& sum : sums) sum = _mm256_setzero_ps();
  for (long pass = 0; pass < passes; ++pass) {
    const float* end = data + bytes / sizeof(float);
    for (const float* p = data; p < end; p += 64) {
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) sums[k] = _mm256_add_ps(sums[k], _mm256_load_ps(p + 8 * k));
    }
    asm volatile("" ::: "memory");
  }
  Float8 total = {};
  for (auto& sum : sums) total += reinterpret_cast<Float8&>(sum);
  return total[0] + total[7];
}

constexpr double kTileRows = 16, kTileColumns = 16, kTileProducts = 4;

bool has_amx(int feature_bit) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return ((edx >> feature_bit) & 1) != 0 && ((edx >> 24) & 1) != 0 && amx_permitted();
}

}  // namespace

PeakLoop fp32_fma_loop() {
  if (__builtin_cpu_supports("avx512f")) return {fma_loop_avx512, 2.0 * 16 * kChains};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {fma_loop_avx2, 2.0 * 8 * kChainsAvx2};
  return {};
}

PeakLoop bf16_dot_loop() {
  if (__builtin_cpu_supports("avx512bf16")) return {dot_loop_bf16, 4.0 * 16 * kChains};
  return {};
}

PeakLoop int8_dot_loop() {
  if (__builtin_cpu_supports("avx512vnni")) return {dot_loop_int8_avx512, 8.0 * 16 * kChains};
  if (__builtin_cpu_supports("avxvnni")) return {dot_loop_int8_avx2, 8.0 * 8 * kChainsAvx2};
  return {};
}

PeakLoop bf16_amx_loop() {
  if (has_amx(22)) return {dot_loop_bf16_amx, kTileProducts * 2 * kTileRows * kTileColumns * 32};
  return {};
}

PeakLoop int8_amx_loop() {
  if (has_amx(25)) return {dot_loop_int8_amx, kTileProducts * 2 * kTileRows * kTileColumns * 64};
  return {};
}

ReadLoop read_loop() { return __builtin_cpu_supports("avx512f") ? read_loop_avx512 : read_loop_avx2; }

}  // namespace blade::command
