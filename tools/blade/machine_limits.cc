// Times loops of nothing but FMAs or loads. Benchmarks are judged against these figures, so the instruction sets are
// chosen at run time, not by compiler flags.
#include "machine_limits.h"

#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/amx.h"

namespace blade::command {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFmaChains = 16;  // independent accumulators: latency 4 or 5 times two ports, with room

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One source for each width: `Vector` is a GCC vector type, so the target attribute of the caller picks the
// instructions.
using Float16 = float __attribute__((vector_size(64)));
using Float8 = float __attribute__((vector_size(32)));

// Returns a value that depends on every product, so that none is removed. 2 * lanes * kFmaChains flops an iteration.
__attribute__((target("avx512f"))) float fma_loop_avx512(long iterations) {
  __m512 sums[kFmaChains];
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

// 4 * 16 * kFmaChains flops an iteration.
__attribute__((target("avx512f,avx512bf16"))) float dot_loop_bf16(long iterations) {
  __m512 sums[kFmaChains];
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

bool has_amx_bf16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return ((edx >> 22) & 1) != 0 && ((edx >> 24) & 1) != 0 && amx_permitted();
}

constexpr double kTileFlops = 2.0 * 16 * 16 * 32;  // of one product of tile registers

// Four sums from two tiles of each factor, as the kernels have them: 4 * kTileFlops an iteration.
void dot_loop_amx(long iterations) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } configuration;
  alignas(64) uint16_t small[512];
  std::fill_n(small, 512, uint16_t{0x3c01});
  asm volatile(
      "ldtilecfg %0\n\ttilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
      "tileloadd (%1,%2,1), %%tmm4\n\ttileloadd (%1,%2,1), %%tmm5\n\t"
      "tileloadd (%1,%2,1), %%tmm6\n\ttileloadd (%1,%2,1), %%tmm7" ::"m"(configuration),
      "r"(small), "r"(int64_t{64})
      : "memory");
  for (long i = 0; i < iterations; ++i) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  asm volatile("tilerelease");
}

__attribute__((target("avx2,fma"))) float fma_loop_avx2(long iterations) {
  constexpr int kChains = 12;  // sixteen registers hold twelve sums and the two factors
  __m256 sums[kChains];
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

volatile float g_sink;

// Seconds that `threads` threads need for work(thread), started together.
template <typename Work>
double time_threads(int threads, const Work& work) {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::vector<std::thread> pool;
  for (int t = 1; t < threads; ++t) {
    pool.emplace_back([&, t] {
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      work(t);
    });
  }
  while (ready.load() < threads - 1) std::this_thread::yield();
  const Clock::time_point start = Clock::now();
  go.store(true, std::memory_order_release);
  work(0);
  for (std::thread& thread : pool) thread.join();
  return seconds_since(start);
}

// The best of several trials of work(thread, repetitions), in repetitions a second of each thread.
template <typename Work>
double best_rate(int threads, const LimitTrials& trials, const Work& work) {
  long repetitions = 1;
  while (time_threads(threads, [&](int t) { work(t, repetitions); }) < trials.seconds) repetitions *= 2;
  double best = 0;
  for (int trial = 0; trial < trials.count; ++trial) {
    best =
        std::max(best, static_cast<double>(repetitions) / time_threads(threads, [&](int t) { work(t, repetitions); }));
  }
  return best;
}

double fma_gflops(int threads, bool avx512, const LimitTrials& trials) {
  constexpr long kBatch = 10000;
  const double flops = avx512 ? 2.0 * 16 * kFmaChains : 2.0 * 8 * 12;
  const double rate = best_rate(threads, trials, [avx512](int, long repetitions) {
    g_sink = avx512 ? fma_loop_avx512(kBatch * repetitions) : fma_loop_avx2(kBatch * repetitions);
  });
  return rate * kBatch * flops * threads * 1e-9;
}

double bf16_gflops(int threads, const LimitTrials& trials) {
  constexpr long kBatch = 10000;
  if (!__builtin_cpu_supports("avx512bf16")) return 0;
  const double rate =
      best_rate(threads, trials, [](int, long repetitions) { g_sink = dot_loop_bf16(kBatch * repetitions); });
  return rate * kBatch * 4.0 * 16 * kFmaChains * threads * 1e-9;
}

double amx_gflops(int threads, const LimitTrials& trials) {
  constexpr long kBatch = 10000;
  if (!has_amx_bf16()) return 0;
  const double rate = best_rate(threads, trials, [](int, long repetitions) { dot_loop_amx(kBatch * repetitions); });
  return rate * kBatch * 4.0 * kTileFlops * threads * 1e-9;
}

struct Freed {
  void operator()(float* p) const { std::free(p); }
};

// GB/s of all threads together, each reading its own share of a working set of `bytes`.
double read_gbps(int threads, bool avx512, size_t bytes, const LimitTrials& trials) {
  const size_t share = std::max<size_t>(bytes / static_cast<size_t>(threads) / 4096, 1) * 4096;
  std::vector<std::unique_ptr<float, Freed>> buffers;
  for (int t = 0; t < threads; ++t) {
    buffers.emplace_back(static_cast<float*>(std::aligned_alloc(4096, share)));
    if (!buffers.back()) return 0;
    std::fill_n(buffers.back().get(), share / sizeof(float), 1.0f);
  }
  const double rate = best_rate(threads, trials, [&](int t, long repetitions) {
    const float* data = buffers[static_cast<size_t>(t)].get();
    g_sink = avx512 ? read_loop_avx512(data, share, repetitions) : read_loop_avx2(data, share, repetitions);
  });
  return rate * static_cast<double>(share) * threads * 1e-9;
}

// "AMD EPYC, avx2, 2 threads": what a cached measurement belongs to.
std::string cache_key(int threads, const std::string& vector) {
  std::ifstream processors("/proc/cpuinfo");
  std::string line, name = "unknown processor";
  while (std::getline(processors, line)) {
    if (line.rfind("model name", 0) != 0) continue;
    name = line.substr(std::min(line.size(), line.find(':') + 2));
    break;
  }
  return name + ", " + vector + ", " + std::to_string(threads) + " threads";
}

std::filesystem::path cache_file() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache != 0) return std::filesystem::path(cache) / "blade" / "machine_limits.json";
  return home != nullptr ? std::filesystem::path(home) / ".cache" / "blade" / "machine_limits.json"
                         : std::filesystem::path();
}

