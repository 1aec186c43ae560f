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
    std::shared_ptr<const AlignedBuffer> on_host;
    std::shared_ptr<const DeviceBuffer> on_device;
    size_t bytes() const { return on_host != nullptr ? on_host->size() : on_device->size(); }
  };
  mutable std::mutex mutex;
  std::map<Key, Entry> entries;

  // The entry under the key, made by `fill(Entry&)` at first use.
  template <class Fill>
  Result<Entry> find_or_fill(const ir::TensorPtr& source, const std::string& layout, const Fill& fill) {
    if (source == nullptr) return internal_error("PackCache was asked to pack something that is no constant.");
    std::lock_guard<std::mutex> lock(mutex);
    drop_dead();
    const Key key{source->data, layout + "/" + std::to_string(source->bytes)};
    if (const auto it = entries.find(key); it != entries.end()) return it->second;
    Entry entry;
    BLADE_RETURN_IF_ERROR(fill(entry));
    // Without an owner of its own the tensor object is what keeps the bytes' address meaningful.
    entry.owner =
        source->owner != nullptr ? std::weak_ptr<const void>(source->owner) : std::weak_ptr<const void>(source);
    entry.has_owner = true;
    return entries[key] = std::move(entry);
  }

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
  const auto fill = [&](Impl::Entry& entry) -> Status {
    BLADE_ASSIGN_OR_RETURN(AlignedBuffer packed, pack());
    entry.on_host = std::make_shared<const AlignedBuffer>(std::move(packed));
    return {};
  };
  BLADE_ASSIGN_OR_RETURN(const Impl::Entry entry, impl_->find_or_fill(source, layout, fill));
  return entry.on_host;
}

Result<std::shared_ptr<const DeviceBuffer>> PackCache::get_on(Device& device, const ir::TensorPtr& source,
                                                              const std::string& layout,
                                                              FunctionRef<Result<AlignedBuffer>()> pack) {
  const auto fill = [&](Impl::Entry& entry) -> Status {
    BLADE_ASSIGN_OR_RETURN(const AlignedBuffer packed, pack());
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer uploaded,
                           device.upload(reinterpret_cast<const std::byte*>(packed.data()), packed.size()));
    entry.on_device = std::make_shared<const DeviceBuffer>(std::move(uploaded));
    return {};
  };
  BLADE_ASSIGN_OR_RETURN(const Impl::Entry entry, impl_->find_or_fill(source, layout + "@" + device.info().name, fill));
  return entry.on_device;
}

size_t PackCache::bytes() const {
  std::lock_guard<std::mutex> lock(impl_->mutex);
  size_t total = 0;
  for (const auto& [key, entry] : impl_->entries) total += entry.bytes();
  return total;
}

}  // namespace blade::backends
