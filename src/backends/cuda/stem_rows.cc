// Rows for first layers of image networks, alone and with the max pool behind them.
#include <algorithm>
#include <string>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

struct StemShape {
  StemParams params;
  int column_blocks = 0, shared_bytes = 0;
};

int64_t padded_row_k(int64_t kernel_w) { return ceil_div(kernel_w * 4, int64_t{16}) * 16; }

StemShape stem_shape(const ConvProblem& problem) {
  StemShape shape;
  StemParams& p = shape.params;
  p.images = static_cast<int>(problem.images);
  p.height = static_cast<int>(problem.height);
  p.width = static_cast<int>(problem.width);
  p.in_channels = static_cast<int>(problem.in_channels);
  p.out_height = static_cast<int>(problem.out_height);
  p.out_width = static_cast<int>(problem.out_width);
  p.channels = static_cast<int>(problem.channels);
  p.kernel_h = static_cast<int>(problem.kernel_h);
  p.row_k = static_cast<int>(padded_row_k(problem.kernel_w));
  p.stride_h = static_cast<int>(problem.stride_h);
  p.stride_w = static_cast<int>(problem.stride_w);
  p.pad_top = static_cast<int>(problem.pad_top);
  p.pad_left = static_cast<int>(problem.pad_left);
  const int tiles_y = ceil_div(p.out_height, kStemTileHeight), tiles_x = ceil_div(p.out_width, kStemTileWidth);
  const int patch_width = (kStemTileWidth - 1) * p.stride_w + p.row_k / 4;
  p.tiles = p.images * tiles_y * tiles_x;
  p.tiles_y = FastDivisor(tiles_y);
  p.tiles_x = FastDivisor(tiles_x);
  p.patch_height = (kStemTileHeight - 1) * p.stride_h + p.kernel_h;
  p.patch_width = FastDivisor(patch_width);
  shape.column_blocks = ceil_div(p.channels, kStemColumns);
  shape.shared_bytes =
      kStemLineBytes + kStemColumns * (p.kernel_h * p.row_k + 8) * 2 + p.patch_height * patch_width * 8;
  return shape;
}

Support supports_stem(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const int64_t channels = request.inputs[0].dims.back();
  if (channels > 4) return Support::no("has " + std::to_string(channels) + " input channels, takes at most 4");
  if (attrs.groups != 1 || attrs.strides.size() != 2) return Support::no("has groups or not 2 spatial dims");
  for (int64_t dilation : attrs.dilations) {
    if (dilation != 1) return Support::no("is dilated");
  }
  const ir::DType type = request.outputs[0].dtype;
  if (!is_constant(request, 1) || !is_half(type) || request.inputs[1].dtype != type) {
    return Support::no("needs constant weights and a result in float16 or bfloat16");
  }
  if (request.inputs[0].dtype != ir::DType::kFloat32 && request.inputs[0].dtype != type) {
    return Support::no("the input is neither float32 nor of the result's type");
  }
  const StemShape shape = stem_shape(conv_problem(request));
  if (static_cast<size_t>(shape.shared_bytes) + 1024 > request.device->info().shared_bytes_per_block) {
    return Support::no("the window is too large for shared memory");
  }
  return Epilogue::supports(request, attrs.epilogue, 2);
}

// [kh, kw, c, channels] to [padded channel][kh][kw * 4 + c], rows 8 halves longer.
Result<AlignedBuffer> pack_stem(const ir::Tensor& weights, const ConvProblem& problem, int column_blocks) {
  const int64_t row_k = padded_row_k(problem.kernel_w), pitch = problem.kernel_h * row_k + 8;
  const size_t bytes = static_cast<size_t>(column_blocks * kStemColumns * pitch) * 2;
  AlignedBuffer buffer = AlignedBuffer::allocate(bytes);
  if (buffer.data() == nullptr) return resource_exhausted("There is no memory to pack weights.");
  std::fill_n(buffer.data(), bytes, std::byte{0});
  int64_t at = 0;
  for (int64_t h = 0; h < problem.kernel_h; ++h) {
    for (int64_t w = 0; w < problem.kernel_w; ++w) {
      for (int64_t c = 0; c < problem.in_channels; ++c) {
        for (int64_t o = 0; o < problem.channels; ++o, ++at) {
          __builtin_memcpy(buffer.as<uint16_t>() + o * pitch + h * row_k + w * 4 + c, weights.data + at * 2, 2);
        }
      }
    }
  }
  return buffer;
}

