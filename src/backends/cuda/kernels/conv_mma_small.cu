// Small tiles on mma.sync: many blocks for little work.
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

std::span<const ConvVariant, 5> conv_variants_mma_small() {
  static const ConvVariant variants[] = {
      variant<32, 32, 2, 1, 4>(), variant<32, 64, 2, 2, 2>(), variant<64, 32, 4, 1, 2>(),
      variant<64, 32, 2, 1, 4>(), variant<64, 64, 4, 2, 1>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
