// A convolution or matrix product as the implicit-product kernels see it: rows of pixels against packed weights.
#pragma once

#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/conv_variants.h"

namespace blade::backends::cuda {

// A convolution is also the sum of two: itself, and the 1x1 convolution (the addend) that the request's producer is.
// Then the depth goes on with the addend's.
struct ConvProblem {
  int64_t images = 1, height = 1, width = 1, in_channels = 0;
  int64_t kernel_h = 1, kernel_w = 1, out_height = 1, out_width = 1, channels = 0;
  int64_t stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
  bool weights_by_channel = false;  // [channels, k] instead of [k, channels]
  int64_t addend_channels = 0, addend_stride_h = 1, addend_stride_w = 1;
  int64_t element_bytes = 2;

  int64_t rows() const { return images * out_height * out_width; }
  int64_t depth() const { return kernel_h * kernel_w * in_channels; }
  int64_t piece() const { return 16 / element_bytes; }  // elements of 16 bytes; a chunk is 8 of them
  int64_t own_chunks() const { return ceil_div(depth(), 8 * piece()); }
  int64_t chunks() const { return own_chunks() + ceil_div(addend_channels, 8 * piece()); }
  int64_t padded_channels() const { return ceil_div(channels, int64_t{128}) * 128; }
};

// Operands in float16 or bfloat16 (or float32 where `floats`), constant weights; Conv with one or two spatial dims and
// no groups, or MatMul with one right operand for all batches. The reason where not.
Support supports_conv_problem(const KernelRequest& request, bool floats = false);
// "no" where the kernel is not compiled for the type of the request's operands.
Support supports_form(const KernelRequest& request, const KernelForms& kernels);
const void* form_of(const KernelRequest& request, const KernelForms& kernels);
ConvProblem conv_problem(const KernelRequest& request);  // only for what is supported
// The same for a sum of two convolutions whose images the tensor copy engine reads.
Support supports_conv_sum(const KernelRequest& request);
ConvProblem addend_problem(const KernelRequest& request);  // the addend by itself
bool is_plain_product(const ConvProblem& problem);         // a 1x1 convolution without strides and padding
const ir::PointwiseProgram& epilogue_of(const KernelRequest& request);

// What all implicit-product kernels alike need: the shape (not yet tiles and stages), packed weights and the epilogue.
ConvParams conv_params(const ConvProblem& problem, int64_t column_tiles);
struct ConvOperands {
  std::shared_ptr<const DeviceBuffer> weights, addend_weights;
  Epilogue epilogue;
  size_t x = 0;  // the kernel's input that is the image; the addend's is input 0
  uint32_t unread_inputs = 0;
  // Fills in what a run decides.
  ConvParams bind(ConvParams params, const KernelArgs& args) const;
};
Result<ConvOperands> conv_operands(const KernelRequest& request, const ConvProblem& problem, PackCache& packs);
// Microseconds that reading and writing every operand once takes.
double memory_us(const KernelRequest& request);

// A launch of blocks that load all of their depth at once, as predictions see it.
struct DeepBlocks {
  int64_t blocks, shared_bytes;       // shared memory: of one block
  double start_us, busy_us, wait_us;  // of a launch; of a block: its SM is busy; it is by itself
  int split_log2, warps_k;
};
double predict_deep_blocks_us(const KernelRequest& request, const DeepBlocks& deep);

// One compiled tile with the blocks of 2^split_log2 sharing a tile's depth.
Support supports_variant(const KernelRequest& request, const ConvVariant& variant, int split_log2);
Support supports_variant_sum(const KernelRequest& request, const ConvVariant& variant, int split_log2);
// The request is a cast to float32, its producer the product.
Support supports_cast_of_product(const KernelRequest& request);
Support supports_variant_cast(const KernelRequest& request, const ConvVariant& variant, int split_log2);
// The request splits the columns of the product that its producer is into equal parts.
Support supports_split_of_product(const KernelRequest& request);
Support supports_variant_split(const KernelRequest& request, const ConvVariant& variant, int split_log2);
// How a problem is cut into blocks.
struct VariantLaunch {
  LaunchShape shape;
  ConvParams params;
};
VariantLaunch variant_launch(const KernelRequest& request, const ConvVariant& variant, int split_log2);
double predict_variant_us(const KernelRequest& request, const ConvVariant& variant, int split_log2);
Result<std::unique_ptr<Kernel>> create_variant(const KernelRequest& request, PackCache& packs,
                                               const ConvVariant& variant, int split_log2, bool float_result = false,
                                               int64_t parts = 1);

}  // namespace blade::backends::cuda