// An object, empty where there is no readable file.
nlohmann::ordered_json read_cache() {
  std::ifstream file(cache_file());
  auto cached = nlohmann::ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
  return cached.is_object() ? cached : nlohmann::ordered_json::object();
}

}  // namespace

double MachineLimits::read_gbps(double bytes) const {
  if (read.empty()) return 0;
  const double mib = bytes / (1 << 20);
  for (size_t i = 0; i < read.size(); ++i) {
    if (mib > read[i].first) continue;
    if (i == 0) return read[0].second;
    const double share = std::log(mib / read[i - 1].first) / std::log(read[i].first / read[i - 1].first);
    return read[i - 1].second + share * (read[i].second - read[i - 1].second);
  }
  return read.back().second;
}

std::string MachineLimits::to_json() const {
  nlohmann::ordered_json sizes;
  for (const auto& [mib, gbps] : read) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", mib);
    sizes[text] = gbps;
  }
  return nlohmann::ordered_json{{"threads", threads},
                                {"vector", vector},
                                {"fp32_fma_gflops_1_thread", gflops_1_thread},
                                {"fp32_fma_gflops", gflops},
                                {"bf16_dot_gflops_1_thread", bf16_gflops_1_thread},
                                {"bf16_dot_gflops", bf16_gflops},
                                {"bf16_amx_gflops_1_thread", amx_gflops_1_thread},
                                {"bf16_amx_gflops", amx_gflops},
                                {"read_gbps_by_working_set_mib", sizes}}
      .dump(2);
}

std::optional<MachineLimits> measure_machine_limits(int threads, const LimitTrials& trials) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return std::nullopt;
  const bool avx512 = __builtin_cpu_supports("avx512f") != 0;
  MachineLimits limits;
  limits.threads = threads;
  limits.vector = avx512 ? "avx512" : "avx2";
  limits.gflops_1_thread = fma_gflops(1, avx512, trials);
  limits.gflops = fma_gflops(threads, avx512, trials);
  limits.bf16_gflops_1_thread = bf16_gflops(1, trials);
  limits.bf16_gflops = bf16_gflops(threads, trials);
  limits.amx_gflops_1_thread = amx_gflops(1, trials);
  limits.amx_gflops = amx_gflops(threads, trials);
  for (double mib : {0.03125, 0.5, 1.0, 4.0, 12.0, 48.0, 100.0, 400.0}) {
    if (mib > trials.largest_mib) break;
    limits.read.emplace_back(mib, read_gbps(threads, avx512, static_cast<size_t>(mib * 1024 * 1024), trials));
  }
  return limits;
}

std::optional<MachineLimits> machine_limits(int threads, bool measure_again) {
  const std::string key = cache_key(threads, __builtin_cpu_supports("avx512f") ? "avx512" : "avx2");
  auto cache = read_cache();
  const auto cached = cache.find(key);
  if (!measure_again && cached != cache.end() && cached->is_object()) {
    MachineLimits limits;
    limits.threads = threads;
    limits.vector = cached->value("vector", "");
    limits.gflops_1_thread = cached->value("fp32_fma_gflops_1_thread", 0.0);
    limits.gflops = cached->value("fp32_fma_gflops", 0.0);
    limits.bf16_gflops_1_thread = cached->value("bf16_dot_gflops_1_thread", 0.0);
    limits.bf16_gflops = cached->value("bf16_dot_gflops", 0.0);
    limits.amx_gflops_1_thread = cached->value("bf16_amx_gflops_1_thread", 0.0);
    limits.amx_gflops = cached->value("bf16_amx_gflops", 0.0);
    const auto sizes = cached->find("read_gbps_by_working_set_mib");
    if (sizes != cached->end() && sizes->is_object()) {
      for (const auto& [mib, gbps] : sizes->items()) {
        if (gbps.is_number()) limits.read.emplace_back(std::atof(mib.c_str()), gbps.get<double>());
      }
    }
    if (limits.gflops > 0 && cached->contains("bf16_amx_gflops") && !limits.read.empty()) return limits;
  }
  auto limits = measure_machine_limits(threads, {0.02, 3, 100.0});
  if (!limits) return limits;
  cache[key] = nlohmann::ordered_json::parse(limits->to_json());
  std::error_code ignored;  // a cache that cannot be written is measured again next time
  std::filesystem::create_directories(cache_file().parent_path(), ignored);
  std::ofstream(cache_file()) << cache.dump(1) << "\n";
  return limits;
}

}  // namespace blade::command
