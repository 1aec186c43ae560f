#include "base/log.h"

#include <gtest/gtest.h>

#include <optional>

namespace blade {
namespace {

TEST(ScopedLogLevel, HoldsUntilTheLastOverlappingScopeEnds) {
  const bool before = logs(LogLevel::kInfo);
  std::optional<ScopedLogLevel> first(LogLevel::kInfo), second(LogLevel::kInfo);
  EXPECT_TRUE(logs(LogLevel::kInfo));
  first.reset();
  EXPECT_TRUE(logs(LogLevel::kInfo));
  second.reset();
  EXPECT_EQ(logs(LogLevel::kInfo), before);
}

TEST(ScopedLogLevel, NeverRaisesTheLevel) {
  ScopedLogLevel verbose(LogLevel::kDebug);
  ScopedLogLevel quiet(LogLevel::kError);
  EXPECT_TRUE(logs(LogLevel::kDebug));
}

}  // namespace
}  // namespace blade
