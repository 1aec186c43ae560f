// Logging on stderr, through spdlog kept out of headers. Level from BLADE_LOG_LEVEL (debug, info, warning, error, off).
#pragma once

#include <string_view>

namespace blade {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

void log(LogLevel level, std::string_view message);
inline void log_info(std::string_view message) { log(LogLevel::kInfo, message); }
inline void log_warning(std::string_view message) { log(LogLevel::kWarning, message); }

}  // namespace blade
