// Small tiles on mma.sync whose pixels come by the tensor copy engine: fewer rows than a warp group takes.
#define BLADE_CONV_GROUPS
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK>
ConvVariant variant() {
  using Tile = ConvTile<kRows, kColumns, kWarpsM, kWarpsN, kWarpsK, false, true>;
  return describe_variant<Tile>(reinterpret_cast<const void*>(&conv_tensor_kernel<Tile>));
}

}  // namespace

std::span<const ConvVariant> conv_variants_tensor() {
  static const ConvVariant variants[] = {variant<32, 32, 2, 1, 4>(), variant<32, 64, 2, 2, 2>(),
                                         variant<64, 32, 2, 1, 4>()};
  return variants;
}

}  // namespace blade::backends::cuda
