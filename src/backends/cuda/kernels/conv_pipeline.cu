// The tiles of the pipeline that are compiled: where groups take turns, and where they share a tile.
#include "backends/cuda/kernels/conv_pipeline.cuh"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {
namespace {

template <int kGroupRows, int kColumns, bool kShared, int kBlocks>
PipelineVariant variant() {
  using Tile = PipelineTile<__half, kGroupRows, kColumns, kShared, kBlocks>;
  return {Tile::kRows,
          Tile::kColumns,
          kGroupRows,
          kBlocks,
          kPipelineThreads,
          Tile::kStageBytes,
          Tile::kResultBytes,
          half_forms([&]<class T>() {
            using Typed = PipelineTile<T, kGroupRows, kColumns, kShared, kBlocks>;
            return reinterpret_cast<const void*>(&conv_pipeline_kernel<Typed>);
          })};
}

}  // namespace

std::span<const PipelineVariant, 8> pipeline_variants() {
  static const PipelineVariant variants[] = {
      variant<64, 64, false, 2>(),   variant<64, 128, false, 2>(), variant<128, 64, false, 2>(),
      variant<128, 128, false, 1>(), variant<64, 128, true, 1>(),  variant<64, 256, true, 1>(),
      variant<128, 128, true, 1>(),  variant<128, 64, true, 1>(),
  };
  return variants;
}

}  // namespace blade::backends::cuda
