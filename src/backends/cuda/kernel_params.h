// Plain structs that the host side fills and the kernels take by value.
#pragma once

#include <cstdint>

namespace blade::backends::cuda {

// Division of 0 <= n < 2^31 by a number known before the launch: a multiplication and a shift.
struct FastDivisor {
  uint32_t divisor = 1, multiplier = 1, shift = 0;
  FastDivisor() = default;
  explicit FastDivisor(int64_t d) : divisor(static_cast<uint32_t>(d)) {
    while ((uint64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor)) / divisor + 1);
  }
};

// Element types that kernels load and store. Arithmetic is in float, but for programs on integers (and bool).
enum class ElementType : uint8_t {
  kFloat32,
  kFloat16,
  kBFloat16,
  kBool,
  kInt32,
  kInt64,
  kInt8,
  kInt16,
  kUInt8,
  kUInt16,
  kUInt32
};

// One kernel's forms for types of operands; nullptr where it is not compiled for one.
struct KernelForms {
  const void *float32 = nullptr, *float16 = nullptr, *bfloat16 = nullptr;
  const void* of(ElementType type) const {
    return type == ElementType::kFloat16 ? float16 : type == ElementType::kBFloat16 ? bfloat16 : float32;
  }
};

inline constexpr int kMaxProgramCode = 32;
inline constexpr int kMaxProgramInputs = 8;

// An ir::PointwiseProgram: `op` is the number of an ir::PointwiseOp.
struct ProgramInstr {
  uint8_t op;
  int8_t a, b, c;
  float alpha, beta;
};
struct Program {
  int num_inputs = 0, num_code = 0;
  ProgramInstr code[kMaxProgramCode];
};

// What is done to each finished element of a matrix kernel, in this order: bias, residual, activation, clamp, program.
struct EpilogueParams {
  enum class Activation : uint8_t { kNone, kLeakyRelu, kPRelu, kSigmoid, kSwish, kHardSwish, kGeluErf, kGeluTanh };
  enum class Kind : uint8_t { kScalar, kChannels, kFull };
  struct Operand {
    const void* data;
    Kind kind;
    ElementType type;
  };
  // What every launch reads comes first and close together: a kernel's parameters are fetched line by line.
  const float* bias = nullptr;     // one a channel, padded with zeros to whole tiles
  const void* residual = nullptr;  // shaped and typed like the output
  float lo = 0, hi = 0;
  const float* slopes = nullptr;  // of kPRelu, like bias
  float slope = 0;                // of kLeakyRelu, and the factor of kHardSwish
  Activation activation = Activation::kNone;
  bool has_clamp = false;
  bool has_program = false;  // input 0 is the element, input k >= 1 is operands[k - 1]
  Operand operands[kMaxProgramInputs - 1];
  Program program;
};

inline constexpr int kMostParts = 3;  // tensors that the columns of one product are

// Convolution as a matrix product: rows are output pixels, columns output channels, k runs over taps and channels in
// pieces of 16 bytes, 8 pieces a chunk. Everything NHWC.
struct ConvParams {
  const void* x = nullptr;
  const void* weights = nullptr;  // [chunk][channel][128 bytes of k], pieces of a channel XORed by channel & 7
  void* y = nullptr;
  int rows = 0, channels = 0, channels_padded = 0;
  int height = 0, width = 0, in_channels = 0;
  int pieces_per_tap = 0, kernel_h = 0, kernel_w = 0;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
  FastDivisor out_width, out_pixels, taps_w, tap_pieces, column_tiles;
  FastDivisor part_channels;  // of one tensor of the result; no tile has channels of two
  int chunks = 0;
  // The last chunks may be of an addend: a 1x1 convolution of another image, added to the result. Its weights are
  // addressed by the chunk's number like the others.
  int own_chunks = 0;
  int addend_stride_h = 1, addend_stride_w = 1;
  const void* addend_weights = nullptr;
  int split_log2 = 0;  // the blocks of a cluster share the chunks of one tile
  int stages = 0;
  bool y_is_float = false;
  int tiles = 0;                      // of all blocks, where a block takes more than one
  void* more_y[kMostParts - 1] = {};  // where the result's columns are several tensors, y the first
  EpilogueParams epilogue;
};

// A convolution whose taps read one patch: positions are counted over rows of patch_width.
struct PatchParams {
  ConvParams conv;
  FastDivisor patch_width, image_tiles;  // tiles of one image
  int out_height = 0;
  int slabs = 0;  // of 64 input channels
  int stride_h_log2 = 0, stride_w_log2 = 0;
  int box_bytes = 0, plane_bytes = 0;  // of one plane of a patch: what a request brings, and rounded up
};

