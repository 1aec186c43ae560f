// The rows of each family of CUDA kernels; kernel_table.cc joins them.
#pragma once

#include <span>

#include "backends/kernel.h"

namespace blade::backends::cuda {

std::span<const KernelEntry> stem_rows();  // first layers
std::span<const KernelEntry> conv_rows();
std::span<const KernelEntry> transpose_conv_rows();  // transposed convolutions as products
std::span<const KernelEntry> pipeline_rows();        // convolutions and matrix products with many rows
std::span<const KernelEntry> plain_rows();           // convolutions and products of little work
std::span<const KernelEntry> patch_rows();           // convolutions whose taps read one patch
std::span<const KernelEntry> vector_rows();          // products of a few rows
std::span<const KernelEntry> matmul_rows();
std::span<const KernelEntry> cublaslt_rows();  // products by NVIDIA's library
std::span<const KernelEntry> cudnn_rows();     // convolutions by NVIDIA's library
std::span<const KernelEntry> attention_rows();
std::span<const KernelEntry> pointwise_rows();
std::span<const KernelEntry> spatial_rows();   // pooling, resizing
std::span<const KernelEntry> reduce_rows();    // reductions, softmax, layer normalization
std::span<const KernelEntry> movement_rows();  // everything that only moves data

std::span<const KernelEntry> cuda_kernels();  // all of them

// Rows that compute two nodes.
std::span<const KernelEntry> product_sum_rows();
std::span<const KernelEntry> product_cast_rows();
std::span<const KernelEntry> vector_cast_rows();
std::span<const KernelEntry> product_split_rows();  // a product whose columns are several tensors
std::span<const KernelEntry> pipeline_split_rows();
std::span<const KernelEntry> layer_norm_cast_rows();
std::span<const KernelEntry> conv_mean_rows();  // a convolution and the mean of its pixels
std::span<const KernelEntry> plain_sum_rows();
std::span<const KernelEntry> plain_split_rows();
std::span<const KernelEntry> pipeline_sum_rows();
std::span<const KernelEntry> depthwise_product_rows();  // a depthwise convolution and the 1x1 behind it
std::span<const KernelEntry> pooled_conv_rows();        // a first layer and the max pool behind it

std::span<const KernelEntry> cuda_fused_kernels();  // all of them

}  // namespace blade::backends::cuda
