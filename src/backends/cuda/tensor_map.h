// Descriptions of images for the tensor copy engine.
#pragma once

#include "backends/cuda/conv_problem.h"

namespace blade::backends::cuda {

// Whether the engine can walk this problem's pixels: whole chunks of 64 channels, small strides and borders.
Support supports_tensor_map(const ConvProblem& problem);

// The image at `x` in im2col form: `rows` output pixels by 64 channels a request.
Result<TensorMap> make_tensor_map(const ConvProblem& problem, const void* x, int rows);

// Both maps where the problem has an addend, else that of its image alone.
Result<PixelMaps> make_pixel_maps(const ConvProblem& problem, const ConvProblem& addend, const void* x,
                                  const void* addend_x, int rows);

// The image at `x` in boxes of `height` by `width` pixels by 64 channels, every stride-th pixel of each dim.
Result<TensorMap> make_patch_map(const ConvProblem& problem, const void* x, int64_t height, int64_t width);
Support supports_patch_map(const ConvProblem& problem);

// A float16 matrix in boxes of `rows` by 64 columns.
Result<TensorMap> make_box_map(const void* matrix, int64_t matrix_rows, int64_t columns, int rows);

// Rows of up to 5 dims [columns, rows, ...] of float16, the columns side by side, in boxes of `rows` by 64 columns.
// `strides` are of all dims but the first, in elements; a dim whose stride is 0 has one place.
Result<TensorMap> make_rows_map(const void* data, const ir::Dims& dims, const ir::Dims& strides, int rows);
Support supports_rows_map();

}  // namespace blade::backends::cuda
