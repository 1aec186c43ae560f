// Rows of the pipeline: convolutions and matrix products with so many pixels that every SM gets whole tiles.
#include <algorithm>
#include <string>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/row_table.h"
#include "backends/cuda/tensor_map.h"

namespace blade::backends::cuda {
namespace {

constexpr int kMaxStages = 16, kGroups = 2;
constexpr int kReserved = 2048;  // of an SM's shared memory: what a block takes beside its own

struct Division {
  int64_t column_tiles, tiles;
  int stages, shared_bytes;
  int64_t blocks;
};

bool takes_turns(const PipelineVariant& variant) { return variant.rows == variant.group_rows; }

struct Pipelines {
  static constexpr bool kTakesProducts = true;
  static constexpr auto& variants = pipeline_variants;
  static constexpr auto& is_sum = supports_conv_sum;
  static constexpr auto& is_split = supports_split_of_product;
  static std::string label(const PipelineVariant& v) {
    return "pipeline_wgmma_" + std::to_string(v.rows) + "x" + std::to_string(v.columns) +
           (takes_turns(v) ? "" : "_shared");
  }
  static Support supports(const KernelRequest& request, const PipelineVariant& variant);
  static double predict_us(const KernelRequest& request, const PipelineVariant& variant);
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs,
                                                const PipelineVariant& variant, int64_t parts = 1);
};

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

Support Pipelines::supports(const KernelRequest& request, const PipelineVariant& variant) {
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
double Pipelines::predict_us(const KernelRequest& request, const PipelineVariant& variant) {
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

Result<std::unique_ptr<Kernel>> Pipelines::create(const KernelRequest& request, PackCache& packs,
                                                  const PipelineVariant& variant, int64_t parts) {
  const ConvProblem problem = conv_problem(request);
  const Division division = division_of(problem, variant, request.device->info());
  BLADE_ASSIGN_OR_RETURN(const ConvOperands operands, conv_operands(request, problem, packs));
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(division.blocks);
  shape.threads = variant.threads;
  shape.shared_bytes = division.shared_bytes;
  const void* kernel = form_of(request, variant.kernels);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
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
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = operands.epilogue.in_place_inputs(), .unread_inputs = operands.unread_inputs});
}

}  // namespace

std::span<const KernelEntry> pipeline_rows() { return RowTable<Pipelines>::get().rows; }
std::span<const KernelEntry> pipeline_sum_rows() { return RowTable<Pipelines>::get().sum_rows; }
std::span<const KernelEntry> pipeline_split_rows() { return RowTable<Pipelines>::get().split_rows; }

}  // namespace blade::backends::cuda
