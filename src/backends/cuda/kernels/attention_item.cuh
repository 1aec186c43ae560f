// The operands of one item of an attention, where the block that computes it finds them, and its masks.
#pragma once

#include "backends/cuda/kernels/attention.h"
#include "backends/cuda/kernels/attention_multiply.cuh"

namespace blade::backends::cuda::attention_kernel {

// An operand of this block's item, in registers.
template <class T>
struct Matrix {
  const T* data;
  int row, column, rows, columns;
  bool in_pieces;

  // Rows from `first` to shared memory, zeros outside; copies in pieces are under way after it.
  template <int kRows, int kColumns>
  __device__ __forceinline__ void copy(T* to, int stride, int first) const {
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T)), kPieces = kColumns / kPiece;
    const int thread = static_cast<int>(threadIdx.x);
    if (in_pieces) {
#pragma unroll 4
      for (int i = thread; i < kRows * kPieces; i += kAttentionThreads) {
        const int r = i / kPieces, c = i % kPieces * kPiece;
        const bool valid = first + r < rows && c < columns;
        const T* from = data + static_cast<int64_t>(valid ? first + r : 0) * row + (valid ? c : 0);
        copy_16(shared_address(to + r * stride + c), from, valid);
      }
      return;
    }
    for (int i = thread; i < kRows * kColumns; i += kAttentionThreads) {
      // Neighbouring threads read neighbouring elements.
      const int r = row == 1 ? i % kRows : i / kColumns, c = row == 1 ? i / kRows : i % kColumns;
      const bool valid = first + r < rows && c < columns;
      to[r * stride + c] = valid ? __ldcg(data + static_cast<int64_t>(first + r) * row + c * column) : from_float<T>(0);
    }
  }
};

// What is added to scores, or stands in their place.
template <class T>
struct Mask {
  const void* data;
  int row, column;
  bool is_float;

  __device__ __forceinline__ int64_t offset(int query, int key) const {
    return static_cast<int64_t>(query) * row + static_cast<int64_t>(key) * column;
  }
  __device__ __forceinline__ float at(int query, int key) const {
    return is_float ? __ldcg(static_cast<const float*>(data) + offset(query, key))
                    : to_float(__ldcg(static_cast<const T*>(data) + offset(query, key)));
  }
};

template <class T>
struct Item {
  Matrix<T> q, k, v;
  Mask<T> mask, added;
  T* out;
  int out_row;
  bool out_in_pieces;

  __device__ __forceinline__ Item(const AttentionParams& p, int item) {
    int64_t offsets[6] = {};
    const AttentionParams::Operand* const operands[6] = {&p.q, &p.k, &p.v, &p.mask, &p.added, &p.out};
    for (int d = p.batch_rank - 1; d >= 0; --d) {
      const int rest = divide(item, p.batch_dims[d]);
      const int at = item - rest * static_cast<int>(p.batch_dims[d].divisor);
#pragma unroll
      for (int o = 0; o < 6; ++o) offsets[o] += static_cast<int64_t>(at) * operands[o]->batch[d];
      item = rest;
    }
    q = matrix(p.q, offsets[0], p.queries, p.depth);
    k = matrix(p.k, offsets[1], p.keys, p.depth);
    v = matrix(p.v, offsets[2], p.keys, p.width);
    mask = mask_of(p.mask, offsets[3]);
    added = mask_of(p.added, offsets[4]);
    out = static_cast<T*>(const_cast<void*>(p.out.data)) + offsets[5];
    out_row = kept(p.out.row);
    out_in_pieces = p.out.in_pieces;
    keep(out);
  }

 private:
  static __device__ __forceinline__ Matrix<T> matrix(const AttentionParams::Operand& o, int64_t offset, int rows,
                                                     int columns) {
    const T* data = static_cast<const T*>(o.data) + offset;
    keep(data);
    return {data, kept(o.row), kept(o.column), kept(rows), kept(columns), o.in_pieces};
  }
  static __device__ __forceinline__ Mask<T> mask_of(const AttentionParams::Operand& o, int64_t offset) {
    const void* data = o.data == nullptr ? nullptr
                       : o.is_float      ? static_cast<const void*>(static_cast<const float*>(o.data) + offset)
                                         : static_cast<const void*>(static_cast<const T*>(o.data) + offset);
    keep(data);
    return {data, kept(o.row), kept(o.column), o.is_float};
  }
};

}  // namespace blade::backends::cuda::attention_kernel