// A depthwise convolution whose results are the pixels of a product.
struct DepthwiseInputParams {
  const void* weights = nullptr;  // half [kernel_h, kernel_w, channels]
  const float* bias = nullptr;
  bool has_clamp = false;
  float lo = 0, hi = 0;
  FastDivisor out_width, out_pixels;
  int height = 0, width = 0, kernel_h = 0, kernel_w = 0;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
};

// A CUtensorMap, whose contents only the driver knows.
struct alignas(128) TensorMap {
  uint64_t opaque[16] = {};
};

// Pixels under taps, of the image and of the addend's.
struct PixelMaps {
  TensorMap image, addend;
};

// What a pipeline's copies go by: pixels, and boxes of 64 channels of the residual and the result.
struct PipelineMaps {
  PixelMaps pixels;
  TensorMap residual, results[kMostParts];
};

// A first layer: few input channels (at most 4), held as 4 in shared memory; k runs over taps, a row of taps padded to
// whole groups of 4.
struct StemParams {
  const void* x = nullptr;
  const void* weights = nullptr;  // half [channels_padded][kernel_h * row_k], rows 8 halves longer
  void* y = nullptr;
  bool x_is_float = false;
  int images = 0, height = 0, width = 0, in_channels = 0;
  int out_height = 0, out_width = 0, channels = 0;
  int kernel_h = 0, row_k = 0;  // 4 * taps of a row, rounded up to 16
  int stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
  int tiles = 0, patch_height = 0;
  FastDivisor tiles_y, tiles_x, patch_width;
  EpilogueParams epilogue;
};

// A first layer and the max pool that reads it, as tiles of pooled pixels. `conv` counts tiles of these; patch_height
// and patch_width are of all that a tile's windows see.
struct PooledStemParams {
  StemParams conv;
  int height = 0, width = 0;  // pooled
  int window_h = 0, window_w = 0, stride_h = 1, stride_w = 1, pad_top = 0, pad_left = 0;
  int tile_height = 0;
  FastDivisor tile_width;  // pooled pixels
  int conv_pixels = 0;     // of a tile
  FastDivisor conv_width;  // of a tile
};

inline constexpr int kMaxRank = 8;

// Positions of a box and the strides, in elements, of what is read and written there.
struct StridedCopyParams {
  const void* from = nullptr;
  void* to = nullptr;
  int rank = 0;
  int64_t count = 0;
  FastDivisor dims[kMaxRank];
  int64_t from_strides[kMaxRank] = {}, to_strides[kMaxRank] = {};
  int64_t from_offset = 0, to_offset = 0;
  int unit = 1;  // bytes of what counts as an element here: 1, 2, 4, 8 or 16
};

inline constexpr int kMostCopies = 12;

// Copies that do not depend on each other.
struct StridedCopiesParams {
  int count = 0;
  int first_block[kMostCopies] = {};
  StridedCopyParams copies[kMostCopies];
};

// A program on int32, int64 and bool.
struct PointwiseParams {
  Program program;
  const void* inputs[kMaxProgramInputs] = {};
  ElementType input_types[kMaxProgramInputs] = {};
  void* output = nullptr;
  ElementType output_type = ElementType::kFloat32;
  int64_t count = 0;
  ElementType whole = ElementType::kInt64;  // what integer results wrap to
  int rank = 0;
  FastDivisor dims[kMaxRank];
  int64_t strides[kMaxProgramInputs][kMaxRank] = {};
};

// out[m, n] = sum over k of a[m, k] * b[k, n], batched; strides in elements.
struct GemmParams {
  const void* a = nullptr;
  const void* b = nullptr;
  void* y = nullptr;
  int m = 0, n = 0, k = 0;
  int64_t a_row = 0, a_column = 0, b_row = 0, b_column = 0;
  int batch_rank = 0;
  FastDivisor batch_dims[kMaxRank];
  int64_t a_batch[kMaxRank] = {}, b_batch[kMaxRank] = {};
  EpilogueParams epilogue;
};

// Any convolution or transposed convolution, weights as in the graph.
struct DirectConvParams {
  const void* x = nullptr;
  const void* w = nullptr;
  void* y = nullptr;
  int64_t count = 0;  // output elements
  int in[3] = {1, 1, 1}, out[3] = {1, 1, 1}, size[3] = {1, 1, 1};
  int stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1}, pad[3] = {0, 0, 0};
  int in_channels = 0, channels = 0, group_in = 0, group_out = 0;
  EpilogueParams epilogue;
};

