// What this machine can do at most (fp32 FMA, bf16 and int8 dot product and AMX rates, read bandwidth by working set):
// what `blade profile` judges steps by.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace blade::command {

// Giga-operations a second, multiplications and additions counted; 0 where the processor lacks the instructions.
struct Peak {
  double one_thread = 0, all = 0;
};

struct MachineLimits {
  int threads = 1;
  std::string vector;       // the widest vectors: "avx512" or "avx2"
  Peak fp32_fma, bf16_dot;  // bf16 of AVX512-BF16
  Peak bf16_amx;
  Peak int8_dot, int8_amx;                      // of AVX512-VNNI or AVX-VNNI; no kernel uses them yet
  std::vector<std::pair<double, double>> read;  // working set in MiB, GB/s of all threads together; ascending

  double read_gbps(double bytes) const;  // for a working set, between the measured ones
  std::string to_json() const;
};

struct LimitTrials {
  double seconds = 0.1;  // of each trial: long enough for the clock to settle
  int count = 7;
  double largest_mib = std::numeric_limits<double>::infinity();
};

// nullopt on processors without AVX2 and FMA, which every measurement uses.
std::optional<MachineLimits> measure_machine_limits(int threads, const LimitTrials& trials);

// Measured once (about a second) and kept in machine_limits.json under $XDG_CACHE_HOME/blade or ~/.cache/blade.
std::optional<MachineLimits> machine_limits(int threads, bool measure_again);

}  // namespace blade::command
