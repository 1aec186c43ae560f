// Rows of the pipeline: convolutions and matrix products with so many pixels that every SM gets whole tiles.
#include <algorithm>
#include <string>
#include <utility>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

constexpr int kVariants = 8, kMaxStages = 16, kGroups = 2;
constexpr int kReserved = 2048;  // of an SM's shared memory: what a block takes beside its own

struct Division {
  int64_t column_tiles, tiles;
  int stages, shared_bytes;
  int64_t blocks;
};

bool takes_turns(const PipelineVariant& variant) { return variant.rows == variant.group_rows; }

Division division_of(const ConvProblem& problem, const PipelineVariant& variant, const DeviceInfo& card) {
  Division d;
  d.column_tiles = ceil_div(problem.channels, static_cast<int64_t>(variant.columns));
  d.tiles = ceil_div(problem.rows(), static_cast<int64_t>(variant.rows)) * d.column_tiles;
  const int64_t sms = card.multiprocessors;
  d.blocks = std::min(d.tiles, sms * variant.blocks);
  const int64_t beside = ceil_div(d.blocks, sms), tiles_each = ceil_div(d.tiles, d.blocks);
  const int64_t room = static_cast<int64_t>(card.shared_bytes_per_block) / beside - kReserved;
  const int64_t fit = (room - kGroups * variant.result_bytes) / variant.stage_bytes;
  d.stages = static_cast<int>(std::min({fit, int64_t{kMaxStages}, problem.chunks() * tiles_each}));
  d.shared_bytes = d.stages * variant.stage_bytes + kGroups * variant.result_bytes;
  return d;
}

Support supports_pipeline(const KernelRequest& request, const PipelineVariant& variant) {
  if (Support s = supports_conv_problem(request); !s.ok) return s;
  const DeviceInfo& card = request.device->info();
  if (card.capability != 90) return Support::no("needs compute capability 9.0");
  const ConvProblem problem = conv_problem(request);
  if (problem.channels % 8 != 0) {
    return Support::no("has " + std::to_string(problem.channels) + " channels, needs a multiple of 8");
  }
  if (problem.padded_channels() % variant.columns != 0) return Support::no("has fewer channels than the tile");
  if (Support s = supports_tensor_map(problem); !s.ok) return s;
  if (division_of(problem, variant, card).stages < std::min<int64_t>(2, problem.chunks())) {
    return Support::no("needs more shared memory than the card has");
  }
  return Epilogue::supports_plain(request, epilogue_of(request), 2);
}

// The longest of what the SMs can multiply and load, of the latency of chunks, and of memory. Constants are of an H200,
// roughly.
double predict_pipeline_us(const KernelRequest& request, const PipelineVariant& variant) {
  const DeviceInfo& card = request.device->info();
  const ConvProblem problem = conv_problem(request);
  const Division d = division_of(problem, variant, card);
  const auto chunks = static_cast<double>(problem.chunks());
  const double multiply_us = 2.0 * variant.rows * variant.columns * 64 / 5.5e6;
  const double load_us = (variant.rows + variant.columns) * 128.0 / 80e3;
  const double finish_us = takes_turns(variant) ? 0.2 : 0.9;
  const auto each_sm = static_cast<double>(ceil_div(d.tiles, int64_t{card.multiprocessors}));
  const auto each_block = static_cast<double>(ceil_div(d.tiles, d.blocks));
  const double busy = each_sm * (chunks * std::max(multiply_us, load_us) + finish_us);
  const double latency = each_block * (chunks * 1.2 / d.stages + 0.3);
  return 2.0 + std::max({busy, latency, memory_us(request)});
}

Result<std::unique_ptr<Kernel>> create_pipeline(const KernelRequest& request, PackCache& packs,
                                                const PipelineVariant& variant, int64_t parts = 1) {
  const ConvProblem problem = conv_problem(request);
  const Division division = division_of(problem, variant, request.device->info());
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(request, problem, packs));
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(division.blocks);
  shape.threads = variant.threads;
  shape.shared_bytes = division.shared_bytes;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, variant.kernel, shape));
  ConvParams params = conv_params(problem, division.column_tiles);
  params.stages = division.stages;
  params.tiles = static_cast<int>(division.tiles);
  const int64_t part_channels = problem.channels / parts;
  if (parts > 1) params.part_channels = FastDivisor(part_channels);
  const ConvProblem addend = request.producer != nullptr ? addend_problem(request) : problem;
  return make_kernel(
      [=](const KernelArgs& args) -> Status {
        ConvParams p = operands.bind(params, args);
        PipelineMaps maps;
        BLADE_ASSIGN_OR_RETURN(maps.pixels, make_pixel_maps(problem, addend, p.x, args.inputs[0], variant.rows));
        for (int64_t i = 0; i < parts; ++i) {
          BLADE_ASSIGN_OR_RETURN(maps.results[i], make_box_map(args.outputs[static_cast<size_t>(i)], p.rows,
                                                               part_channels, variant.group_rows));
        }
        if (p.epilogue.residual != nullptr) {
          BLADE_ASSIGN_OR_RETURN(maps.residual,
                                 make_box_map(p.epilogue.residual, p.rows, p.channels, variant.group_rows));
        }
        void* arguments[] = {&maps, &p};
        return launch(args, variant.kernel, shape, arguments);
      },
      {.in_place_inputs = operands.epilogue.in_place_inputs(), .unread_inputs = operands.unread_inputs});
}

// A row's functions carry no state: the number of its variant is in their type.
template <int kNumber>
struct PipelineRow {
  static const PipelineVariant& variant() { return pipeline_variants()[kNumber]; }
  static Support supports(const KernelRequest& request) { return supports_pipeline(request, variant()); }
  static Support supports_sum(const KernelRequest& request) {
    if (Support s = supports_conv_sum(request); !s.ok) return s;
    if (Support s = supports_tensor_map(addend_problem(request)); !s.ok) return s;
    return supports_pipeline(request, variant());
  }
  static double predicted_us(const KernelRequest& request) { return predict_pipeline_us(request, variant()); }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs) {
    return create_pipeline(request, packs, variant());
  }
  static Support supports_split(const KernelRequest& request) {
    if (Support s = supports_split_of_product(request); !s.ok) return s;
    return supports_pipeline(*request.producer, variant());
  }
  static double predicted_split_us(const KernelRequest& request) { return predicted_us(*request.producer); }
  static Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache& packs) {
    return create_pipeline(*request.producer, packs, variant(), static_cast<int64_t>(request.outputs.size()));
  }
};

struct Table : ProductRows {
  template <int... kNumbers>
  explicit Table(std::integer_sequence<int, kNumbers...>) {
    (add<kNumbers>(), ...);
  }
  template <int kNumber>
  void add() {
    using Row = PipelineRow<kNumber>;
    const PipelineVariant& v = Row::variant();
    const std::string label = "pipeline_wgmma_" + std::to_string(v.rows) + "x" + std::to_string(v.columns) +
                              (takes_turns(v) ? "" : "_shared");
    add_rows<Row>(label);
    add_sum_row<Row>(label);
    add_split_row<Row>(label);
  }
};

const Table& pipeline_table() {
  static const Table table(std::make_integer_sequence<int, kVariants>{});
  return table;
}

}  // namespace

std::span<const KernelEntry> pipeline_rows() { return pipeline_table().rows; }
std::span<const KernelEntry> pipeline_sum_rows() { return pipeline_table().sum_rows; }
std::span<const KernelEntry> pipeline_split_rows() { return pipeline_table().split_rows; }

}  // namespace blade::backends::cuda