// One filter a channel, 2 spatial dims, channels in units of a thread's vector.
struct DepthwiseParams {
  const void* x = nullptr;
  const void* w = nullptr;  // [kernel_h, kernel_w, channels]
  void* y = nullptr;
  int units = 0;  // outputs / channels of a vector
  FastDivisor channel_units, out_width, out_height;
  int height = 0, width = 0, channels = 0, kernel_h = 0, kernel_w = 0;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
  EpilogueParams epilogue;
};

struct PoolParams {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t count = 0;  // output elements
  int in[3] = {1, 1, 1}, size[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, pad[3] = {0, 0, 0};
  FastDivisor out[3], units;  // units: a thread's channels, in a pixel
  int channels = 0;
  bool is_max = true;
};

enum class ReduceOp : uint8_t { kSum, kMean, kProd, kMax, kMin };

// [outer, reduced, inner] -> [outer, gridDim.y, inner], each a part of the reduced dim. A mean is a scaled sum.
struct ReduceParams {
  const void* x = nullptr;
  void* y = nullptr;
  int reduced = 0, inner = 0;
  int lanes_log2 = 0;        // neighbouring outputs of a block
  FastDivisor inner_blocks;  // blocks that share an outer index
  float scale = 1;
  ReduceOp op = ReduceOp::kSum;
  ElementType result_type = ElementType::kFloat32;
};

struct ArgReduceParams {
  const void* x = nullptr;
  void* y = nullptr;
  int outer = 0, reduced = 0, inner = 0;
  bool is_max = true, index_is_64 = true;
  ElementType type = ElementType::kFloat32;
};

// Rows of a matrix: softmax or layer normalization.
struct RowParams {
  const void* x = nullptr;
  const void* scale = nullptr;
  const void* offset = nullptr;
  void* y = nullptr;
  int64_t rows = 0;
  int columns = 0;
  bool log = false;
  float epsilon = 0;
  ElementType type = ElementType::kFloat32, scale_type = ElementType::kFloat32;
  bool has_constant_scale = false;  // and offset
};

// y[o, i, j] = params[o, indices[o, i], j]; an index outside gives zeros.
struct GatherParams {
  const void* params = nullptr;
  const void* indices = nullptr;
  void* y = nullptr;
  int64_t count = 0;  // of units of `unit` bytes in y
  int axis_size = 0;
  bool index_is_64 = false;
  FastDivisor inner, index_count, outer_per_batch;
  int unit = 1;
};

// y[o, d, i] = indices[o, i] == d ? on : off, elements of `unit` bytes.
struct OneHotParams {
  const void* indices = nullptr;
  const void *on = nullptr, *off = nullptr;
  void* y = nullptr;
  int64_t count = 0;
  FastDivisor depth, inner;
  bool index_is_64 = false;
  int unit = 1;
};

struct ResizeParams {
  const void* x = nullptr;
  void* y = nullptr;
  int64_t count = 0;
  int in_height = 0, in_width = 0, out_height = 0, out_width = 0, channels = 0;
  float scale_y = 1, scale_x = 1;
  bool nearest = false, half_pixel_centers = false, align_corners = false;
};

// Small pieces of work that one block does in one launch, from a table in memory: levels of entries that do not depend
// on each other, with a barrier between levels.
enum class SmallKind : uint8_t { kCopy, kProgram, kIntegers, kCast, kGather, kReduce, kProduct };

inline constexpr int kSmallThreads = 1024;
inline constexpr int kSmallSerialDepth = 16;  // longer sums are divided among a warp

struct SmallInput {
  const void* data = nullptr;
  int32_t offset = 0;  // in elements, as are strides
  int32_t type = 0;    // ElementType; of casts an ir::DType
};

// One element a thread, or a warp where depth > kSmallSerialDepth. Behind it stand the inputs, then FastDivisor
// dims[rank], int32_t strides[num_inputs + 1][rank] (the output's last) and ProgramInstr code[num_code].
struct SmallEntry {
  SmallKind kind = SmallKind::kCopy;
  uint8_t rank = 0, num_inputs = 0, num_code = 0;
  uint8_t output_type = 0;
  uint8_t unit = 0;  // of kCopy and kGather: bytes that move together
  ElementType whole = ElementType::kInt64;
  ReduceOp op = ReduceOp::kSum;
  int32_t count = 0;
  int32_t depth = 1;  // of sums; of kGather the size of the axis
  int32_t depth_strides[2] = {};
  float scale = 1;
  int32_t first_warp = 0;  // of its level's
  int32_t kernel = 0;      // its number among the joined ones
  int32_t output_offset = 0;
  void* output = nullptr;
};

struct SmallParams {
  const void* table = nullptr;  // int32_t first_entry[levels + 1], warps[levels], entry_at[entries], padding; entries
  int bytes = 0, levels = 0, entries = 0;
  int count = 0;  // entries of later kernels are left out
};

}  // namespace blade::backends::cuda
