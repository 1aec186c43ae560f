// The rows of each family of CPU kernels; kernel_table.cc joins them.
#pragma once

#include <span>

#include "backends/kernel.h"

namespace blade::backends::cpu {

std::span<const KernelEntry> pointwise_rows();
std::span<const KernelEntry> cast_rows();
std::span<const KernelEntry> channel_scale_rows();
std::span<const KernelEntry> conv_rows();
std::span<const KernelEntry> few_channel_conv_rows();
std::span<const KernelEntry> streamed_conv_rows();
std::span<const KernelEntry> conv3d_tiles_rows();
std::span<const KernelEntry> depthwise_rows();
std::span<const KernelEntry> separable_rows();   // two nodes a row
std::span<const KernelEntry> bottleneck_rows();  // two or three nodes a row
std::span<const KernelEntry> matmul_rows();
std::span<const KernelEntry> attention_rows();
std::span<const KernelEntry> conv_pool_rows();  // two nodes a row, as these
std::span<const KernelEntry> conv_concat_rows();
std::span<const KernelEntry> conv_to_f32_rows();
std::span<const KernelEntry> streamed_conv_to_f32_rows();
std::span<const KernelEntry> matmul_to_f32_rows();
std::span<const KernelEntry> attention_to_bf16_rows();
std::span<const KernelEntry> normalization_to_bf16_rows();
std::span<const KernelEntry> resize_to_bf16_rows();
std::span<const KernelEntry> pool_rows();
std::span<const KernelEntry> reduce_rows();
std::span<const KernelEntry> normalization_rows();
std::span<const KernelEntry> moments_rows();
std::span<const KernelEntry> joining_rows();
std::span<const KernelEntry> slicing_rows();
std::span<const KernelEntry> transpose_rows();
std::span<const KernelEntry> indexing_rows();
std::span<const KernelEntry> resample_rows();
std::span<const KernelEntry> resize_rows();
std::span<const KernelEntry> list_rows();
std::span<const KernelEntry> selection_rows();
std::span<const KernelEntry> detection_rows();
std::span<const KernelEntry> combined_suppression_rows();
std::span<const KernelEntry> shape_rows();
std::span<const KernelEntry> typed_rows();
std::span<const KernelEntry> segment_rows();
std::span<const KernelEntry> window_rows();
std::span<const KernelEntry> matrix_diag_rows();
std::span<const KernelEntry> block_lstm_rows();
std::span<const KernelEntry> recurrence_rows();
std::span<const KernelEntry> signal_rows();
std::span<const KernelEntry> onednn_rows();

}  // namespace blade::backends::cpu
