// spdlog behind log.h, so that no other file needs its headers.
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

namespace blade {
namespace {

constexpr char kPattern[] = "%^blade %l%$: %v";
constexpr char kPatternOverBar[] = "\r\033[K%^blade %l%$: %v";

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
    made->set_pattern(kPattern);
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

// The lowest level that a living scope asks for holds, whatever the order in which scopes end.
void count_scope(LogLevel level, int change) {
  static std::mutex mutex;
  static std::map<spdlog::level::level_enum, int> scopes;
  static const spdlog::level::level_enum without_scopes = logger().level();
  const std::lock_guard lock(mutex);
  scopes[spdlog_level(level)] += change;
  const auto lowest = std::find_if(scopes.begin(), scopes.end(), [](const auto& scope) { return scope.second > 0; });
  logger().set_level(lowest == scopes.end() ? without_scopes : std::min(without_scopes, lowest->first));
}

void count_bar(int change) {
  static std::mutex mutex;
  static int bars = 0;
  const std::lock_guard lock(mutex);
  bars += change;
  if (::isatty(STDERR_FILENO) != 0) logger().set_pattern(bars > 0 ? kPatternOverBar : kPattern);
}

}  // namespace

ScopedLogLevel::ScopedLogLevel(LogLevel level) : level_(level) { count_scope(level_, 1); }
ScopedLogLevel::~ScopedLogLevel() { count_scope(level_, -1); }

ScopedLogOverBar::ScopedLogOverBar() { count_bar(1); }
ScopedLogOverBar::~ScopedLogOverBar() { count_bar(-1); }

bool logs(LogLevel level) { return logger().should_log(spdlog_level(level)); }

void log(LogLevel level, std::string_view message) {
  try {
    logger().log(spdlog_level(level), message);
  } catch (...) {  // a log line that cannot be written must not stop the program
  }
}

}  // namespace blade
