// 2-D convolution in float32 or bfloat16 over NHWC activations and HWIO weights, without im2col. No function allocates;
// results do not depend on timing. 1-D convolutions are 2-D ones with h == kh == 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/blocking.h"
#include "backends/cpu/matrix/epilogue.h"
#include "backends/cpu/matrix/packed_b.h"
#include "backends/cpu/matrix/plane_split.h"
#include "base/thread_pool.h"

namespace blade::backends::cpu {

// out[n][y][x][o] = epilogue(sum over i, j, c of in[n][y * stride_h + i * dilation_h - pad_top]
//                                                  [x * stride_w + j * dilation_w - pad_left][c] * weights[i][j][c][o])
// where pixels outside the input count as zero. Padding at the bottom and right follows from oh and ow. Group g reads
// input channels [g * c / groups, ...) and writes output channels [g * oc / groups, ...).
//
// With a depth axis (Winograd's algorithm and conv_volume.h alone take one), image d of the n = volumes * depth.out
// results is the sum of such convolutions of depth.taps images, in[d * stride + tap * dilation - pad_before] of its
// volume's depth.in, each with weights of its own ([tap][kh][kw][c][oc]); images outside the volume count as zero.
struct DepthAxis {
  int64_t taps = 1, in = 1, out = 1, stride = 1, dilation = 1, pad_before = 0;
};

struct Conv2DShape {
  int64_t n = 1, h = 1, w = 1, c = 1;
  int64_t kh = 1, kw = 1, oc = 1;
  int64_t oh = 1, ow = 1;
  int64_t stride_h = 1, stride_w = 1;
  int64_t dilation_h = 1, dilation_w = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t groups = 1;
  DepthAxis depth = {};
  int64_t in_pixel_stride = 0;             // elements from a pixel to the next; 0: c
  int64_t out_pixel_stride = 0;            // 0: oc
  MatrixUnit unit = MatrixUnit::kVectors;  // of the direct algorithm in bfloat16
  bool to_half = false;                    // of conv2d_rows() on tile registers: TileJob::to_half
  Blocking blocking = {};                  // packed weights depend on its vectors
  bool is_shared = true;                   // by threads, for which there is to be enough to share

  int64_t input_pitch() const { return in_pixel_stride != 0 ? in_pixel_stride : c; }
  int64_t output_pitch() const { return out_pixel_stride != 0 ? out_pixel_stride : oc; }
  int64_t output_pixels() const { return n * oh * ow; }
  int64_t group_in() const { return c / groups; }
  int64_t group_out() const { return oc / groups; }
  // Input rows that so many output rows next to each other read, padding included.
  int64_t read_rows(int64_t rows) const { return (rows - 1) * stride_h + (kh - 1) * dilation_h + 1; }
  double flops() const {
    return 2.0 * static_cast<double>(output_pixels() * oc * kh * kw) * static_cast<double>(depth.taps * group_in());
  }
};

// The algorithms that can compute a convolution; winograd.h has the last two, with 2 and 4 outputs of a tile along each
// dim that has more than one tap.
enum class ConvAlgorithm { kDirect, kWinograd2, kWinograd4 };
const char* conv_algorithm_name(ConvAlgorithm algorithm);
constexpr int winograd_outputs(ConvAlgorithm algorithm) { return algorithm == ConvAlgorithm::kWinograd4 ? 4 : 2; }
// nullptr, or why the algorithm cannot compute the shape.
const char* conv_algorithm_refusal(const Conv2DShape& shape, ConvAlgorithm algorithm);
// Predicted microseconds on `threads` cores: pure arithmetic, for choosing between algorithms. T: float or BFloat16.
template <class T = float>
double conv_cost_us(const Conv2DShape& shape, ConvAlgorithm algorithm, int threads);
// The same of a grouped convolution by vectors of channels (has_grouped_kernel()).
double grouped_cost_us(const Conv2DShape& shape, int threads);
ConvAlgorithm choose_conv_algorithm(const Conv2DShape& shape, int threads);
// How many neighbouring groups the direct algorithm computes fastest as one, with weights of zero from each to the
// channels of the others (which carry what is not finite to these): few channels leave most of a vector or tile empty.
template <class T>
int64_t groups_to_join(const Conv2DShape& shape);

// Direct convolution, T: float or BFloat16. Weights are packed from HWIO [kh][kw][c / groups][oc], once for all image
// sizes and batches.
template <class T>
size_t packed_conv_bytes(const Conv2DShape& shape);
template <class T>
void pack_conv_weights(const Conv2DShape& shape, const T* weights, void* to);
// What a kernel keeps of a shape for the two below, which else search for it: empty where there is nothing to search.
PlaneSplits conv2d_splits(const Conv2DShape& shape, int threads);
template <class T>
size_t conv2d_scratch_bytes(const Conv2DShape& shape, int threads, const PlaneSplits& splits = {});
// `packed`: what pack_conv_weights() wrote, 64-byte aligned. `out` overlaps `in` nowhere; it may be the residual.
// Out: T or float. In: T, or float where rounds_input() says so.
template <class T, class In, class Out>
void conv2d(const Conv2DShape& shape, const In* in, const void* packed, Out* out, const Epilogue<T>& epilogue,
            ThreadPool& pool, std::byte* scratch, const PlaneSplits& splits = {});
// Some output rows on the calling thread, for steps that use them up strip by strip: rows [first, first + rows) counted
// through all images (image * oh + y), all of one image, to `out`. `shared` is filled by conv2d_rows_prepare() once a
// run, `slot` is the thread's own. In: as for conv2d().
template <class T>
const char* conv2d_rows_refusal(const Conv2DShape& shape);  // nullptr, or why rows cannot be computed alone
template <class T>
size_t conv2d_rows_shared_bytes(const Conv2DShape& shape);
template <class T>
size_t conv2d_rows_slot_bytes(const Conv2DShape& shape);
template <class T>
void conv2d_rows_prepare(const Conv2DShape& shape, std::byte* shared);
template <class T, class In>
void conv2d_rows(const Conv2DShape& shape, const In* in, const void* packed, T* out, const Epilogue<T>& epilogue,
                 int64_t first, int64_t rows, std::byte* shared, std::byte* slot);
// Output rows that direct convolution copies the input of at a time; 0: it reads the input where it lies.
template <class T>
int64_t conv2d_band_rows(const Conv2DShape& shape);
// True where a bfloat16 convolution can take a float32 input: it copies what it reads in any case (first layers).
bool rounds_input(const Conv2DShape& shape);
// Of those on tile registers: where one block of K holds all taps, the rows of a band are woven, so that what the taps
// of a pixel read is one run. 3x3 kernels of 3 channels then take one product where there would be three.
bool weaves_rows(const Conv2DShape& shape);

}  // namespace blade::backends::cpu
