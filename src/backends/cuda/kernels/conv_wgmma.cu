// Tiles on wgmma, the warp-group instructions of compute capability 9.0, with pixels by the tensor copy engine.
#define BLADE_CONV_GROUPS
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <class T, int kRows, int kColumns, int kWarpsM, int kWarpsK>
using Tile = ConvTile<T, kRows, kColumns, kWarpsM, 1, kWarpsK, true>;

template <int kRows, int kColumns, int kWarpsM, int kWarpsK, bool kBFloat16 = false>
ConvVariant variant() {
  return describe_variant<Tile<__half, kRows, kColumns, kWarpsM, kWarpsK>>(half_forms<kBFloat16>([&]<class T>() {
    return reinterpret_cast<const void*>(&conv_tensor_kernel<Tile<T, kRows, kColumns, kWarpsM, kWarpsK>>);
  }));
}

}  // namespace

std::span<const ConvVariant, 9> conv_variants_wgmma() {
  static const ConvVariant variants[] = {
      variant<64, 32, 1, 1, true>(),   variant<64, 32, 1, 2>(),        variant<64, 64, 1, 1, true>(),
      variant<64, 64, 1, 2>(),         variant<64, 128, 1, 1, true>(), variant<128, 64, 2, 1>(),
      variant<128, 128, 2, 1, true>(), variant<256, 64, 4, 1>(),       variant<256, 128, 4, 1>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
