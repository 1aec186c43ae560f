// Progress on stderr: a bar with the time left on a terminal, plain lines elsewhere; Ctrl-C once asks to stop.
#pragma once

#include <chrono>
#include <cstdint>

namespace blade::command {

// There may be one at a time: it takes Ctrl-C for the time it lives. Pressed twice it does what it did before, and
// ends the process.
class Progress {
 public:
  explicit Progress(bool may_draw);  // false: lines on a terminal, too
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // For blade_optimize_request: `self` is a Progress; not 0 once a stop was asked for.
  static int32_t show(void* self, int32_t percent, const char* phase);

 private:
  void draw_bar(int32_t percent, const char* phase);

  const bool draws_;
  bool drawn_ = false;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace blade::command
