// Logging on stderr, through spdlog kept out of headers. Level from BLADE_LOG_LEVEL (debug, info, warning, error, off;
// in any case).
#pragma once

#include <string_view>

namespace blade {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

void log(LogLevel level, std::string_view message);
bool logs(LogLevel level);  // whether such a message would be written
// Lets this level and those above it through while alive, whatever BLADE_LOG_LEVEL says: for a user who asks to be
// told.
class ScopedLogLevel {
 public:
  explicit ScopedLogLevel(LogLevel level);
  ~ScopedLogLevel();
  ScopedLogLevel(const ScopedLogLevel&) = delete;
  ScopedLogLevel& operator=(const ScopedLogLevel&) = delete;

 private:
  LogLevel level_;
};

// While one is alive, lines on a terminal begin where nothing stands: a progress bar that was drawn there is erased.
class ScopedLogOverBar {
 public:
  ScopedLogOverBar();
  ~ScopedLogOverBar();
  ScopedLogOverBar(const ScopedLogOverBar&) = delete;
  ScopedLogOverBar& operator=(const ScopedLogOverBar&) = delete;
};

inline void log_info(std::string_view message) { log(LogLevel::kInfo, message); }
inline void log_warning(std::string_view message) { log(LogLevel::kWarning, message); }

}  // namespace blade
