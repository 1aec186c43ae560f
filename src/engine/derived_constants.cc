// Anonymous pages behind derived weights: released pages cannot be read by mistake, they fault.
#include "engine/derived_constants.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/checked_math.h"
#include "base/checksum.h"

namespace blade::engine {

struct DerivedConstants::Pages {
  explicit Pages(size_t size) : size(size) {
    void* mapped = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    data = mapped == MAP_FAILED ? nullptr : static_cast<std::byte*>(mapped);
  }
  ~Pages() {
    if (data != nullptr) munmap(data, size);
  }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::byte* data;
  size_t size;
};

namespace {

size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

}  // namespace

DerivedConstants::DerivedConstants(ir::Graph& graph, const ir::Graph& source) {
  std::unordered_set<const std::byte*> known;
  for (ir::ValueId id = 0; id < source.num_values(); ++id) {
    if (source.value(id).is_constant()) known.insert(source.value(id).constant->data);
  }
  std::vector<ir::ValueId> values;
  std::unordered_map<const std::byte*, size_t> seen;
  for (ir::ValueId id = 0; id < graph.num_values(); ++id) {
    const ir::Value& value = graph.value(id);
    if (!value.is_constant() || value.constant->bytes < kMinBytes) continue;
    // Elements at odd addresses of a file cannot be read in place by every kernel: those weights are copied as well.
    const bool in_place = reinterpret_cast<uintptr_t>(value.constant->data) % ir::dtype_size(value.dtype) == 0;
    if (in_place && known.contains(value.constant->data)) continue;
    const auto [it, is_new] = seen.try_emplace(value.constant->data, value.constant->bytes);
    if (it->second != value.constant->bytes) continue;  // one address, two sizes: left alone
    if (is_new) bytes_ += align_up(value.constant->bytes, page_size());
    values.push_back(id);
  }
  if (!values.empty()) adopt(graph, values);
}

void DerivedConstants::adopt(ir::Graph& graph, const std::vector<ir::ValueId>& values) {
  pages_ = std::make_shared<Pages>(bytes_);
  if (pages_->data == nullptr) return;
  std::unordered_map<const std::byte*, size_t> places;
  size_t at = 0;
  for (ir::ValueId id : values) {
    ir::Value& value = graph.value(id);
    const auto [place, is_new] = places.try_emplace(value.constant->data, at);
    std::byte* data = pages_->data + place->second;
    if (is_new) {
      std::memcpy(data, value.constant->data, value.constant->bytes);
      at += align_up(value.constant->bytes, page_size());
      moved_.push_back({id, data, value.constant->bytes, value.dtype, value.constant->dims,
                        checksum({data, value.constant->bytes})});
    }
    auto tensor = std::make_shared<ir::Tensor>(*value.constant);
    tensor->data = data;
    tensor->owner = pages_;
    value.constant = std::move(tensor);
  }
}

void DerivedConstants::release(const Plan& plan) {
  std::unordered_set<const std::byte*> read;
  for (const ir::TensorPtr& constant : plan.constants) read.insert(constant->data);
  for (Moved& moved : moved_) {
    if (read.contains(moved.data)) continue;
    const size_t size = align_up(moved.bytes, page_size());
    if (madvise(moved.data, size, MADV_DONTNEED) != 0) continue;
    mprotect(moved.data, size, PROT_NONE);
    moved.released = released_ = true;
    released_bytes_ += size;
  }
}

bool DerivedConstants::restore(const ir::Graph& fresh) {
  for (const Moved& moved : moved_) {
    if (!moved.released) continue;
    if (moved.value >= fresh.num_values() || !fresh.value(moved.value).is_constant()) return false;
    const ir::Tensor& tensor = *fresh.value(moved.value).constant;
    if (tensor.dtype != moved.dtype || tensor.dims != moved.dims || tensor.bytes != moved.bytes) return false;
    if (checksum({tensor.data, tensor.bytes}) != moved.hash) return false;
  }
  for (Moved& moved : moved_) {
    if (!moved.released) continue;
    if (mprotect(moved.data, align_up(moved.bytes, page_size()), PROT_READ | PROT_WRITE) != 0) return false;
    std::memcpy(moved.data, fresh.value(moved.value).constant->data, moved.bytes);
    moved.released = false;
  }
  released_ = false;
  return true;
}

}  // namespace blade::engine