// What a first layer keeps: packed weights of all its channels and the epilogue.
struct StemOperands {
  std::shared_ptr<const DeviceBuffer> weights;
  Epilogue epilogue;
};

Result<StemOperands> stem_operands(const KernelRequest& request, const ConvProblem& problem, int column_blocks,
                                   PackCache& packs) {
  StemOperands operands;
  BLADE_ASSIGN_OR_RETURN(operands.epilogue, Epilogue::create(request, epilogue_of(request), 2,
                                                             int64_t{column_blocks} * kStemColumns, packs));
  const ir::TensorPtr& weights = request.constants[1];
  BLADE_ASSIGN_OR_RETURN(operands.weights,
                         packs.get_on(*request.device, weights, "stem:" + std::to_string(problem.kernel_w),
                                      [&]() { return pack_stem(*weights, problem, column_blocks); }));
  return operands;
}

// Blocks that stay, as many as stand beside each other.
LaunchShape staying_blocks(const DeviceInfo& card, int tiles, int column_blocks, int shared_bytes) {
  LaunchShape shape;
  const int beside = static_cast<int>(card.shared_bytes_per_block) / (shared_bytes + 1024);
  const int most_blocks = std::max(1, card.multiprocessors * beside / column_blocks);
  shape.grid = dim3(static_cast<unsigned>(std::min(tiles, most_blocks)), static_cast<unsigned>(column_blocks));
  shape.threads = kStemThreads;
  shape.shared_bytes = shared_bytes;
  return shape;
}

Result<std::unique_ptr<Kernel>> create_stem(const KernelRequest& request, PackCache& packs) {
  const ConvProblem problem = conv_problem(request);
  StemShape stem = stem_shape(problem);
  BLADE_ASSIGN_OR_RETURN(const StemOperands operands, stem_operands(request, problem, stem.column_blocks, packs));
  stem.params.weights = operands.weights->data();
  stem.params.x_is_float = request.inputs[0].dtype == ir::DType::kFloat32;
  const LaunchShape shape =
      staying_blocks(request.device->info(), stem.params.tiles, stem.column_blocks, stem.shared_bytes);
  const void* kernel = stem_kernel(*element_type(request.outputs[0].dtype));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=, params = stem.params](const KernelArgs& args) {
        StemParams p = params;
        p.x = args.inputs[0];
        p.y = args.outputs[0];
        p.epilogue = operands.epilogue.bind(args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = operands.epilogue.in_place_inputs(),
       .unread_inputs = operands.epilogue.unread_inputs() | 1u << 1});
}

// --- with a max pool ---

// Tiles of pooled pixels that are offered; a warp takes `fragments` times 16 pixels of the convolution at once, 0:
// groups of four warps 64.
struct PooledTile {
  int height, width, fragments;
  bool in_groups() const { return fragments == 0; }
};
constexpr PooledTile kPooledTiles[] = {{7, 7, 2}, {4, 7, 1}, {2, 7, 1}, {4, 28, 0}, {7, 14, 0}, {2, 14, 0}};

struct PooledShape {
  PooledStemParams params;
  int column_blocks = 0, shared_bytes = 0;
};

