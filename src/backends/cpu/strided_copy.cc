// Merges dims, then copies runs by memcpy, transposes tile by tile, or moves single elements.
#include "backends/cpu/strided_copy.h"

#include <cstring>

#include "backends/cpu/matrix/transpose.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kTile = 16;
constexpr int64_t kWovenPiece = 1024;  // of the longer side, at a time
constexpr int64_t kRunsPiece = 8192;   // bytes of short runs that a thread copies at a time
constexpr int64_t kPiece = 65536;      // bytes that one task copies at a time

template <class T>
void copy_elements(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t count) {
  if (src_stride == 0) {
    const T value = *src;
    for (int64_t i = 0; i < count; ++i) dst[i * dst_stride] = value;
    return;
  }
  for (int64_t i = 0; i < count; ++i) dst[i * dst_stride] = src[i * src_stride];
}

// dst[j * dst_row + i] = src[i * src_row + j]
template <class T>
void transpose_block(const T* src, int64_t src_row, T* dst, int64_t dst_row, int64_t rows, int64_t columns) {
  // Other narrow ones take less time here than the call.
  const bool weaves = (rows <= kMostWoven && src_row == rows) || (columns <= kMostWoven && dst_row == columns);
  if (sizeof(T) == sizeof(uint32_t) && (weaves || (rows >= kTile / 2 && columns >= kTile / 2))) {
    transpose_words(reinterpret_cast<const uint32_t*>(src), src_row, reinterpret_cast<uint32_t*>(dst), dst_row, columns,
                    rows);
    return;
  }
  for (int64_t i0 = 0; i0 < columns; i0 += kTile) {
    const int64_t i1 = std::min(columns, i0 + kTile);
    for (int64_t j = 0; j < rows; ++j) {
      for (int64_t i = i0; i < i1; ++i) dst[j * dst_row + i] = src[i * src_row + j];
    }
  }
}

// A run of sizeof(T) to 2 * sizeof(T) bytes.
template <class T>
void copy_ends(const std::byte* from, std::byte* to, size_t bytes) {
  T first, last;
  std::memcpy(&first, from, sizeof(T));
  std::memcpy(&last, from + bytes - sizeof(T), sizeof(T));
  std::memcpy(to, &first, sizeof(T));
  std::memcpy(to + bytes - sizeof(T), &last, sizeof(T));
}

struct Vector16 {
  uint64_t words[2];
};

// Runs so short that calls would take longer than they do.
constexpr size_t kShortRun = 256;

// `count` runs of as many bytes, at a pitch each.
void copy_runs(const std::byte* from, int64_t from_pitch, std::byte* to, int64_t to_pitch, int64_t count,
               size_t bytes) {
  const auto each = [&](auto&& copy) {
    for (int64_t i = 0; i < count; ++i) copy(from + i * from_pitch, to + i * to_pitch);
  };
  if (bytes >= 16 && bytes <= kShortRun) {
    each([&](const std::byte* src, std::byte* dst) {
      for (size_t b = 0; b + 32 <= bytes; b += 16) std::memcpy(dst + b, src + b, 16);
      copy_ends<Vector16>(src + (bytes / 16 - 1) * 16, dst + (bytes / 16 - 1) * 16, 16 + bytes % 16);
    });
  } else if (bytes >= 8 && bytes < 16) {
    each([&](const std::byte* src, std::byte* dst) { copy_ends<uint64_t>(src, dst, bytes); });
  } else if (bytes >= 4 && bytes < 8) {
    each([&](const std::byte* src, std::byte* dst) { copy_ends<uint32_t>(src, dst, bytes); });
  } else {
    each([&](const std::byte* src, std::byte* dst) { std::memcpy(dst, src, bytes); });
  }
}

// Calls fn with a value of an unsigned type of `size` bytes (1, 2, 4 or 8).
template <class Fn>
void with_element(size_t size, Fn&& fn) {
  switch (size) {
    case 1:
      fn(uint8_t{});
      return;
    case 2:
      fn(uint16_t{});
      return;
    case 4:
      fn(uint32_t{});
      return;
    default:
      fn(uint64_t{});
      return;
  }
}

}  // namespace

