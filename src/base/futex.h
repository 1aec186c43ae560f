// Sleeping on a word with a time limit, which std::atomic's wait() lacks.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdint>
#include <optional>

namespace blade {

// Returns when woken, at once where *word is not `seen`, after `limit`, or for no reason.
inline void futex_wait(std::atomic<uint32_t>& word, uint32_t seen, std::optional<std::chrono::nanoseconds> limit) {
  static_assert(sizeof(word) == sizeof(uint32_t));
  timespec time{};
  if (limit) {
    const auto ns = std::max<int64_t>(limit->count(), 0);
    time = {static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
  }
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, limit ? &time : nullptr, nullptr, 0);
}

inline void futex_wake_all(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace blade
