// Size arithmetic that reports overflow instead of wrapping: sizes in files and requests are hostile until checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace blade {

template <class T>
std::optional<T> checked_mul(T a, T b) {
  T out;
  return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}

template <class T>
std::optional<T> checked_add(T a, T b) {
  T out;
  return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional<T>(out);
}

// Product of non-negative dims; nullopt on a negative dim or overflow of int64_t.
inline std::optional<int64_t> checked_element_count(std::span<const int64_t> dims) {
  int64_t count = 1;
  for (int64_t d : dims) {
    if (d < 0) return std::nullopt;
    auto next = checked_mul(count, d);
    if (!next) return std::nullopt;
    count = *next;
  }
  return count;
}

constexpr size_t align_up(size_t n, size_t alignment) { return (n + alignment - 1) / alignment * alignment; }
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace blade
