#include "optimizer/busy_probe.h"

#include <chrono>
#include <vector>

#include "base/median.h"

namespace blade::optimizer {

bool is_busy(ThreadPool& pool) {
  using Clock = std::chrono::steady_clock;
  constexpr int kTimes = 41;
  constexpr double kSlower = 1.3;
  const auto work = [](int, int) {
    for (int i = 0; i < 20000; ++i) asm volatile("" : : "r"(i));
  };
  const ThreadPool::RunScope scope(pool);
  std::vector<double> alone, together;
  for (int i = 0; i < kTimes; ++i) {
    const Clock::time_point start = Clock::now();
    work(0, 0);
    const Clock::time_point middle = Clock::now();
    pool.parallel_for(pool.num_threads(), work);
    alone.push_back(std::chrono::duration<double>(middle - start).count());
    together.push_back(std::chrono::duration<double>(Clock::now() - middle).count());
  }
  return median(std::move(together)) > kSlower * median(std::move(alone));
}

}  // namespace blade::optimizer
