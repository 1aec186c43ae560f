// Merges dims, then copies runs by memcpy, transposes tile by tile, or moves single elements.
#include "backends/cpu/strided_copy.h"

#include <cstring>

#include "backends/cpu/matrix/transpose.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kTile = 16;

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
  // Narrower ones take less time here than the call.
  if (sizeof(T) == sizeof(uint32_t) && rows >= kTile / 2 && columns >= kTile / 2) {
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

// Runs of a few bytes without a call.
template <class T>
void copy_ends(const std::byte* from, std::byte* to, size_t bytes) {
  T first, last;
  std::memcpy(&first, from, sizeof(T));
  std::memcpy(&last, from + bytes - sizeof(T), sizeof(T));
  std::memcpy(to, &first, sizeof(T));
  std::memcpy(to + bytes - sizeof(T), &last, sizeof(T));
}
void copy_run(const std::byte* from, std::byte* to, size_t bytes) {
  if (bytes >= 4 && bytes < 8) return copy_ends<uint32_t>(from, to, bytes);
  if (bytes >= 8 && bytes <= 16) return copy_ends<uint64_t>(from, to, bytes);
  std::memcpy(to, from, bytes);
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
}

void StridedCopy::run(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  tiled_ ? run_tiles(pool, src, dst) : run_rows(pool, src, dst);
}

void StridedCopy::run_rows(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  const int64_t src_stride = plan_.strides[0].back(), dst_stride = plan_.strides[1].back();
  const auto size = static_cast<int64_t>(size_);
  const double work = static_cast<double>(size_) / 4 + 4.0 / static_cast<double>(std::max<int64_t>(1, plan_.inner()));
  const int64_t max_piece = 65536 / size;
  for_each_row(pool, plan_, max_piece, work, [&](int64_t, int64_t count, const int64_t* offsets) {
    const std::byte* from = src + offsets[0] * size;
    std::byte* to = dst + offsets[1] * size;
    if (src_stride == 1 && dst_stride == 1) {
      copy_run(from, to, static_cast<size_t>(count * size));
      return;
    }
    with_element(size_, [&]<class T>(T) {
      copy_elements(reinterpret_cast<const T*>(from), src_stride, reinterpret_cast<T*>(to), dst_stride, count);
    });
  });
}

void StridedCopy::run_tiles(ThreadPool* pool, const std::byte* src, std::byte* dst) const {
  const size_t rank = plan_.dims.size();
  const int64_t rows = plan_.dims[rank - 2], columns = plan_.dims[rank - 1];
  // Rows of the two-dim transposes become blocks of a plan over the outer dims.
  BroadcastPlan outer;
  outer.dims.assign(plan_.dims.begin(), plan_.dims.end() - 2);
  outer.dims.push_back(ceil_div(rows, kTile));
  for (const ir::Dims& own : plan_.strides) {
    outer.strides.emplace_back(own.begin(), own.end() - 2);
    outer.strides.back().push_back(own[rank - 2] * kTile);
  }
  outer.dims.push_back(1);  // so that each block is a row of its own
  for (ir::Dims& own : outer.strides) own.push_back(0);
  const int64_t blocks = outer.dims[rank - 2];
  const int64_t src_row = plan_.strides[0][rank - 1], dst_row = plan_.strides[1][rank - 2];
  const auto size = static_cast<int64_t>(size_);
  for_each_row(pool, outer, 1, static_cast<double>(columns * kTile),
               [&](int64_t block, int64_t, const int64_t* offsets) {
                 const int64_t height = std::min(kTile, rows - block % blocks * kTile);
                 with_element(size_, [&]<class T>(T) {
                   transpose_block(reinterpret_cast<const T*>(src + offsets[0] * size), src_row,
                                   reinterpret_cast<T*>(dst + offsets[1] * size), dst_row, height, columns);
                 });
               });
}

}  // namespace blade::backends::cpu
