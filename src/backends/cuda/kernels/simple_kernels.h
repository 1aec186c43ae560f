// The kernels beside the implicit-product convolution, by address: the host side launches them with the structs of
// kernel_params.h.
#pragma once

#include "backends/cuda/kernel_params.h"

namespace blade::backends::cuda {

inline constexpr int kSimpleThreads = 256;
inline constexpr int kStemThreads = 256, kStemTileHeight = 8, kStemTileWidth = 16, kStemColumns = 64;
// Of pooled_stem_groups_kernel(): threads, pixels that a group multiplies at once, patches under way.
inline constexpr int kStemGroupThreads = 512, kGroupPixels = 64, kStemGroupSlots = 2;
inline constexpr int kStemLineBytes = kStemTileHeight * kStemTileWidth * kStemColumns * 2;  // a tile's results
inline constexpr int kGemmTile = 64;
inline constexpr int kDepthwiseWidth = 4, kDepthwiseThreads = 128;

// Matrix products of up to kMostVectorRows rows; a block kVectorColumns channels.
inline constexpr int kMostVectorRows = 4, kVectorColumns = 8;
// ConvParams; plain: results of no more than bias, residual and clamp.
const void* vector_product_kernel(ElementType type, bool plain);

// Softmax and arg-reductions that do not depend on each other, in one launch.
inline constexpr int kMostBeside = 4;
struct RowsBesideParams {
  struct Part {
    bool is_arg_reduce = false;
    RowParams softmax;
    ArgReduceParams arg_reduce;
  };
  int count = 0;
  int first_block[kMostBeside + 1] = {};  // of each part; behind the last, all blocks
  Part parts[kMostBeside];
};
const void* rows_beside_kernel();

const void* stem_kernel(ElementType type);
const void* pooled_stem_kernel(ElementType type,
                               int fragments);  // PooledStemParams; a warp takes 1 or 2 times 16 pixels at once
const void* pooled_stem_groups_kernel(ElementType type, int kernel_h, int row_k);  // the same
const void* direct_conv_kernel(ElementType type, bool transposed);                 // a thread an element
// DepthwiseParams; a thread kDepthwiseWidth channels of a pixel. window: the kernel's size where it is square and 3 or
// 5, else 0.
const void* depthwise_kernel(ElementType type, int window);
const void* gemm_kernel(ElementType type);           // a block a kGemmTile x kGemmTile tile
const void* implicit_gemm_kernel(ElementType type);  // DirectConvParams, 2 spatial dims, no groups
const void* vector_program_kernel(int width);        // VectorProgramParams; 4 or 1 elements of a unit
const void* pointwise_elements_kernel();             // PointwiseParams, as the next
const void* pointwise_integers_kernel();
const void* pool_kernel(ElementType type, bool vectors);  // vectors: a thread 8 channels of 16 bits
const void* reduce_kernel(ElementType type);              // of what is read
const void* arg_reduce_kernel();                          // a block an output
const void* softmax_kernel();                             // a block a row
const void* layer_norm_kernel();
const void* strided_copies_kernel();
const void* gather_kernel(int element_bytes);
const void* one_hot_kernel();
const void* resize_kernel(ElementType type);
const void* small_work_kernel();  // SmallParams; one block of kSmallThreads
const void*
cast_kernel();  // (const void* from, void* to, int64_t count, int from_type, int to_type): ir::DType numbers
// (const void* from, void* to, int64_t count) between float32, float16 and bfloat16, 8 elements a thread; nullptr for
// others.
const void* vector_cast_kernel(ElementType from, ElementType to);

}  // namespace blade::backends::cuda
