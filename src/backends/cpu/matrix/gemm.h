// Matrix products in float32 or bfloat16: C = epilogue(A * B). Row-major, explicit strides in elements. Results do not
// depend on timing; no function allocates: scratch is the caller's, 64-byte aligned, of the size that its
// ..._scratch_bytes() says.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/blocking.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/tile_driver.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// C[m][n] = A[m][k] * B, with B constant and packed by pack_runs() as one run; b.unit multiplies. A's columns are
// dense; C may not overlap A. k == 0 gives epilogue(0). The residual may be C itself. T: float or BFloat16; Out: T or
// float. `vectors`: of the panels of B.
template <class T>
size_t gemm_scratch_bytes(int64_t m, int64_t k, int64_t n, int threads, MatrixUnit unit = MatrixUnit::kVectors,
                          int vectors = 0);
template <class T, class Out>
void gemm(int64_t m, int64_t k, const T* a, int64_t a_row_stride, const PackedB& b, Out* c, int64_t c_row_stride,
          const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch, const Blocking& blocking = {});

// The same on the calling thread, of b's own panels; scratch for one thread.
void gemm_on_caller(int64_t m, int64_t k, const float* a, int64_t a_row_stride, const PackedB& b, float* c,
                    int64_t c_row_stride, const EpilogueF32& epilogue, std::byte* scratch);
// All rows and panels [first_panel, last_panel) of a job whose rows of A lie at one stride, on the calling thread;
// tile_slot_scratch_bytes(job) bytes of scratch.
template <class T>
void gemm_on_caller(const TileJob<T>& job, const T* a, int64_t a_row_stride, int64_t first_panel, int64_t last_panel,
                    std::byte* scratch);

// A batch of products: B is packed into scratch at every call (attention) unless all its matrices have been packed
// before, one behind the other (experts), and so is A where its columns are not dense. Item i uses a + i *
// a_batch_stride, or a + a_offsets[i] where offsets are given (broadcasting). The epilogue's pixel is batch item * m +
// row, its residual has the shape [batch][m][n] at residual_row_stride.
struct MatMulShape {
  int64_t batch = 1, m = 0, k = 0, n = 0;
  int64_t a_batch_stride = 0, a_row_stride = 0, a_col_stride = 1;
  int64_t b_batch_stride = 0, b_row_stride = 0, b_col_stride = 1;
  int64_t c_batch_stride = 0, c_row_stride = 0;
  const int64_t* a_offsets = nullptr;
  const int64_t* b_offsets = nullptr;
  MatrixUnit unit = MatrixUnit::kVectors;  // kTiles: in bfloat16 only
  const std::byte* packed_b = nullptr;     // each of packed_b_bytes(), in the order of B; `b` is not read then
};
template <class T>
size_t matmul_scratch_bytes(const MatMulShape& shape, int threads);
template <class T, class Out>
void matmul(const MatMulShape& shape, const T* a, const T* b, Out* c, const Epilogue<T>& epilogue, ThreadPool& pool,
            std::byte* scratch);

}  // namespace blade::backends::cpu
