// Large tiles on mma.sync: the most arithmetic a byte.
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
        return reinterpret_cast<const void*>(&conv_kernel<Tile<T, kRows, kColumns, kWarpsM, kWarpsN, kWarpsK>>);
      }));
}

}  // namespace

std::span<const ConvVariant, 3> conv_variants_mma_large() {
  static const ConvVariant variants[] = {
      variant<128, 32, 4, 1, 1>(),
      variant<128, 64, 4, 2, 1>(),
      variant<128, 128, 4, 2, 1, true>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
