// Times the loops of peak_loops.h, and keeps what they reached.
#include "machine_limits.h"

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

#include "base/cache_folder.h"
#include "peak_loops.h"

namespace blade::command {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

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

double giga_operations(const PeakLoop& loop, int threads, const LimitTrials& trials) {
  constexpr long kBatch = 10000;
  if (loop.run == nullptr) return 0;
  const double rate =
      best_rate(threads, trials, [&](int, long repetitions) { g_sink = loop.run(kBatch * repetitions); });
  return rate * kBatch * loop.operations * threads * 1e-9;
}

struct Freed {
  void operator()(float* p) const { std::free(p); }
};

// GB/s of all threads together, each reading its own share of a working set of `bytes`.
double read_gbps(int threads, size_t bytes, const LimitTrials& trials) {
  const size_t share = std::max<size_t>(bytes / static_cast<size_t>(threads) / 4096, 1) * 4096;
  std::vector<std::unique_ptr<float, Freed>> buffers;
  for (int t = 0; t < threads; ++t) {
    buffers.emplace_back(static_cast<float*>(std::aligned_alloc(4096, share)));
    if (!buffers.back()) return 0;
    std::fill_n(buffers.back().get(), share / sizeof(float), 1.0f);
  }
  const ReadLoop loop = read_loop();
  const double rate = best_rate(threads, trials, [&](int t, long repetitions) {
    const float* data = buffers[static_cast<size_t>(t)].get();
    g_sink = loop(data, share, repetitions);
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
  const std::filesystem::path folder = user_cache_folder();
  return folder.empty() ? folder : folder / "machine_limits.json";
}

// An object, empty where there is no readable file.
nlohmann::ordered_json read_cache() {
  std::ifstream file(cache_file());
  auto cached = nlohmann::ordered_json::parse(file, nullptr, /*allow_exceptions=*/false);
  return cached.is_object() ? cached : nlohmann::ordered_json::object();
}

// What is measured, under the names of the JSON: NAME with all threads, NAME_1_thread with one.
struct PeakRow {
  const char* name;
  PeakLoop (*loop)();
  Peak MachineLimits::*peak;
};
constexpr PeakRow kPeaks[] = {
    {"fp32_fma_gflops", fp32_fma_loop, &MachineLimits::fp32_fma},
    {"bf16_dot_gflops", bf16_dot_loop, &MachineLimits::bf16_dot},
    {"bf16_amx_gflops", bf16_amx_loop, &MachineLimits::bf16_amx},
    {"int8_dot_gops", int8_dot_loop, &MachineLimits::int8_dot},
    {"int8_amx_gops", int8_amx_loop, &MachineLimits::int8_amx},
};

std::string one_thread(const PeakRow& row) { return std::string(row.name) + "_1_thread"; }

// nullopt where the cache holds no whole measurement, or one of other limits than today's.
std::optional<MachineLimits> from_json(const nlohmann::ordered_json& cached, int threads) {
  if (!cached.is_object()) return std::nullopt;
  MachineLimits limits;
  limits.threads = threads;
  const auto vector = cached.find("vector");
  if (vector == cached.end() || !vector->is_string()) return std::nullopt;
  limits.vector = vector->get<std::string>();
  for (const PeakRow& row : kPeaks) {
    const auto all = cached.find(row.name), one = cached.find(one_thread(row));
    if (all == cached.end() || one == cached.end() || !all->is_number() || !one->is_number()) return std::nullopt;
    limits.*row.peak = {one->get<double>(), all->get<double>()};
  }
  const auto sizes = cached.find("read_gbps_by_working_set_mib");
  if (sizes == cached.end() || !sizes->is_object()) return std::nullopt;
  for (const auto& [mib, gbps] : sizes->items()) {
    if (gbps.is_number()) limits.read.emplace_back(std::atof(mib.c_str()), gbps.get<double>());
  }
  if (limits.fp32_fma.all <= 0 || limits.read.empty()) return std::nullopt;
  return limits;
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
  nlohmann::ordered_json json = {{"threads", threads}, {"vector", vector}};
  for (const PeakRow& row : kPeaks) {
    json[one_thread(row)] = (this->*row.peak).one_thread;
    json[row.name] = (this->*row.peak).all;
  }
  json["read_gbps_by_working_set_mib"] = sizes;
  return json.dump(2);
}

std::optional<MachineLimits> measure_machine_limits(int threads, const LimitTrials& trials) {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return std::nullopt;
  MachineLimits limits;
  limits.threads = threads;
  limits.vector = __builtin_cpu_supports("avx512f") ? "avx512" : "avx2";
  for (const PeakRow& row : kPeaks) {
    const PeakLoop loop = row.loop();
    limits.*row.peak = {giga_operations(loop, 1, trials), giga_operations(loop, threads, trials)};
  }
  for (double mib : {0.03125, 0.5, 1.0, 4.0, 12.0, 48.0, 100.0, 400.0}) {
    if (mib > trials.largest_mib) break;
    limits.read.emplace_back(mib, read_gbps(threads, static_cast<size_t>(mib * 1024 * 1024), trials));
  }
  return limits;
}

std::optional<MachineLimits> machine_limits(int threads, bool measure_again) {
  const std::string key = cache_key(threads, __builtin_cpu_supports("avx512f") ? "avx512" : "avx2");
  auto cache = read_cache();
  const auto cached = cache.find(key);
  if (!measure_again && cached != cache.end()) {
    if (auto limits = from_json(*cached, threads)) return limits;
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
