// Copies a box of elements between two strided layouts: what nearly all data movement comes down to.
#pragma once

#include <cstdint>

#include "backends/cpu/broadcast.h"

namespace blade::backends::cpu {

// dst[sum(i * dst_strides)] = src[sum(i * src_strides)] over all i in dims. Strides are in elements; source strides may
// be 0 or negative, destination elements must be distinct.
class StridedCopy {
 public:
  StridedCopy(const ir::Dims& dims, const ir::Dims& src_strides, const ir::Dims& dst_strides, size_t element_size);
  void run(ThreadPool* pool, const std::byte* src, std::byte* dst) const;

 private:
  void plan_tiles();
  void run_runs(ThreadPool* pool, const std::byte* src, std::byte* dst) const;
  void run_elements(ThreadPool* pool, const std::byte* src, std::byte* dst) const;
  void run_tiles(ThreadPool* pool, const std::byte* src, std::byte* dst) const;

  BroadcastPlan plan_;  // strides[0] of the source, strides[1] of the destination
  size_t size_;
  int64_t run_ = 0;     // elements that are contiguous on both sides, of which the plan has the places; 0: none
  bool tiled_ = false;  // the source is contiguous along the last dim but one, the destination along the last
  // Of tiled copies: the matrix, the parts of it whose places the plan has, and the pitches of rows.
  int64_t rows_ = 0, columns_ = 0, height_ = 0, width_ = 0, src_row_ = 0, dst_row_ = 0;
};

}  // namespace blade::backends::cpu
