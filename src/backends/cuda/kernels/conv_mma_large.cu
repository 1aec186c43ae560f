// Large tiles on mma.sync: the most arithmetic a byte.
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK>
ConvVariant variant() {
  using Tile = ConvTile<kRows, kColumns, kWarpsM, kWarpsN, kWarpsK, false>;
  return describe_variant<Tile>(reinterpret_cast<const void*>(&conv_kernel<Tile>));
}

}  // namespace

std::span<const ConvVariant, 3> conv_variants_mma_large() {
  static const ConvVariant variants[] = {
      variant<128, 32, 4, 1, 1>(),
      variant<128, 64, 4, 2, 1>(),
      variant<128, 128, 4, 2, 1>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
