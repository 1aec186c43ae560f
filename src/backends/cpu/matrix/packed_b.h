// The right-hand matrix of a product (weights) cut into panels that a micro-kernel reads front to back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/half.h"

namespace blade::backends::cpu {

// What multiplies: vector registers, or the tile registers of AMX. Both read the same panels.
enum class MatrixUnit : uint8_t { kVectors, kTiles };

// View of a packed K x N matrix of 32-bit words, each one float or two bfloat16 of neighbouring k: panels [ceil(N /
// width)][K][width], the last one only as wide as it must be (a multiple of `lanes`), zeros beyond N. The layout
// depends on N, on the width of a panel and on the instruction set alone, so a buffer packed in this process is
// described again by packed_b_view().
struct PackedB {
  int64_t k = 0;  // steps: elements of K, or pairs of them
  int64_t n = 0;
  int lanes = 1;                           // floats in a vector of the instruction set it is packed for
  int vectors = 1;                         // vectors in a row of a full panel
  const float* data = nullptr;             // 64-byte aligned
  MatrixUnit unit = MatrixUnit::kVectors;  // kTiles: pairs of bfloat16 only
  bool padded = false;  // k is whole blocks of AMX, see AmxBlocks: zeros after the last steps of the only run
  // Where k is a piece of what was packed: its first step, and the steps of the whole (0: k is all).
  int64_t first_step = 0, packed_k = 0;

  int64_t width() const { return int64_t{lanes} * vectors; }
  int64_t panels() const { return (n + width() - 1) / width(); }
  const float* panel(int64_t p) const {
    if (packed_k == 0) return data + p * k * width();
    return data + p * packed_k * width() + first_step * panel_vectors(p) * lanes;
  }
  int columns(int64_t p) const { return static_cast<int>(n - p * width() < width() ? n - p * width() : width()); }
  int panel_vectors(int64_t p) const { return columns(p) == width() ? vectors : (columns(p) + lanes - 1) / lanes; }
  // Steps [first, last) of all panels.
  PackedB piece(int64_t first, int64_t last) const {
    PackedB part = *this;
    part.k = last - first;
    part.first_step = first;
    part.packed_k = k;
    return part;
  }
  size_t bytes() const { return static_cast<size_t>((n + lanes - 1) / lanes * lanes * k) * sizeof(float); }
};

// Layout for this processor, of data that lies at `data` (null: layout only); `vectors`: of a panel, 0: as predicted
// best.
PackedB packed_b_view(int64_t k, int64_t n, const void* data, MatrixUnit unit = MatrixUnit::kVectors, int vectors = 0);
inline size_t packed_b_bytes(int64_t k, int64_t n) { return packed_b_view(k, n, nullptr).bytes(); }
// Other widths of panels for n columns, for tuning.
std::vector<int> other_panel_vectors(int64_t n);

// Steps of a product whose K is `runs` stretches of `run_length` elements of T: pairs do not reach over the end of a
// run.
template <class T>
int64_t packed_steps(int64_t runs, int64_t run_length) {
  constexpr int64_t kDepth = 4 / int64_t{sizeof(T)};  // elements of a word
  return runs * ((run_length + kDepth - 1) / kDepth);
}

// Packs b[k * row_stride + n * col_stride] into `to` (packed_b_bytes(k, n) bytes, 64-byte aligned).
PackedB pack_b(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t col_stride, void* to, int vectors = 0);
// Rows [first_k, last_k) of all panels only, so that several threads can share the work.
void pack_b_rows(const float* b, int64_t row_stride, int64_t col_stride, int64_t first_k, int64_t last_k,
                 const PackedB& layout, void* to);

// The same in bfloat16 for runs of `run_length` elements; steps [first_step, last_step) of packed_steps().
void pack_pairs(const BFloat16* b, int64_t run_length, int64_t row_stride, int64_t col_stride, int64_t first_step,
                int64_t last_step, const PackedB& layout, void* to);

// Either, all of it, by the type of the elements.
PackedB pack_runs(const float* b, int64_t runs, int64_t run_length, int64_t n, int64_t row_stride, int64_t col_stride,
                  void* to, int vectors = 0);
PackedB pack_runs(const BFloat16* b, int64_t runs, int64_t run_length, int64_t n, int64_t row_stride,
                  int64_t col_stride, void* to, int vectors = 0);

}  // namespace blade::backends::cpu
