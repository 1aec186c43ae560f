// Tiles for float32 operands on the tensor cores: three products of TF32 for one.
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK>
ConvVariant variant() {
  using Tile = ConvTile<float, kRows, kColumns, kWarpsM, kWarpsN, kWarpsK, false>;
  return describe_variant<Tile>({.float32 = reinterpret_cast<const void*>(&conv_kernel<Tile>)});
}

}  // namespace

std::span<const ConvVariant, 4> conv_variants_float() {
  static const ConvVariant variants[] = {
      variant<32, 32, 2, 1, 4>(),
      variant<64, 64, 4, 2, 1>(),
      variant<128, 64, 4, 2, 1>(),
      variant<128, 128, 4, 2, 1>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