PooledShape pooled_shape(const KernelRequest& request, const PooledTile& tile) {
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  const reference::Windows w = reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, attrs.window,
                                                       attrs.strides, {}, attrs.padding, attrs.explicit_pads);
  const StemShape stem = stem_shape(conv_problem(*request.producer));
  PooledShape shape;
  PooledStemParams& p = shape.params;
  p.conv = stem.params;
  p.height = static_cast<int>(w.dim[1].out);
  p.width = static_cast<int>(w.dim[2].out);
  p.window_h = static_cast<int>(w.dim[1].size);
  p.window_w = static_cast<int>(w.dim[2].size);
  p.stride_h = static_cast<int>(w.dim[1].stride);
  p.stride_w = static_cast<int>(w.dim[2].stride);
  p.pad_top = static_cast<int>(w.dim[1].pad_before);
  p.pad_left = static_cast<int>(w.dim[2].pad_before);
  p.tile_height = tile.height;
  p.tile_width = FastDivisor(tile.width);
  const int conv_height = (tile.height - 1) * p.stride_h + p.window_h;
  const int conv_width = (tile.width - 1) * p.stride_w + p.window_w;
  p.conv_pixels = conv_height * conv_width;
  p.conv_width = FastDivisor(conv_width);
  const int tiles_y = ceil_div(p.height, tile.height), tiles_x = ceil_div(p.width, tile.width);
  p.conv.tiles = p.conv.images * tiles_y * tiles_x;
  p.conv.tiles_y = FastDivisor(tiles_y);
  p.conv.tiles_x = FastDivisor(tiles_x);
  p.conv.patch_height = (conv_height - 1) * p.conv.stride_h + p.conv.kernel_h;
  const int patch_width = (conv_width - 1) * p.conv.stride_w + p.conv.row_k / 4;
  p.conv.patch_width = FastDivisor(patch_width);
  shape.column_blocks = stem.column_blocks;
  shape.shared_bytes = ceil_div(p.conv_pixels, 16) * 16 * kStemColumns * 2 +
                       kStemColumns * (p.conv.kernel_h * p.conv.row_k + 8) * 2 + p.conv.patch_height * patch_width * 8;
  return shape;
}

// The same for groups of four warps: rows of the convolution are as long as those of the patch, whose rows are kept
// apart by their parity.
PooledShape grouped_shape(const KernelRequest& request, const PooledTile& tile) {
  PooledShape shape = pooled_shape(request, tile);
  PooledStemParams& p = shape.params;
  const auto conv_width = static_cast<int>(p.conv_width.divisor);
  const int conv_height = p.conv_pixels / conv_width, positions = conv_width - 1 + p.conv.row_k / 8;
  p.conv_pixels = (conv_height - 1) * positions + conv_width;
  p.conv_width = FastDivisor(positions);
  p.conv.patch_width = FastDivisor(int64_t{2} * positions);
  const int covered = ceil_div(p.conv_pixels, kGroupPixels) * kGroupPixels;
  const int patch_bytes = p.conv.stride_h * ceil_div(p.conv.patch_height, p.conv.stride_h) * positions * 16;
  // Products of what no result needs read behind the patch.
  const int behind = (covered - p.conv_pixels) * 16;
  shape.shared_bytes = covered * kStemColumns * 2 + kStemColumns * p.conv.kernel_h * p.conv.row_k * 2 +
                       kStemGroupSlots * patch_bytes + behind;
  return shape;
}

PooledShape shape_of_tile(const KernelRequest& request, const PooledTile& tile) {
  return tile.in_groups() ? grouped_shape(request, tile) : pooled_shape(request, tile);
}

Support supports_grouped(const KernelRequest& request) {
  if (request.device->info().capability != 90) return Support::no("needs compute capability 9.0");
  const StemParams p = stem_shape(conv_problem(request)).params;
  if (p.stride_w != 2 || p.stride_h > 2) return Support::no("needs a stride of 2 along rows, 1 or 2 down columns");
  if (p.row_k > 32) return Support::no("has windows wider than 8");
  return Support::yes();
}

