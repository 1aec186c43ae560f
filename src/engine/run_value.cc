// Classes of buffer sizes and counting of owners.
#include "engine/run_value.h"

#include <algorithm>
#include <bit>

#include "base/checked_math.h"

namespace blade::engine {
namespace {

// Four classes an octave: a buffer is at most a quarter larger than asked for.
constexpr size_t kClasses = 4 * 64;

size_t class_of(size_t bytes) {
  const size_t units = std::max<size_t>(1, (bytes + kBufferAlignment - 1) / kBufferAlignment);
  if (units <= 4) return units;
  const auto octave = static_cast<size_t>(std::bit_width(units - 1)) - 3;  // 5..8: 0, 9..16: 1, ...
  return 4 * octave + 5 + ((units - 1) >> octave) - 4;
}

size_t size_of_class(size_t number) {
  if (number <= 4) return number * kBufferAlignment;
  const size_t octave = (number - 5) / 4, quarter = (number - 5) % 4;
  return ((4 + quarter + 1) << octave) * kBufferAlignment;
}

}  // namespace

bool RunDims::assign(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank) return false;
  rank_ = dims.size();
  std::copy(dims.begin(), dims.end(), values_.begin());
  return true;
}

bool RunDims::operator==(const RunDims& other) const {
  return rank_ == other.rank_ && std::equal(values_.begin(), values_.begin() + rank_, other.values_.begin());
}

int64_t RunDims::element_count() const { return checked_element_count(view()).value_or(-1); }

size_t RunValue::bytes() const {
  return static_cast<size_t>(std::max<int64_t>(dims.element_count(), 0)) * ir::dtype_size(dtype);
}

struct BufferRef::Block {
  AlignedBuffer memory;
  BufferPool* pool = nullptr;
  size_t size_class = 0;
  int owners = 0;
  Block* next_free = nullptr;
};

BufferRef::BufferRef(const BufferRef& other) : block_(other.block_) {
  if (block_ != nullptr) ++block_->owners;
}

BufferRef::~BufferRef() {
  if (block_ != nullptr && --block_->owners == 0) block_->pool->put(block_);
}

std::byte* BufferRef::data() const { return block_ != nullptr ? block_->memory.data() : nullptr; }
bool BufferRef::is_only_owner() const { return block_ != nullptr && block_->owners == 1; }

BufferPool::BufferPool() : free_(kClasses, nullptr) {}
BufferPool::~BufferPool() = default;

BufferRef BufferPool::take(size_t bytes) {
  if (bytes > (size_t{1} << 46)) return BufferRef();
  const size_t number = class_of(bytes);
  BufferRef::Block* block = free_[number];
  if (block != nullptr) {
    free_[number] = block->next_free;
  } else {
    auto made = std::make_unique<BufferRef::Block>();
    made->memory = AlignedBuffer::allocate(size_of_class(number));
    if (made->memory.data() == nullptr) return BufferRef();
    made->pool = this;
    made->size_class = number;
    bytes_ += made->memory.size();
    blocks_.push_back(std::move(made));
    block = blocks_.back().get();
  }
  block->owners = 1;
  return BufferRef(block);
}

void BufferPool::put(BufferRef::Block* block) {
  block->next_free = free_[block->size_class];
  free_[block->size_class] = block;
}

}  // namespace blade::engine
