// Bytes that stand in several places, read as if they stood one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace blade {

class Pieces {
 public:
  Pieces() = default;
  explicit Pieces(std::span<const std::byte> whole) : Pieces(std::vector{whole}) {}
  explicit Pieces(std::vector<std::span<const std::byte>> pieces) : pieces_(std::move(pieces)) {
    for (const auto& piece : pieces_) size_ += piece.size();
  }

  uint64_t size() const { return size_; }
  std::span<const std::span<const std::byte>> list() const { return pieces_; }

  // Nothing where the bytes do not lie inside one piece.
  std::optional<std::span<const std::byte>> find(uint64_t offset, uint64_t size) const {
    for (const auto& piece : pieces_) {
      if (offset <= piece.size() && size <= piece.size() - offset) return piece.subspan(offset, size);
      if (offset < piece.size()) return std::nullopt;
      offset -= piece.size();
    }
    return std::nullopt;
  }

 private:
  std::vector<std::span<const std::byte>> pieces_;
  uint64_t size_ = 0;
};

}  // namespace blade
