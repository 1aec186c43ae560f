// Tiles of products whose pixels are made by a depthwise convolution on the way into shared memory.
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK>
ConvVariant variant() {
  using Tile = ConvTile<kRows, kColumns, kWarpsM, kWarpsN, kWarpsK, false>;
  return describe_variant<Tile>(reinterpret_cast<const void*>(&conv_depthwise_kernel<Tile>));
}

}  // namespace

std::span<const ConvVariant, 3> conv_variants_depthwise() {
  static const ConvVariant variants[] = {variant<32, 32, 2, 1, 4>(), variant<32, 64, 2, 2, 2>(),
                                         variant<64, 64, 4, 2, 1>()};
  return variants;
}

}  // namespace blade::backends::cuda
