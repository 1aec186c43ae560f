// The bytes of an engine file in a graph: those of one Const, or of several, together with what keeps them alive.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/pieces.h"
#include "frontends/tensorflow/proto/shared_bytes.h"

namespace blade::tensorflow {

class SharedPieces {
 public:
  SharedPieces() = default;
  explicit SharedPieces(SharedBytes whole) : SharedPieces(std::vector{std::move(whole)}) {}
  explicit SharedPieces(std::vector<SharedBytes> pieces) {
    std::vector<std::span<const std::byte>> views;
    for (const SharedBytes& piece : pieces) views.push_back(std::as_bytes(std::span(piece.view())));
    bytes_ = Pieces(std::move(views));
    owner_ = std::make_shared<const std::vector<SharedBytes>>(std::move(pieces));
  }

  const Pieces& bytes() const { return bytes_; }
  const std::shared_ptr<const void>& owner() const { return owner_; }

  // Nothing where the bytes do not lie inside one piece.
  std::optional<SharedBytes> find(uint64_t offset, uint64_t size) const {
    const auto found = bytes_.find(offset, size);
    if (!found) return std::nullopt;
    return SharedBytes(owner_, {reinterpret_cast<const char*>(found->data()), found->size()});
  }

 private:
  Pieces bytes_;
  std::shared_ptr<const void> owner_;
};

}  // namespace blade::tensorflow
