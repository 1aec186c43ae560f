// What a child of fork() does with threads that it does not have.
#pragma once

#include <pthread.h>

#include <atomic>
#include <new>
#include <thread>
#include <utility>

namespace blade {

// How often fork() has led here since the first call: what was made at another count lacks its threads.
inline int forks_so_far() {
  static std::atomic<int> count{0};
  [[maybe_unused]] static const int watched = pthread_atfork(nullptr, nullptr, [] { count.fetch_add(1); });
  return count.load(std::memory_order_relaxed);
}

// Forgets a thread of the parent. The child may neither join it, which waits for ever, nor detach it: its stack may
// serve another thread by now.
inline void leave_to_parent(std::thread&& thread) {
  alignas(std::thread) static thread_local unsigned char handle[sizeof(std::thread)];
  new (handle) std::thread(std::move(thread));
}

}  // namespace blade