Support supports_pooled(const KernelRequest& request, const PooledTile& tile) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kConv) {
    return Support::no("does not pool a convolution");
  }
  const KernelRequest& conv = *request.producer;
  if (Support s = supports_stem(conv); !s.ok) return s;
  if (Support s = Epilogue::supports_plain(conv, epilogue_of(conv), 2); !s.ok) return s;
  if (tile.in_groups()) {
    if (Support s = supports_grouped(conv); !s.ok) return s;
  }
  for (size_t i = 2; i < conv.inputs.size(); ++i) {
    if (!is_constant(conv, i)) return Support::no("the convolution has a residual");
  }
  const auto& attrs = request.node->get<ir::PoolAttrs>();
  if (attrs.kind != ir::PoolKind::kMax || attrs.window.size() != 2) return Support::no("is no max pool over 2 dims");
  if (conv.outputs[0].dims.back() % 8 != 0) return Support::no("has channels that are no multiple of 8");
  if (Support s = needs_small(request); !s.ok) return s;
  if (static_cast<size_t>(shape_of_tile(request, tile).shared_bytes) + 1024 >
      request.device->info().shared_bytes_per_block) {
    return Support::no("the window is too large for shared memory");
  }
  return Support::yes();
}

// Rounds of blocks over the card by what one takes, roughly.
double predict_pooled_us(const KernelRequest& request, const PooledTile& tile) {
  const PooledShape shape = shape_of_tile(request, tile);
  const double blocks = static_cast<double>(shape.params.conv.tiles) * shape.column_blocks;
  const double rounds = blocks / request.device->info().multiprocessors, pixels = shape.params.conv_pixels;
  if (tile.in_groups()) return 4.0 + std::ceil(rounds) * (0.5 + 0.012 * pixels);
  return 2.0 + std::max(1.0 + 0.012 * pixels, rounds * 0.02 * pixels);
}

Result<std::unique_ptr<Kernel>> create_pooled(const KernelRequest& request, PackCache& packs, const PooledTile& tile) {
  const KernelRequest& conv = *request.producer;
  PooledShape pooled = shape_of_tile(request, tile);
  BLADE_ASSIGN_OR_RETURN(const StemOperands operands,
                         stem_operands(conv, conv_problem(conv), pooled.column_blocks, packs));
  pooled.params.conv.weights = operands.weights->data();
  pooled.params.conv.x_is_float = conv.inputs[0].dtype == ir::DType::kFloat32;
  LaunchShape shape =
      staying_blocks(request.device->info(), pooled.params.conv.tiles, pooled.column_blocks, pooled.shared_bytes);
  if (tile.in_groups()) shape.threads = kStemGroupThreads;
  const ElementType type = *element_type(request.outputs[0].dtype);
  const void* kernel = tile.in_groups()
                           ? pooled_stem_groups_kernel(type, pooled.params.conv.kernel_h, pooled.params.conv.row_k)
                           : pooled_stem_kernel(type, tile.fragments);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=, params = pooled.params](const KernelArgs& args) {
        PooledStemParams p = params;
        p.conv.x = args.inputs[0];
        p.conv.y = args.outputs[0];
        p.conv.epilogue = operands.epilogue.bind(args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.unread_inputs = ~1u});
}

template <int kTile>
struct PooledRow {
  static Support supports(const KernelRequest& request) { return supports_pooled(request, kPooledTiles[kTile]); }
  static double predicted_us(const KernelRequest& request) { return predict_pooled_us(request, kPooledTiles[kTile]); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_pooled(request, packs, kPooledTiles[kTile]);
  }
};

template <int kTile>
constexpr KernelEntry pooled_row(const char* name) {
  using Row = PooledRow<kTile>;
  return {name, ir::Op::kPool, Row::supports, Row::predicted_us, Row::create};
}

constexpr KernelEntry kStemRows[] = {{"cuda.conv.stem_f16", ir::Op::kConv, supports_stem, nullptr, create_stem}};
constexpr KernelEntry kPooledRows[] = {
    pooled_row<0>("cuda.conv_pool.stem_7x7"),         pooled_row<1>("cuda.conv_pool.stem_4x7"),
    pooled_row<2>("cuda.conv_pool.stem_2x7"),         pooled_row<3>("cuda.conv_pool.stem_groups_4x28"),
    pooled_row<4>("cuda.conv_pool.stem_groups_7x14"), pooled_row<5>("cuda.conv_pool.stem_groups_2x14")};

}  // namespace

std::span<const KernelEntry> stem_rows() { return kStemRows; }
std::span<const KernelEntry> pooled_conv_rows() { return kPooledRows; }

}  // namespace blade::backends::cuda
