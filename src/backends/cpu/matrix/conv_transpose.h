// Transposed 2-D convolution (TensorFlow's Conv2DBackpropInput) over NHWC; T: float or BFloat16.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/plane_split.h"
#include "base/half.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// out[n][y][x][o] = epilogue(sum of in[n][i][j][c] * weights[kh][kw][o][c] over all i * stride_h + kh - pad_top == y,
//                                                                       j * stride_w + kw - pad_left == x)
// with in [n][h][w][c] and out [n][oh][ow][oc], both dense. Dilation is 1.
struct ConvTransposeShape {
  int64_t n = 1, h = 1, w = 1, c = 1;
  int64_t kh = 1, kw = 1, oc = 1;
  int64_t oh = 1, ow = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  MatrixUnit unit = MatrixUnit::kVectors;  // in bfloat16
  bool finishes_later = true;              // on tile registers: an epilogue may have a residual or a block program
};

// Predicted microseconds on `threads` cores.
template <class T>
double conv_transpose_cost_us(const ConvTransposeShape& shape, int threads);

// True where each phase is one product, whose sums may be added up in another order for a part of the image.
bool conv_transpose_is_gathered(const ConvTransposeShape& shape);
// True where results are gathered before the residual is read, which may not be `out` then.
bool conv_transpose_spreads(const ConvTransposeShape& shape);
// Weights [kh][kw][oc][c] as TensorFlow stores them; packed for this kernel, stride and padding.
template <class T>
size_t packed_conv_transpose_bytes(const ConvTransposeShape& shape);
template <class T>
void pack_conv_transpose_weights(const ConvTransposeShape& shape, const T* weights, void* to);
// What a kernel keeps of a shape for the two below, which else search for it: empty where there is nothing to search.
PlaneSplits conv_transpose_splits(const ConvTransposeShape& shape, int threads);
template <class T>
size_t conv_transpose_scratch_bytes(const ConvTransposeShape& shape, int threads, const PlaneSplits& splits = {});
template <class T>
void conv_transpose(const ConvTransposeShape& shape, const T* in, const void* packed, T* out,
                    const Epilogue<T>& epilogue, ThreadPool& pool, std::byte* scratch, const PlaneSplits& splits = {});

}  // namespace blade::backends::cpu
