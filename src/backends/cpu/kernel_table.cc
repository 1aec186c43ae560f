// The table of CPU kernels: the rows of all families, in the order in which they are tried.
#include <vector>

#include "backends/cpu/kernel_families.h"

namespace blade::backends {
namespace {

std::vector<KernelEntry> join(std::initializer_list<std::span<const KernelEntry>> families) {
  std::vector<KernelEntry> table;
  for (const auto rows : families) table.insert(table.end(), rows.begin(), rows.end());
  return table;
}

}  // namespace

std::span<const KernelEntry> cpu_kernels() {
  static const std::vector<KernelEntry> table = join({cpu::depthwise_rows(),
                                                      cpu::conv_rows(),
                                                      cpu::matmul_rows(),
                                                      cpu::attention_rows(),
                                                      cpu::onednn_rows(),
                                                      cpu::channel_scale_rows(),
                                                      cpu::pointwise_rows(),
                                                      cpu::cast_rows(),
                                                      cpu::pool_rows(),
                                                      cpu::reduce_rows(),
                                                      cpu::normalization_rows(),
                                                      cpu::moments_rows(),
                                                      cpu::joining_rows(),
                                                      cpu::slicing_rows(),
                                                      cpu::transpose_rows(),
                                                      cpu::indexing_rows(),
                                                      cpu::resize_rows(),
                                                      cpu::resample_rows(),
                                                      cpu::shape_rows(),
                                                      cpu::segment_rows(),
                                                      cpu::window_rows(),
                                                      cpu::matrix_diag_rows(),
                                                      cpu::block_lstm_rows(),
                                                      cpu::typed_rows(),
                                                      cpu::selection_rows(),
                                                      cpu::detection_rows(),
                                                      cpu::combined_suppression_rows(),
                                                      cpu::list_rows(),
                                                      cpu::signal_rows(),
                                                      cpu::recurrence_rows(),
                                                      cpu::few_channel_conv_rows(),
                                                      cpu::streamed_conv_rows(),
                                                      cpu::conv3d_tiles_rows()});
  return table;
}

std::span<const KernelEntry> cpu_fused_kernels() {
  static const std::vector<KernelEntry> table =
      join({cpu::separable_rows(), cpu::bottleneck_rows(), cpu::conv_pool_rows(), cpu::conv_concat_rows(),
            cpu::conv_to_f32_rows(), cpu::streamed_conv_to_f32_rows(), cpu::matmul_to_f32_rows(),
            cpu::attention_to_bf16_rows(), cpu::normalization_to_bf16_rows(), cpu::resize_to_bf16_rows()});
  return table;
}

}  // namespace blade::backends
