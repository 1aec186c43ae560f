// What a child of fork() does with threads that it does not have.
#pragma once

#include <new>
#include <thread>
#include <utility>

namespace blade {

// Forgets a thread of the parent. The child may neither join it, which waits for ever, nor detach it: its stack may
// serve another thread by now.
inline void leave_to_parent(std::thread&& thread) {
  alignas(std::thread) static thread_local unsigned char handle[sizeof(std::thread)];
  new (handle) std::thread(std::move(thread));
}

}  // namespace blade
