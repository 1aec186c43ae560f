// Times the steps of several plans of one model against each other, each in whole runs: with the caches, the cold
// weights and the threads that a step meets in place.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "engine/run_context.h"
#include "optimizer/test_data.h"

namespace blade::optimizer {

// Runs blocks of one plan after the other, again and again, so that what disturbs the machine disturbs all alike.
class InPlaceTimer {
 public:
  using Clock = std::chrono::steady_clock;

  InPlaceTimer(const Feed& feed, std::shared_ptr<ThreadPool> pool);
  ~InPlaceTimer();
  InPlaceTimer(const InPlaceTimer&) = delete;
  InPlaceTimer& operator=(const InPlaceTimer&) = delete;

  // Checks that it runs.
  Status add(std::shared_ptr<const engine::Plan> plan);
  size_t size() const { return timed_.size(); }
  const engine::Plan& plan(size_t k) const;
  void drop(size_t k);  // it is not run again

  // Rounds of one block a plan; at least one, then until the deadline.
  Status run(int rounds, Clock::time_point deadline);

  // Median microseconds of a run of plan k in each round: of the steps [first, last), of those that compute some of
  // `nodes`, of all.
  std::vector<double> steps_us(size_t k, const std::vector<size_t>& steps) const;
  std::vector<size_t> steps_of(size_t k, const std::vector<std::string>& nodes) const;
  std::vector<double> total_us(size_t k) const;

 private:
  struct Timed;
  Status run_block(Timed& timed);

  const Feed& feed_;
  std::shared_ptr<ThreadPool> pool_;
  std::vector<std::unique_ptr<Timed>> timed_;
  AlignedBuffer arena_;  // of the plan that needs most
};

}  // namespace blade::optimizer
