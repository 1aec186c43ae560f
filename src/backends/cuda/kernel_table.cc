// The table of CUDA kernels: the rows of all families, in the order in which they are tried.
#include <vector>

#include "backends/cuda/kernel_families.h"

namespace blade::backends::cuda {
namespace {

std::vector<KernelEntry> join_rows() {
  std::vector<KernelEntry> table;
  for (const auto rows : {pipeline_rows(), matmul_rows(), conv_rows(), pointwise_rows(), spatial_rows(), reduce_rows(),
                          movement_rows()}) {
    table.insert(table.end(), rows.begin(), rows.end());
  }
  return table;
}

}  // namespace

std::span<const KernelEntry> cuda_kernels() {
  static const std::vector<KernelEntry> table = join_rows();
  return table;
}

}  // namespace blade::backends::cuda
