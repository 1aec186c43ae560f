// Draws progress and listens for Ctrl-C.
#include "progress.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <string>

namespace blade::command {
namespace {

volatile std::sig_atomic_t stop_asked = 0;
void (*volatile previous_handler)(int) = SIG_DFL;  // what Ctrl-C did

void on_interrupt(int signal) {
  if (stop_asked) {
    void (*const previous)(int) = previous_handler;
    if (previous != SIG_DFL && previous != SIG_IGN) previous(signal);
    std::_Exit(130);
  }
  const int kept = errno;
  stop_asked = 1;
  static constexpr char kSaid[] = "\nStopping with the best so far; press Ctrl-C again to give up.\n";
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, kSaid, sizeof kSaid - 1);  // perhaps nobody reads it
  errno = kept;
}

}  // namespace

Progress::Progress(bool may_draw) : draws_(may_draw && ::isatty(STDERR_FILENO) != 0) {
  previous_handler = std::signal(SIGINT, on_interrupt);
}

Progress::~Progress() {
  if (drawn_) std::cerr << "\n";
  std::signal(SIGINT, previous_handler);
}

int32_t Progress::show(void* self, int32_t percent, const char* phase) {
  Progress& progress = *static_cast<Progress*>(self);
  if (progress.draws_) {
    progress.draw_bar(percent, phase);
  } else {
    std::cerr << "[Progress] " << percent << "%, phase: " << phase << ".\n";
  }
  return stop_asked;
}

void Progress::draw_bar(int32_t percent, const char* phase) {
  drawn_ = true;
  constexpr int kWidth = 30, kPercentToJudge = 5;  // earlier, the time left would be a guess
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  const auto done = static_cast<size_t>(std::clamp(percent * kWidth / 100, 0, kWidth));
  char left[32] = "";
  const double seconds_left = percent > kPercentToJudge ? elapsed.count() * (100 - percent) / percent : 0;
  if (seconds_left >= 1) std::snprintf(left, sizeof left, "%.0f s left", seconds_left);
  std::fprintf(stderr, "\r[%s%s] %3d%% %-28.28s %-12s", std::string(done, '#').c_str(),
               std::string(kWidth - done, '.').c_str(), static_cast<int>(percent), phase, left);
}

}  // namespace blade::command
