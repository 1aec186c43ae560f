// The tile shapes of the implicit-product convolution that are compiled, as the host side sees them.
#pragma once

#include <span>

#include "backends/cuda/kernel_params.h"

namespace blade::backends::cuda {

struct ConvVariant {
  int rows, columns;  // of the block's tile
  int warps_k;        // warps that share a tile's k
  int threads;
  int stage_bytes, sum_bytes;  // shared memory of one stage, and of the exchange of sums
  bool direct;                 // sums need no exchange unless the tile is split
  bool groups;                 // wgmma, and pixels by the tensor copy engine: compute capability 9.0 only; the kernel
                               // takes PixelMaps before its ConvParams
  bool plain;                  // results that need no more than bias, a curve and clamp have a path of their own
  bool floats;                 // operands and results are float32, else of 16 bits
  KernelForms kernels;
};

// Lists say how long they are, so that the rows made of them are as many: another length does not compile.
std::span<const ConvVariant, 5> conv_variants_mma_small();
std::span<const ConvVariant, 3> conv_variants_mma_large();
std::span<const ConvVariant, 9> conv_variants_wgmma();
std::span<const ConvVariant, 4> conv_variants_float();
// Products of what a depthwise convolution makes: the kernels take DepthwiseInputParams before their ConvParams.
std::span<const ConvVariant, 3> conv_variants_depthwise();

// What each warp of a tile for little work asks for.
inline constexpr int kMostRequests = 3;

// Tiles of positions whose taps read one patch of pixels, of up to kMostSlabs slabs of 64 channels a block.
inline constexpr int kMostSlabs = 16;
struct PatchVariant {
  int rows, columns, warps_k, split_log2, threads, sum_bytes;
  KernelForms kernels;  // take a TensorMap and PatchParams
};

std::span<const PatchVariant, 32> patch_variants();

// Tiles for little work with plain results, of up to kMostPlainChunks chunks a block.
inline constexpr int kMostPlainChunks = 16;
struct PlainVariant {
  int rows, columns, warps_k, split_log2, threads;
  int stage_bytes, sum_bytes;
  // Take PixelMaps and ConvParams; the second one for curves, and for columns that are several tensors.
  KernelForms kernels, more_kernels;
};

std::span<const PlainVariant, 44> plain_variants();

// Two 1x1 convolutions as one launch: clusters for kPairRows pixels.
inline constexpr int kPairRows = 32, kMostPairChunks = 4;
struct PairVariant {
  int cluster, columns;  // blocks, channels of the first convolution a block
  int channels;          // of the second
  int threads;
  // Shared memory of one chunk; of sums and the second one's pixels, in chunks' place; of the rest.
  int stage_bytes, kept_bytes, more_bytes;
  KernelForms kernels;  // take PixelMaps and two ConvParams
};

std::span<const PairVariant, 7> pair_variants();

// Tiles of kMeanRows pixels, which are all, whose mean is the result.
inline constexpr int kMeanRows = 64, kMostMeanChunks = 16;
struct MeanVariant {
  int columns, threads, stage_bytes, sum_bytes;
  KernelForms kernels;  // take PixelMaps and ConvParams
};

std::span<const MeanVariant, 3> mean_variants();

// The tiles of the pipeline for many pixels.
struct PipelineVariant {
  int rows, columns;  // of a tile
  int group_rows;     // of one group of warps
  int blocks;         // beside each other on an SM
  int threads;
  int stage_bytes, result_bytes;  // shared memory of one stage, and of one group's results
  KernelForms kernels;            // take PipelineMaps and ConvParams
};

std::span<const PipelineVariant, 8> pipeline_variants();

template <class Tile>
ConvVariant describe_variant(const KernelForms& kernels) {
  return {Tile::kRows,       Tile::kColumns,  Tile::kWarpsK, Tile::kThreads,
          Tile::kStageBytes, Tile::kSumBytes, Tile::kDirect, Tile::kGroups,
          Tile::kPlain,      Tile::kFloats,   kernels};
}

}  // namespace blade::backends::cuda
