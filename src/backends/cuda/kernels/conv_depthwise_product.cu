// Tiles of products whose pixels are made by a depthwise convolution on the way into shared memory.
#include "backends/cuda/kernels/conv_kernel.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <class T, int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK>
using Tile = ConvTile<T, kRows, kColumns, kWarpsM, kWarpsN, kWarpsK, false>;

template <int kRows, int kColumns, int kWarpsM, int kWarpsN, int kWarpsK, bool kBFloat16 = false>
ConvVariant variant() {
  return describe_variant<Tile<__half, kRows, kColumns, kWarpsM, kWarpsN, kWarpsK>>(
      half_forms<kBFloat16>([&]<class T>() {
        return reinterpret_cast<const void*>(
            &conv_depthwise_kernel<Tile<T, kRows, kColumns, kWarpsM, kWarpsN, kWarpsK>>);
      }));
}

}  // namespace

std::span<const ConvVariant, 3> conv_variants_depthwise() {
  static const ConvVariant variants[] = {variant<32, 32, 2, 1, 4>(), variant<32, 64, 2, 2, 2, true>(),
                                         variant<64, 64, 4, 2, 1>()};
  return variants;
}

}  // namespace blade::backends::cuda
