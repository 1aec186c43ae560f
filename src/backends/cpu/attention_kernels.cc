// Attention in one step: the scores of a block of queries stay in the cache between the two products, and heads are
// read and written where they lie.
#include <optional>

#include "backends/cpu/attention_block.h"
#include "backends/cpu/attention_plan.h"
#include "backends/cpu/attention_tiles.h"
#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/row_functions.h"

namespace blade::backends::cpu {
namespace {

constexpr double kFlopsPerUnit = 30;        // of the unit of work of kMinWorkPerTask
constexpr double kUnitsPerScore = 1;        // its exponential
constexpr double kUnitsPerBlock = 300;      // its calls, and its queries and results transposed
constexpr double kUnitsPerWidened = 0.25;   // an element of keys or values of a head
constexpr double kTileFlopsPerUnit = 550;   // of tile registers
constexpr double kUnitsPerArranged = 0.2;   // an element of keys or values for tile registers
constexpr double kMinUnitsOfThread = 4000;  // what a thread is worth waking for

// How blocks of queries are cut, and what a thread needs.
struct BlockPlan : AttentionPlan {
  int64_t blocks = 1, rows = 0;  // of an item's queries; rows of a block
  int64_t single_rows = 0;       // of an item, behind those of its last block: attended one by one
  bool widens = false;           // operands are bfloat16: those of a head go to scratch in float32
  bool narrow_out = false;       // results go to scratch, and from there rounded to where they belong
  size_t wide_at = 0, results_at = 0, slot_bytes = 0;  // in the scratch

  explicit BlockPlan(const KernelRequest& request);
  int64_t wide_floats() const { return widens ? keys * (depth + width) + rows * depth : 0; }
  double work() const {
    const auto scores = static_cast<double>(items * queries * keys);
    const double widened = widens ? static_cast<double>(items * wide_floats()) * kUnitsPerWidened : 0;
    return scores * (2.0 * static_cast<double>(depth + width) / kFlopsPerUnit + kUnitsPerScore) +
           static_cast<double>(items * blocks) * kUnitsPerBlock + widened;
  }
};

BlockPlan::BlockPlan(const KernelRequest& request)
    : AttentionPlan(request),
      widens(request.inputs[0].dtype == ir::DType::kBFloat16),
      narrow_out(request.outputs[0].dtype == ir::DType::kBFloat16) {
  const AttentionFunctions& f = attention_functions();
  const bool dense = widens || (k.column == 1 && v.column == 1);
  single_rows = dense && queries % f.lanes <= f.lanes / 4 ? queries % f.lanes : 0;
  rows = kAttentionVectors * f.lanes;
  // Smaller blocks where some threads would have none.
  if (items * ceil_div(queries, rows) < std::max(1, request.num_threads)) rows = f.lanes;
  blocks = std::max<int64_t>(1, ceil_div(queries - single_rows, rows));
  const size_t scores = static_cast<size_t>(keys) * sizeof(float);
  wide_at = align_up(std::max(f.scratch_bytes(keys, depth, width), scores), 64);
  results_at = align_up(wide_at + static_cast<size_t>(wide_floats()) * sizeof(float), 64);
  const int64_t results = narrow_out ? rows * width : 0;
  slot_bytes = align_up(results_at + static_cast<size_t>(results) * sizeof(float), 64);
}

void add_to_row(const RowFunctions& f, const float* mask, int64_t step, float* row, int64_t keys) {
  if (step == 0) {
    f.affine(row, 1, *mask, row, keys);
  } else {
    for (int64_t s = 0; s < keys; ++s) row[s] += mask[s * step];
  }
}

// Row `r` of scores to weights not yet divided by their sum, which is returned.
float weigh_row(const RowFunctions& f, const AttentionBlock& block, int64_t r, float* row) {
  if (block.scale != 1) f.affine(row, block.scale, 0, row, block.keys);
  const float* mask = block.mask.data == nullptr ? nullptr : block.mask.data + r * block.mask.row;
  if (mask != nullptr && block.mask_replaces) {
    for (int64_t s = 0; s < block.keys; ++s) {
      const float of_mask = mask[s * block.mask.column];
      row[s] = of_mask != 0 ? of_mask : row[s];
    }
  } else if (mask != nullptr) {
    add_to_row(f, mask, block.mask.column, row, block.keys);
  }
  if (block.added.data != nullptr) {
    add_to_row(f, block.added.data + r * block.added.row, block.added.column, row, block.keys);
  }
  return f.exp_sum(row, f.max(row, block.keys), row, block.keys);
}

// Query by query, where so few would leave most lanes empty. `scores`: [keys]
void attend_rows(const AttentionBlock& block, float* scores) {
  const RowFunctions& f = row_functions();
  for (int64_t r = 0; r < block.queries; ++r) {
    f.dots(block.q.data + r * block.q.row, block.k.data, block.k.row, block.keys, scores, block.depth);
    const float sum = weigh_row(f, block, r, scores);
    f.combine(scores, block.v.data, block.v.row, block.keys, 1 / sum, block.out + r * block.out_row, block.width);
  }
}

void to_floats(const StridedMatrix<BFloat16>& from, int64_t rows, int64_t columns, float* to) {
  for (int64_t r = 0; r < rows; ++r, to += columns) {
    const BFloat16* row = from.data + r * from.row;
    if (from.column == 1) {
      widen(row, to, columns);
    } else {
      for (int64_t c = 0; c < columns; ++c) to[c] = static_cast<float>(row[c * from.column]);
    }
  }
}

// A thread's way through blocks of queries.
template <class T>
struct BlockAttention {
  const BlockPlan& plan;
  const KernelArgs& args;
  std::byte* scratch;
  AttentionMasks masks{plan, args};
  std::optional<size_t> head = std::nullopt;  // the item whose keys and values are in scratch

