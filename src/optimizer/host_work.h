// A piece of work on the CPU and what tuning makes of it.
#pragma once

#include <string>
#include <vector>

namespace blade::optimizer {

constexpr double kGain = 0.05;  // of the work's own time, that a choice must bring

// Winograd's rows; in bfloat16 they lose up to several times what others do.
inline bool is_winograd(const std::string& choice) { return choice.find("winograd") != std::string::npos; }
inline bool is_narrow_winograd(const std::string& choice) {
  return is_winograd(choice) && choice.find("_bf16") != std::string::npos;
}
// F(2, 3) loses as little as rounding the result.
inline bool loses_little(const std::string& choice) {
  return !is_narrow_winograd(choice) || choice.starts_with("cpu.conv.winograd23_bf16");
}

// A piece of work that occurs in the model, once or more.
struct HostWork {
  std::string signature, static_choice, choice;
  std::vector<std::string> alternatives;         // rows, the static choice among them
  std::vector<std::vector<std::string>> places;  // the nodes of each occurrence
  bool is_possible_pair = false;                 // statically apart
  std::string runner_up = {};                    // the best of those that lose little, where `choice` loses; or empty
  bool decided = false;                          // by the cache
  bool settled = false;                          // with an earlier feed, whose nodes and times these are
  bool measured = true;                          // every trial had its rounds in time, and nothing was taken back
  double static_us = 0, us = 0;                  // of all occurrences in a run

  bool is_open() const { return !decided && !settled; }

  std::vector<std::string> nodes() const {
    std::vector<std::string> all;
    for (const auto& place : places) all.insert(all.end(), place.begin(), place.end());
    return all;
  }

  // Takes the best of `trials`, whose first is what it has. Beside a row that the answers may not allow, the best of
  // the others is kept in mind.
  void take(const std::vector<std::string>& trials, const std::vector<double>& trials_us, size_t best);
  void revert();
  // To the runner-up, which beat the static choice in its turn, or where there is none to the static choice.
  void fall_back();
};

}  // namespace blade::optimizer
