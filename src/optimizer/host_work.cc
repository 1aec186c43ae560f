#include "optimizer/host_work.h"

#include <utility>

namespace blade::optimizer {

void HostWork::take(const std::vector<std::string>& trials, const std::vector<double>& trials_us, size_t best) {
  const bool has_runner_up = !loses_little(choice);  // `trials` are other ways to cut the same row
  choice = trials[best];
  if (has_runner_up && !loses_little(choice)) return;
  runner_up.clear();
  if (loses_little(choice)) return;
  double least = (1 - kGain) * trials_us[0];
  for (size_t k = 1; k < trials.size(); ++k) {
    if (!loses_little(trials[k]) || trials_us[k] >= least) continue;
    least = trials_us[k];
    runner_up = trials[k];
  }
}

void HostWork::revert() {
  choice = static_choice;
  us = static_us;
  runner_up.clear();
}

void HostWork::fall_back() {
  const std::string next = std::exchange(runner_up, "");
  revert();
  if (!next.empty()) choice = next;
}

}  // namespace blade::optimizer