  float* wide_keys() const { return reinterpret_cast<float*>(scratch + plan.wide_at); }
  float* wide_values() const { return wide_keys() + plan.keys * plan.depth; }
  float* wide_queries() const { return wide_values() + plan.keys * plan.width; }

  // A few rows of an item.
  AttentionBlock block_of(size_t item, int64_t row, int64_t rows) {
    AttentionBlock block;
    block.queries = rows;
    block.keys = plan.keys;
    block.depth = plan.depth;
    block.width = plan.width;
    masks.bind(plan, item, row, block);
    const auto q = plan.q.at(input<T>(args, 0), item, row);
    const auto k = plan.k.at(input<T>(args, 1), item, 0), v = plan.v.at(input<T>(args, 2), item, 0);
    if constexpr (sizeof(T) == sizeof(float)) {
      block.q = q;
      block.k = k;
      block.v = v;
    } else {
      if (!head.has_value() || !plan.same_head(*head, item)) {
        to_floats(k, plan.keys, plan.depth, wide_keys());
        to_floats(v, plan.keys, plan.width, wide_values());
        head = item;
      }
      to_floats(q, rows, plan.depth, wide_queries());
      block.q = {wide_queries(), plan.depth, 1};
      block.k = {wide_keys(), plan.depth, 1};
      block.v = {wide_values(), plan.width, 1};
    }
    return block;
  }

  // Attends `rows` rows of an item: attend_it(block) writes block.out.
  template <class Attend>
  void attend_to_out(size_t item, int64_t row, int64_t rows, Attend&& attend_it) {
    AttentionBlock block = block_of(item, row, rows);
    const int64_t at = plan.out.offsets[item] + row * plan.out.row;
    if (!plan.narrow_out) {
      block.out = output<float>(args) + at;
      block.out_row = plan.out.row;
      attend_it(block);
      return;
    }
    block.out = reinterpret_cast<float*>(scratch + plan.results_at);
    block.out_row = plan.width;
    attend_it(block);
    auto* const out = output<BFloat16>(args) + at;
    for (int64_t r = 0; r < rows; ++r) narrow(block.out + r * plan.width, out + r * plan.out.row, plan.width);
  }

  // Blocks [first, last) of all items'.
  void run(int64_t first, int64_t last) {
    const AttentionFunctions& f = attention_functions();
    for (int64_t unit = first; unit < last; ++unit) {
      const auto item = static_cast<size_t>(unit / plan.blocks);
      const int64_t block = unit % plan.blocks, row = block * plan.rows;
      const bool is_last = block + 1 == plan.blocks;
      const int64_t in_lanes = is_last ? plan.queries - plan.single_rows - row : plan.rows;
      if (in_lanes > 0) attend_to_out(item, row, in_lanes, [&](const AttentionBlock& b) { f.attend(b, scratch); });
      if (!is_last || plan.single_rows == 0) continue;
      attend_to_out(item, row + in_lanes, plan.single_rows,
                    [&](const AttentionBlock& b) { attend_rows(b, reinterpret_cast<float*>(scratch)); });
    }
  }
};

// The same on tile registers.
struct TilePlan : AttentionPlan {
  TiledHead head{keys, depth, width};
  int64_t rows = kTileQueries, blocks = 1;
  size_t slot_bytes = 0;

  explicit TilePlan(const KernelRequest& request) : AttentionPlan(request) {
    if (items * ceil_div(queries, rows) < std::max(1, request.num_threads)) rows = kAmxRows;
    blocks = ceil_div(queries, rows);
    slot_bytes = attention_tile_functions().scratch_bytes(head);
  }
  double work() const {
    const auto padded_keys = static_cast<double>(align_up(keys, kAmxElements));
    const auto padded_rows = static_cast<double>(blocks * align_up(std::min(queries, rows), kAmxRows));
    const auto padded_depth = static_cast<double>(align_up(depth, kAmxElements));
    const auto padded_width = static_cast<double>(align_up(width, kAmxRows));
    const double products = 2 * padded_rows * padded_keys * (padded_depth + padded_width) / kTileFlopsPerUnit;
    const double scores = static_cast<double>(queries) * padded_keys * kUnitsPerScore;
    const double arranging = padded_keys * (padded_depth + padded_width) * kUnitsPerArranged;
    return static_cast<double>(items) * (products + scores + arranging + static_cast<double>(blocks) * kUnitsPerBlock);
  }
};

struct TileAttention {
  const TilePlan& plan;
  const KernelArgs& args;
  std::byte* scratch;
  AttentionMasks masks{plan, args};

