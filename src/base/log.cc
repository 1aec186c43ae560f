// spdlog behind log.h, so that no other file needs its headers.
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace blade {
namespace {

spdlog::level::level_enum level_from_environment() {
  const char* text = std::getenv("BLADE_LOG_LEVEL");
  std::string name = text == nullptr ? "warning" : text;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name == "debug") return spdlog::level::debug;
  if (name == "info") return spdlog::level::info;
  if (name == "error") return spdlog::level::err;
  if (name == "off") return spdlog::level::off;
  return spdlog::level::warn;
}

spdlog::logger& logger() {
  // Never destroyed: threads may log while the process exits.
  static spdlog::logger* const instance = [] {
    auto* made = new spdlog::logger("blade", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%^blade %l%$: %v");
    made->set_level(level_from_environment());
    return made;
  }();
  return *instance;
}

spdlog::level::level_enum spdlog_level(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

ScopedLogLevel::ScopedLogLevel(LogLevel level) : before_(logger().level()) {
  logger().set_level(std::min(logger().level(), spdlog_level(level)));
}
ScopedLogLevel::~ScopedLogLevel() { logger().set_level(static_cast<spdlog::level::level_enum>(before_)); }

void log(LogLevel level, std::string_view message) {
  try {
    logger().log(spdlog_level(level), message);
  } catch (...) {  // a log line that cannot be written must not stop the program
  }
}

}  // namespace blade
