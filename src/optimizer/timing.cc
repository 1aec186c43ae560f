// Timing in alternating blocks.
#include "optimizer/timing.h"

#include <chrono>

#include "base/median.h"

namespace blade::optimizer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// One block: warm-up, then timed runs in milliseconds appended to `all`; the block's median.
Result<double> run_block(const Runnable& run, const TimingOptions& options, std::vector<double>& all) {
  for (int i = 0; i < 2; ++i) BLADE_RETURN_IF_ERROR(run());  // refills caches and wakes the side's threads
  std::vector<double> block;
  const auto start = Clock::now();
  while (static_cast<int>(block.size()) < options.max_runs_in_block &&
         (static_cast<int>(block.size()) < options.min_runs_in_block || seconds_since(start) < options.block_s)) {
    const auto before = Clock::now();
    BLADE_RETURN_IF_ERROR(run());
    block.push_back(seconds_since(before) * 1e3);
  }
  all.insert(all.end(), block.begin(), block.end());
  return median(std::move(block));
}

}  // namespace

Result<Comparison> compare(const Runnable& before, const Runnable& after, const TimingOptions& options) {
  std::vector<double> before_ms, after_ms;
  int wins = 0, losses = 0, rounds = 0;
  const auto start = Clock::now();
  for (; rounds < options.rounds && (rounds < 2 || seconds_since(start) < options.time_limit_s); ++rounds) {
    BLADE_ASSIGN_OR_RETURN(const double a, run_block(before, options, before_ms));
    BLADE_ASSIGN_OR_RETURN(const double b, run_block(after, options, after_ms));
    wins += b < a;
    losses += a < b;
  }
  Comparison result;
  result.before_ms = median(std::move(before_ms));
  result.after_ms = median(std::move(after_ms));
  const int most = (3 * rounds + 3) / 4;
  result.faster = result.after_ms < 0.99 * result.before_ms && wins >= most;
  result.slower = result.after_ms > 1.01 * result.before_ms && losses >= most;
  return result;
}

Result<double> measure(const Runnable& run, const TimingOptions& options) {
  std::vector<double> all;
  const auto start = Clock::now();
  for (int round = 0; round < options.rounds && (round < 1 || seconds_since(start) < options.time_limit_s); ++round) {
    BLADE_ASSIGN_OR_RETURN([[maybe_unused]] const double block, run_block(run, options, all));
  }
  return median(std::move(all));
}

}  // namespace blade::optimizer
