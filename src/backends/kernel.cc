// Sizes of operands, and the cache that lets the plans of all shapes share packed constants.
#include "backends/kernel.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "base/checked_math.h"

namespace blade::backends {

int64_t TensorDesc::element_count() const { return checked_element_count(dims).value_or(0); }

bool TensorDesc::is_static() const {
  return std::none_of(dims.begin(), dims.end(), [](int64_t d) { return d < 0; });
}

// Keyed by the constant's data, not by its Tensor object: specialised graphs may wrap the same bytes again. An entry is
// valid only while some kernel holds its buffer or the owner of the bytes lives, because addresses are reused after
// that.
struct PackCache::Impl {
  using Key = std::pair<const void*, std::string>;
  struct Entry {
    std::weak_ptr<const void> owner;
    bool has_owner = false;
    std::shared_ptr<const AlignedBuffer> buffer;
  };
  mutable std::mutex mutex;
  std::map<Key, Entry> entries;

  void drop_dead() {
    for (auto it = entries.begin(); it != entries.end();) {
      it = it->second.has_owner && it->second.owner.expired() ? entries.erase(it) : std::next(it);
    }
  }
};

PackCache::PackCache() : impl_(std::make_unique<Impl>()) {}
PackCache::~PackCache() = default;

Result<std::shared_ptr<const AlignedBuffer>> PackCache::get(const ir::TensorPtr& source, const std::string& layout,
                                                            FunctionRef<Result<AlignedBuffer>()> pack) {
  if (source == nullptr) return internal_error("PackCache::get was called without a constant.");
  std::lock_guard<std::mutex> lock(impl_->mutex);
  impl_->drop_dead();
  const Impl::Key key{source->data, layout + "/" + std::to_string(source->bytes)};
  if (const auto it = impl_->entries.find(key); it != impl_->entries.end()) return it->second.buffer;
  BLADE_ASSIGN_OR_RETURN(AlignedBuffer packed, pack());
  Impl::Entry entry;
  // Without an owner of its own the tensor object is what keeps the bytes' address meaningful.
  entry.owner = source->owner != nullptr ? std::weak_ptr<const void>(source->owner) : std::weak_ptr<const void>(source);
  entry.has_owner = true;
  entry.buffer = std::make_shared<const AlignedBuffer>(std::move(packed));
  impl_->entries[key] = entry;
  return entry.buffer;
}

size_t PackCache::bytes() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  size_t total = 0;
  for (const auto& [key, entry] : impl_->entries) total += entry.buffer->size();
  return total;
}

}  // namespace blade::backends
