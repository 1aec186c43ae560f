// Rows of the tiles for little work; see conv_plain.cu.
#include <algorithm>
#include <string>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

constexpr int kMostVariants = 44;

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

Support supports_shape(const KernelRequest& request, const PlainVariant& variant) {
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
  return Support::yes();
}

Support supports_plain(const KernelRequest& request, const PlainVariant& variant) {
  if (Support s = supports_shape(request, variant); !s.ok) return s;
  return Epilogue::supports_short(request, epilogue_of(request), 2);
}

Support supports_plain_sum(const KernelRequest& request, const PlainVariant& variant) {
  if (Support s = supports_conv_sum(request); !s.ok) return s;
  if (Support s = supports_tensor_map(addend_problem(request)); !s.ok) return s;
  return supports_shape(request, variant);
}

Support supports_plain_split(const KernelRequest& request, const PlainVariant& variant) {
  if (Support s = supports_split_of_product(request); !s.ok) return s;
  return supports_shape(*request.producer, variant);
}

// Constants are of an H200, roughly.
double predict_plain_us(const KernelRequest& request, const PlainVariant& variant) {
  const DeviceInfo& card = request.device->info();
  const PlainShape shape = plain_shape(conv_problem(request), variant);
  const int64_t beside =
      std::clamp<int64_t>(static_cast<int64_t>(card.shared_bytes_per_block) / (shape.shared_bytes + 1024), 1, 4);
  const auto waves = static_cast<double>(ceil_div(shape.blocks, card.multiprocessors * beside));
  const auto each_sm = static_cast<double>(ceil_div(shape.blocks, int64_t{card.multiprocessors}));
  const auto depth = static_cast<double>(shape.chunks);
  const double chunk_us =
      std::max(2.0 * variant.rows * variant.columns * 64 / 5.5e6, (variant.rows + variant.columns) * 128.0 / 40e3);
  const double busy = each_sm * depth * chunk_us, latency = waves * (0.4 + 0.1 * depth);
  return 1.4 + std::max({busy, latency, 1.3 * memory_us(request)}) + (variant.split_log2 > 0 ? 0.8 : 0.0) +
         (variant.warps_k > 1 ? 0.2 : 0.0);
}

Result<std::unique_ptr<Kernel>> create_plain(const KernelRequest& request, PackCache& packs,
                                             const PlainVariant& variant, int64_t parts = 1) {
  const ConvProblem problem = conv_problem(request);
  const PlainShape plain = plain_shape(problem, variant);
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(request, problem, packs));
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(plain.blocks);
  shape.threads = variant.threads;
  shape.shared_bytes = static_cast<int>(plain.shared_bytes);
  shape.cluster = 1 << variant.split_log2;
  const bool plain_results =
      request.producer != nullptr || Epilogue::supports_plain(request, epilogue_of(request), 2).ok;
  const void* kernel = parts == 1 && plain_results ? variant.kernel : variant.more_kernel;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  ConvParams params = conv_params(problem, plain.column_tiles);
  if (parts > 1) params.part_channels = FastDivisor(problem.channels / parts);
  const ConvProblem addend = request.producer != nullptr ? addend_problem(request) : problem;
  return make_kernel(
      [=, rows = variant.rows](const KernelArgs& args) -> Status {
        ConvParams p = operands.bind(params, args);
        PixelMaps maps;
        BLADE_ASSIGN_OR_RETURN(maps, make_pixel_maps(problem, addend, p.x, args.inputs[0], rows));
        void* arguments[] = {&maps, &p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = operands.epilogue.in_place_inputs(), .unread_inputs = operands.unread_inputs});
}

template <int kNumber>
struct PlainRow {
  static const PlainVariant& variant() { return plain_variants()[kNumber]; }
  static Support supports(const KernelRequest& request) { return supports_plain(request, variant()); }
  static Support supports_sum(const KernelRequest& request) { return supports_plain_sum(request, variant()); }
  static double predicted_us(const KernelRequest& request) { return predict_plain_us(request, variant()); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_plain(request, packs, variant());
  }
  static Support supports_split(const KernelRequest& request) { return supports_plain_split(request, variant()); }
  static double predicted_split_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache& packs) {
    return create_plain(*request.producer, packs, variant(), static_cast<int64_t>(request.outputs.size()));
  }
};

struct PlainTable : ProductRows {
  template <int kNumber>
  void add() {
    if (kNumber >= static_cast<int>(plain_variants().size())) return;
    const PlainVariant& v = PlainRow<kNumber>::variant();
    const std::string label = "plain_wgmma_" + std::to_string(v.rows) + "x" + std::to_string(v.columns) + "k" +
                              std::to_string(v.warps_k) +
                              (v.split_log2 > 0 ? "_split" + std::to_string(1 << v.split_log2) : "");
    add_rows<PlainRow<kNumber>>(label);
    add_sum_row<PlainRow<kNumber>>(label);
    add_split_row<PlainRow<kNumber>>(label);
  }
  template <int... kNumbers>
  explicit PlainTable(std::integer_sequence<int, kNumbers...>) {
    (add<kNumbers>(), ...);
  }
};

const PlainTable& plain_table() {
  static const PlainTable table(std::make_integer_sequence<int, kMostVariants>{});
  return table;
}

}  // namespace

std::span<const KernelEntry> plain_rows() { return plain_table().rows; }
std::span<const KernelEntry> plain_sum_rows() { return plain_table().sum_rows; }
std::span<const KernelEntry> plain_split_rows() { return plain_table().split_rows; }

}  // namespace blade::backends::cuda