StridedCopy::StridedCopy(const ir::Dims& dims, const ir::Dims& src_strides, const ir::Dims& dst_strides,
                         size_t element_size)
    : size_(element_size) {
  ir::Dims merged, src, dst;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 1) continue;
    const bool merges =
        !merged.empty() && src.back() == src_strides[d] * dims[d] && dst.back() == dst_strides[d] * dims[d];
    if (merges) {
      merged.back() *= dims[d];
      src.back() = src_strides[d];
      dst.back() = dst_strides[d];
    } else {
      merged.push_back(dims[d]);
      src.push_back(src_strides[d]);
      dst.push_back(dst_strides[d]);
    }
  }
  if (merged.empty()) {
    merged.push_back(1);
    src.push_back(1);
    dst.push_back(1);
  }
  const size_t last = merged.size() - 1;
  if (src[last] != 1 && src[last] != 0 && dst[last] == 1) {
    const auto run = std::find(src.begin(), src.end(), 1);
    if (run != src.end()) {
      // The order of loops is free: bring the source's contiguous dim next to the destination's.
      const auto at = run - src.begin();
      for (ir::Dims* dims_or_strides : {&merged, &src, &dst}) {
        std::rotate(dims_or_strides->begin() + at, dims_or_strides->begin() + at + 1, dims_or_strides->end() - 1);
      }
      tiled_ = true;
    }
  }
  plan_.dims = std::move(merged);
  plan_.strides = {std::move(src), std::move(dst)};
  if (tiled_) {
    plan_tiles();
  } else if (plan_.dims.size() > 1 && plan_.inner() > 0 && plan_.inner() * static_cast<int64_t>(size_) <= kPiece &&
             plan_.strides[0].back() == 1 && plan_.strides[1].back() == 1) {
    run_ = plan_.inner();
    plan_.dims.pop_back();
    for (ir::Dims& own : plan_.strides) own.pop_back();
  }
}

// Rows and columns of the two-dim transposes become pieces of a plan over the outer dims.
void StridedCopy::plan_tiles() {
  const size_t rank = plan_.dims.size();
  rows_ = plan_.dims[rank - 2], columns_ = plan_.dims[rank - 1];
  src_row_ = plan_.strides[0][rank - 1], dst_row_ = plan_.strides[1][rank - 2];
  height_ = columns_ <= kMostWoven ? kWovenPiece : kTile;
  width_ = rows_ <= kMostWoven ? kWovenPiece : std::max<int64_t>(1, columns_);
  plan_.dims[rank - 2] = ceil_div(rows_, height_);
  plan_.dims[rank - 1] = ceil_div(columns_, width_);
  for (ir::Dims& own : plan_.strides) {
    own[rank - 2] *= height_;
    own[rank - 1] *= width_;
  }
}

void StridedCopy::run(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  if (tiled_) return run_tiles(pool, src, dst);
  run_ > 0 ? run_runs(pool, src, dst) : run_elements(pool, src, dst);
}

void StridedCopy::run_runs(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  const auto size = static_cast<int64_t>(size_);
  const int64_t bytes = run_ * size, src_pitch = plan_.strides[0].back(), dst_pitch = plan_.strides[1].back();
  const double work = static_cast<double>(bytes) / 4 + 4;
  for_each_row(pool, plan_, std::max<int64_t>(1, kRunsPiece / bytes), work,
               [&](int64_t, int64_t count, const int64_t* at) {
                 copy_runs(src + at[0] * size, src_pitch * size, dst + at[1] * size, dst_pitch * size, count,
                           static_cast<size_t>(bytes));
               });
}

void StridedCopy::run_elements(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  const int64_t src_stride = plan_.strides[0].back(), dst_stride = plan_.strides[1].back();
  const auto size = static_cast<int64_t>(size_);
  const double work = static_cast<double>(size_) / 4 + 4.0 / static_cast<double>(std::max<int64_t>(1, plan_.inner()));
  for_each_row(pool, plan_, kPiece / size, work, [&](int64_t, int64_t count, const int64_t* offsets) {
    const std::byte* from = src + offsets[0] * size;
    std::byte* to = dst + offsets[1] * size;
    if (src_stride == 1 && dst_stride == 1) {
      std::memcpy(to, from, static_cast<size_t>(count * size));
      return;
    }
    with_element(size_, [&]<class T>(T) {
      copy_elements(reinterpret_cast<const T*>(from), src_stride, reinterpret_cast<T*>(to), dst_stride, count);
    });
  });
}

void StridedCopy::run_tiles(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  const auto size = static_cast<int64_t>(size_);
  const int64_t across = plan_.inner(), down = plan_.dims[plan_.dims.size() - 2];
  for_each_row(pool, plan_, 1, static_cast<double>(height_ * width_), [&](int64_t piece, int64_t, const int64_t* at) {
    const int64_t height = std::min(height_, rows_ - piece / across % down * height_);
    const int64_t width = std::min(width_, columns_ - piece % across * width_);
    with_element(size_, [&]<class T>(T) {
      transpose_block(reinterpret_cast<const T*>(src + at[0] * size), src_row_,
                      reinterpret_cast<T*>(dst + at[1] * size), dst_row_, height, width);
    });
  });
}

}  // namespace blade::backends::cpu
