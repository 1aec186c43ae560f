// Rows of the tiles for little work; see conv_plain.cu.
#include <algorithm>
#include <string>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/pair_kernels.h"
#include "backends/cuda/row_table.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

struct PlainTiles {
  static constexpr bool kTakesProducts = true;
  static constexpr auto& variants = plain_variants;
  static constexpr auto& is_sum = supports_conv_sum;
  static constexpr auto& is_split = supports_split_of_product;
  static std::string label(const PlainVariant& v) {
    return tile_label("plain_wgmma", v.rows, v.columns, v.warps_k, v.split_log2);
  }
  static Support supports(const KernelRequest& request, const PlainVariant& variant);
  static double predict_us(const KernelRequest& request, const PlainVariant& variant);
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs,
                                                const PlainVariant& variant, int64_t parts = 1);
};

// How a problem is cut.
struct PlainShape {
  int64_t column_tiles, chunks, blocks, shared_bytes;  // chunks: of a block, at most
};

PlainShape plain_shape(const ConvProblem& problem, const PlainVariant& variant) {
  PlainShape s;
  s.column_tiles = ceil_div(problem.channels, static_cast<int64_t>(variant.columns));
  s.chunks = ceil_div(problem.chunks(), int64_t{1} << variant.split_log2);
  s.blocks = ceil_div(problem.rows(), static_cast<int64_t>(variant.rows)) * s.column_tiles << variant.split_log2;
  const int64_t inbox = variant.split_log2 > 0 ? int64_t{variant.rows} * variant.columns * 4 : 0;
  s.shared_bytes = s.chunks * variant.stage_bytes + variant.sum_bytes + inbox;
  return s;
}

Support PlainTiles::supports(const KernelRequest& request, const PlainVariant& variant) {
  if (Support s = supports_conv_problem(request); !s.ok) return s;
  const DeviceInfo& card = request.device->info();
  if (card.capability != 90) return Support::no("needs compute capability 9.0");
  const ConvProblem problem = conv_problem(request);
  if (Support s = supports_tensor_map(problem); !s.ok) return s;
  if (problem.channels % 4 != 0) return Support::no("has channels in no multiple of 4");
  if (problem.chunks() < int64_t{1} << variant.split_log2)
    return Support::no("the sum is too short to be split so often");
  const PlainShape shape = plain_shape(problem, variant);
  if (shape.chunks > std::min(kMostPlainChunks, kMostRequests * variant.threads / 32) ||
      static_cast<size_t>(shape.shared_bytes) + 1024 > card.shared_bytes_per_block) {
    return Support::no("a block's depth does not fit into shared memory");
  }
  return Epilogue::supports_short(request, epilogue_of(request), 2);
}

// Constants are of an H200, roughly.
double PlainTiles::predict_us(const KernelRequest& request, const PlainVariant& variant) {
  const PlainShape shape = plain_shape(conv_problem(request), variant);
  const auto depth = static_cast<double>(shape.chunks);
  const double chunk_us =
      std::max(2.0 * variant.rows * variant.columns * 64 / 9.6e6, (variant.rows + variant.columns) * 128.0 / 70e3);
  const double split_us = variant.split_log2 == 0 ? 0.0 : variant.split_log2 < 3 ? 0.8 : 1.0;
  return predict_deep_blocks_us(request, {.blocks = shape.blocks,
                                          .shared_bytes = shape.shared_bytes,
                                          .start_us = 1.4,
                                          .busy_us = depth * chunk_us,
                                          .wait_us = 0.5 + 0.1 * depth,
                                          .exchange_us = split_us + (variant.warps_k > 1 ? 0.1 : 0.0)});
}

class PlainKernel final : public PairedKernel {
 public:
  PlainKernel(PairPart part, const void* kernel, const LaunchShape& shape, int rows)
      : PairedKernel(std::move(part)), kernel_(kernel), shape_(shape), rows_(rows) {}
  Status run(const KernelArgs& args) const override {
    ConvParams p = part().operands.bind(part().params, args);
    PixelMaps maps;
    BLADE_ASSIGN_OR_RETURN(maps, make_pixel_maps(part().problem, part().addend, p.x, args.inputs[0], rows_));
    void* arguments[] = {&maps, &p};
    return launch(args, kernel_, shape_, arguments);
  }

 private:
  const void* kernel_;
  LaunchShape shape_;
  int rows_;
};

Result<std::unique_ptr<Kernel>> PlainTiles::create(const KernelRequest& request, PackCache& packs,
                                                   const PlainVariant& variant, int64_t parts) {
  PairPart part;
  BLADE_ASSIGN_OR_RETURN(part, pair_part(request, packs));
  const PlainShape plain = plain_shape(part.problem, variant);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(plain.blocks);
  shape.threads = variant.threads;
  shape.shared_bytes = static_cast<int>(plain.shared_bytes);
  shape.cluster = 1 << variant.split_log2;
  const bool plain_results =
      request.producer != nullptr || Epilogue::supports_plain(request, epilogue_of(request), 2).ok;
  const void* kernel = form_of(request, parts == 1 && plain_results ? variant.kernels : variant.more_kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  part.params = conv_params(part.problem, plain.column_tiles);
  if (parts > 1) part.params.part_channels = FastDivisor(part.problem.channels / parts);
  part.is_plain = parts == 1 && plain_results;
  return std::unique_ptr<Kernel>(std::make_unique<PlainKernel>(std::move(part), kernel, shape, variant.rows));
}

}  // namespace

std::span<const KernelEntry> plain_rows() { return RowTable<PlainTiles>::get().rows; }
std::span<const KernelEntry> plain_sum_rows() { return RowTable<PlainTiles>::get().sum_rows; }
std::span<const KernelEntry> plain_split_rows() { return RowTable<PlainTiles>::get().split_rows; }

}  // namespace blade::backends::cuda