  void run(int64_t first, int64_t last) {
    const AttentionTileFunctions& f = attention_tile_functions();
    const AmxScope tile_registers(kAmxElements / 2);
    std::optional<size_t> arranged;
    for (int64_t unit = first; unit < last; ++unit) {
      const auto item = static_cast<size_t>(unit / plan.blocks);
      const int64_t row = unit % plan.blocks * plan.rows;
      if (!arranged.has_value() || !plan.same_head(*arranged, item)) {
        f.arrange(plan.head, plan.k.at(input<BFloat16>(args, 1), item, 0), plan.v.at(input<BFloat16>(args, 2), item, 0),
                  scratch);
        arranged = item;
      }
      TiledBlock block;
      block.queries = std::min(plan.rows, plan.queries - row);
      block.q = plan.q.at(input<BFloat16>(args, 0), item, row);
      masks.bind(plan, item, row, block);
      block.out = output<BFloat16>(args) + plan.out.offsets[item] + row * plan.out.row;
      block.out_row = plan.out.row;
      f.attend(plan.head, block, scratch);
    }
  }
};

// A kernel of `Attention`s, one for each task, that share the blocks of `plan`.
template <class Attention, class Plan>
Result<std::unique_ptr<Kernel>> make_attention(Plan made, int threads) {
  const auto plan = std::make_shared<const Plan>(std::move(made));
  const int64_t units = plan->items * plan->blocks;
  const double work = plan->work();
  const auto worth = std::max(static_cast<int64_t>(work / kMinUnitsOfThread), int64_t{work < kMinSharedWork ? 1 : 2});
  const int64_t tasks = std::clamp<int64_t>(std::min<int64_t>(worth, int64_t{2} * threads), 1, units);
  // Tasks that end with an item: what a task does for the keys of an item is not done twice.
  const int64_t step = plan->items % tasks == 0 || plan->items >= 4 * tasks ? plan->blocks : 1;
  return make_kernel(
      [=](const KernelArgs& args) {
        args.pool->parallel_for(static_cast<int>(tasks), work * kWorkUnitNs, [&](int task, int slot) {
          Attention attention{*plan, args, args.scratch + static_cast<size_t>(slot) * plan->slot_bytes};
          attention.run(units / step * task / tasks * step, units / step * (task + 1) / tasks * step);
        });
        return Status::ok_status();
      },
      0, static_cast<size_t>(threads) * plan->slot_bytes);
}

template <class T>
Support supports_blocks(const KernelRequest& request) {
  if constexpr (sizeof(T) < sizeof(float)) {
    if (Support s = machine_support<T>(request); !s.ok) return s;
  }
  return supports_attention<T>(request);
}

template <class T>
Result<std::unique_ptr<Kernel>> create_blocks(const KernelRequest& request, PackCache&) {
  return make_attention<BlockAttention<T>>(BlockPlan(request), std::max(1, request.num_threads));
}

Support supports_tiles(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  return supports_attention<BFloat16>(request);
}

Result<std::unique_ptr<Kernel>> create_tiles(const KernelRequest& request, PackCache&) {
  return make_attention<TileAttention>(TilePlan(request), std::max(1, request.num_threads));
}

template <class Plan>
double attention_us(const KernelRequest& request) {
  return 0.5 + Plan(request).work() * kWorkUnitNs * 1e-3 / std::max(1, request.num_threads);
}

constexpr KernelEntry kAttentionRows[] = {
    {"cpu.attention.blocks_f32", ir::Op::kAttention, supports_blocks<float>, attention_us<BlockPlan>,
     create_blocks<float>},
    {"cpu.attention.blocks_bf16", ir::Op::kAttention, supports_blocks<BFloat16>, attention_us<BlockPlan>,
     create_blocks<BFloat16>},
    on_tiles(
        {"cpu.attention.blocks_amx_bf16", ir::Op::kAttention, supports_tiles, attention_us<TilePlan>, create_tiles}),
};
constexpr KernelEntry kAttentionToBf16Rows[] = {
    {"cpu.attention.blocks_to_bf16", ir::Op::kCast, supports_to_bf16<ir::Op::kAttention, supports_blocks<float>>,
     us_with_cast<attention_us<BlockPlan>>, create_with_cast<create_blocks<float>>},
};

}  // namespace

std::span<const KernelEntry> attention_rows() { return kAttentionRows; }
std::span<const KernelEntry> attention_to_bf16_rows() { return kAttentionToBf16Rows; }

}  // namespace blade::backends::cpu
