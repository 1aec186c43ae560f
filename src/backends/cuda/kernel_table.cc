// The tables of CUDA kernels: the rows of all families, in the order in which they are tried.
#include <initializer_list>
#include <vector>

#include "backends/cuda/kernel_families.h"

namespace blade::backends::cuda {
namespace {

std::vector<KernelEntry> join_rows(std::initializer_list<std::span<const KernelEntry>> families) {
  std::vector<KernelEntry> table;
  for (const auto rows : families) table.insert(table.end(), rows.begin(), rows.end());
  return table;
}

}  // namespace

std::span<const KernelEntry> cuda_kernels() {
  static const std::vector<KernelEntry> table =
      join_rows({pipeline_rows(), plain_rows(), patch_rows(), vector_rows(), matmul_rows(), stem_rows(),
                 transpose_conv_rows(), conv_rows(), cublaslt_rows(), cudnn_rows(), attention_rows(), pointwise_rows(),
                 spatial_rows(), reduce_rows(), movement_rows()});
  return table;
}

std::span<const KernelEntry> cuda_fused_kernels() {
  static const std::vector<KernelEntry> table =
      join_rows({pipeline_sum_rows(), plain_sum_rows(), plain_split_rows(), product_sum_rows(), product_cast_rows(),
                 vector_cast_rows(), product_split_rows(), pipeline_split_rows(), layer_norm_cast_rows(),
                 conv_mean_rows(), depthwise_product_rows(), pooled_conv_rows()});
  return table;
}

}  // namespace blade::backends::cuda
