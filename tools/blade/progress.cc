// Draws progress and listens for Ctrl-C.
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

namespace blade::command {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void on_interrupt(int) {
  if (stop_asked) std::_Exit(130);
  stop_asked = 1;
  static constexpr char kSaid[] = "\nStopping with the best so far; press Ctrl-C again to give up.\n";
  if (::write(STDERR_FILENO, kSaid, sizeof kSaid - 1) < 0) return;  // nobody reads it: nothing to be done here
}

}  // namespace

Progress::Progress() : previous_(std::signal(SIGINT, on_interrupt)), on_terminal_(::isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (on_terminal_) std::cerr << "\n";
  std::signal(SIGINT, previous_);
}

int32_t Progress::show(void* self, int32_t percent, const char* phase) {
  const Progress& progress = *static_cast<Progress*>(self);
  if (progress.on_terminal_) {
    progress.draw_bar(percent, phase);
  } else {
    std::cerr << "[Progress] " << percent << "%, phase: " << phase << ".\n";
  }
  return stop_asked;
}

void Progress::draw_bar(int32_t percent, const char* phase) const {
  constexpr int kWidth = 30, kPercentToJudge = 5;  // earlier, the time left would be a guess
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const auto done = static_cast<size_t>(std::clamp(percent * kWidth / 100, 0, kWidth));
  char left[32] = "";
  if (percent > kPercentToJudge)
    std::snprintf(left, sizeof left, "%.0f s left", elapsed.count() * (100 - percent) / percent);
  std::fprintf(stderr, "\r[%s%s] %3d%% %-28.28s %-12s", std::string(done, '#').c_str(),
               std::string(kWidth - done, '.').c_str(), static_cast<int>(percent), phase, left);
}

}  // namespace blade::command
