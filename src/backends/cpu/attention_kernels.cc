// Attention in one step: the scores of a block of queries stay in the cache between the two products, and heads are
// read and written where they lie.
#include "backends/cpu/attention_block.h"
#include "backends/cpu/cast_fusion.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

constexpr double kFlopsPerUnit = 30;        // of the unit of work of kMinWorkPerTask
constexpr double kUnitsPerScore = 1;        // its exponential
constexpr double kUnitsPerBlock = 300;      // its calls, and its queries and results transposed
constexpr double kMinUnitsOfThread = 4000;  // what a thread is worth waking for

// A matrix for each item of the batch: where they begin, and strides between rows and columns.
struct MatrixBatch {
  std::vector<int64_t> offsets;
  int64_t row = 0, column = 0;
};

// `strides` of [batch..., row, column].
MatrixBatch matrix_batch(const ir::Dims& dims, const ir::Dims& strides) {
  MatrixBatch batch;
  batch.row = strides[strides.size() - 2];
  batch.column = strides.back();
  batch.offsets.resize(static_cast<size_t>(product(dims, 0, dims.size() - 2)));
  for (size_t i = 0; i < batch.offsets.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t d = dims.size() - 2; d-- > 0; rest /= dims[d]) batch.offsets[i] += rest % dims[d] * strides[d];
  }
  return batch;
}

struct AttentionPlan {
  int64_t items = 0, queries = 0, keys = 0, depth = 0, width = 0;  // width: of a value
  MatrixBatch q, k, v, out, mask[2];
  int masks = 0;
  bool mask_replaces = false;
  float scale = 1;
  int64_t blocks = 1, rows = 0;  // of an item's queries; rows of a block
  int64_t single_rows = 0;       // of an item, behind those of its last block: attended one by one
  bool narrow_out = false;       // results go to scratch, and from there rounded to where they belong
  size_t results_at = 0;         // in the scratch
  size_t slot_bytes = 0;

  double work() const {
    const auto scores = static_cast<double>(items * queries * keys);
    return scores * (2.0 * static_cast<double>(depth + width) / kFlopsPerUnit + kUnitsPerScore) +
           static_cast<double>(items * blocks) * kUnitsPerBlock;
  }
};

void plan_blocks(AttentionPlan& plan, int threads) {
  const AttentionFunctions& f = attention_functions();
  const int64_t lanes = f.lanes;
  const bool dense = plan.k.column == 1 && plan.v.column == 1;
  plan.single_rows = dense && plan.queries % lanes <= lanes / 4 ? plan.queries % lanes : 0;
  plan.rows = kAttentionVectors * lanes;
  // Smaller blocks where some threads would have none.
  if (plan.items * ceil_div(plan.queries, plan.rows) < threads) plan.rows = lanes;
  plan.blocks = std::max<int64_t>(1, ceil_div(plan.queries - plan.single_rows, plan.rows));
  plan.results_at = align_up(
      std::max(f.scratch_bytes(plan.keys, plan.depth, plan.width), static_cast<size_t>(plan.keys) * sizeof(float)), 64);
  const int64_t results = plan.narrow_out ? plan.rows * plan.width : 0;
  plan.slot_bytes = align_up(plan.results_at + static_cast<size_t>(results) * sizeof(float), 64);
}

AttentionPlan plan_attention(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  const auto strides = [&](size_t i) { return row_major_strides(request.inputs[i].dims); };
  const auto operand = [&](size_t i, const std::vector<int64_t>& perm) {
    return reference::permuted(request.inputs[i].dims, perm);
  };
  const ir::Dims q = operand(0, attrs.query_perm), k = operand(1, attrs.key_perm), v = operand(2, attrs.value_perm);
  const ir::Dims stored = request.outputs[0].dims, stored_strides = row_major_strides(stored);
  ir::Dims out(q.size()), out_strides(q.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    out[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
    out_strides[static_cast<size_t>(attrs.output_perm[i])] = stored_strides[i];
  }
  AttentionPlan plan;
  plan.items = product(out, 0, out.size() - 2);
  plan.queries = out[out.size() - 2];
  plan.keys = v[v.size() - 2];
  plan.depth = q.back();
  plan.width = v.back();
  plan.scale = attrs.scale;
  plan.narrow_out = request.outputs[0].dtype == ir::DType::kBFloat16;
  const auto read_as = [&](const ir::Dims& dims, size_t i, const std::vector<int64_t>& perm) {
    return matrix_batch(out, reference::repeating(dims, reference::permuted(strides(i), perm)));
  };
  plan.q = read_as(q, 0, attrs.query_perm);
  plan.k = read_as(k, 1, attrs.key_perm);
  plan.v = read_as(v, 2, attrs.value_perm);
  plan.out = matrix_batch(out, out_strides);
  ir::Dims scores = out;
  scores.back() = plan.keys;
  plan.masks = static_cast<int>(request.inputs.size()) - 3;
  plan.mask_replaces = attrs.mask_replaces && plan.masks > 0;
  for (int i = 0; i < plan.masks; ++i) {
    plan.mask[i] = matrix_batch(scores, broadcast_strides(request.inputs[3 + static_cast<size_t>(i)].dims, scores));
  }
  plan_blocks(plan, std::max(1, request.num_threads));
  return plan;
}

struct AttentionOperands {
  const float *q, *k, *v, *mask[2];
  std::byte* out;  // float32, or bfloat16 where the plan says so
};

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

// A few rows of one item.
AttentionBlock block_of(const AttentionPlan& plan, const AttentionOperands& operands, size_t item, int64_t row,
                        int64_t rows) {
  const auto matrix = [&](const float* data, const MatrixBatch& batch, int64_t from) {
    return StridedMatrix{data + batch.offsets[item] + from * batch.row, batch.row, batch.column};
  };
  AttentionBlock block;
  block.queries = rows;
  block.keys = plan.keys;
  block.depth = plan.depth;
  block.width = plan.width;
  block.q = matrix(operands.q, plan.q, row);
  block.k = matrix(operands.k, plan.k, 0);
  block.v = matrix(operands.v, plan.v, 0);
  if (plan.masks > 0) block.mask = matrix(operands.mask[0], plan.mask[0], row);
  if (plan.masks > 1) block.added = matrix(operands.mask[1], plan.mask[1], row);
  block.mask_replaces = plan.mask_replaces;
  block.scale = plan.scale;
  return block;
}

// Attends `rows` rows of an item: attend_it(block) writes block.out.
template <class Attend>
void attend_to_out(const AttentionPlan& plan, const AttentionOperands& operands, size_t item, int64_t row, int64_t rows,
                   std::byte* scratch, Attend&& attend_it) {
  AttentionBlock block = block_of(plan, operands, item, row, rows);
  const int64_t at = plan.out.offsets[item] + row * plan.out.row;
  if (!plan.narrow_out) {
    block.out = reinterpret_cast<float*>(operands.out) + at;
    block.out_row = plan.out.row;
    attend_it(block);
    return;
  }
  block.out = reinterpret_cast<float*>(scratch + plan.results_at);
  block.out_row = plan.width;
  attend_it(block);
  auto* const out = reinterpret_cast<BFloat16*>(operands.out) + at;
  for (int64_t r = 0; r < rows; ++r) narrow(block.out + r * plan.width, out + r * plan.out.row, plan.width);
}

// Blocks [first, last) of all items' on one thread.
void attend(const AttentionPlan& plan, const AttentionOperands& operands, int64_t first, int64_t last,
            std::byte* scratch) {
  const AttentionFunctions& f = attention_functions();
  for (int64_t unit = first; unit < last; ++unit) {
    const auto item = static_cast<size_t>(unit / plan.blocks);
    const int64_t block = unit % plan.blocks, row = block * plan.rows;
    const bool is_last = block + 1 == plan.blocks;
    const int64_t in_lanes = is_last ? plan.queries - plan.single_rows - row : plan.rows;
    if (in_lanes > 0) {
      attend_to_out(plan, operands, item, row, in_lanes, scratch,
                    [&](const AttentionBlock& b) { f.attend(b, scratch); });
    }
    if (is_last && plan.single_rows > 0) {
      attend_to_out(plan, operands, item, row + in_lanes, plan.single_rows, scratch,
                    [&](const AttentionBlock& b) { attend_rows(b, reinterpret_cast<float*>(scratch)); });
    }
  }
}

Support supports_attention(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  for (const TensorDesc& input : request.inputs) {
    if (input.dtype != ir::DType::kFloat32) return Support::no("an operand is not float32");
    if (input.element_count() == 0) return Support::no("an operand is empty");
  }
  if (request.outputs[0].element_count() == 0) return Support::no("the result is empty");
  const auto last = static_cast<int64_t>(attrs.query_perm.size()) - 1;
  if (attrs.query_perm.back() != last || attrs.output_perm.back() != last) {
    return Support::no("a query's or a result's elements do not lie side by side");
  }
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_attention(const KernelRequest& request, PackCache&) {
  const auto plan = std::make_shared<const AttentionPlan>(plan_attention(request));
  const int threads = std::max(1, request.num_threads);
  const int64_t units = plan->items * plan->blocks;
  const double work = plan->work();
  const auto worth = std::max(static_cast<int64_t>(work / kMinUnitsOfThread), int64_t{work < kMinSharedWork ? 1 : 2});
  const int64_t tasks = std::clamp<int64_t>(std::min<int64_t>(worth, int64_t{2} * threads), 1, units);
  return make_kernel(
      [=](const KernelArgs& args) {
        const AttentionOperands operands = {
            input<float>(args, 0),
            input<float>(args, 1),
            input<float>(args, 2),
            {plan->masks > 0 ? input<float>(args, 3) : nullptr, plan->masks > 1 ? input<float>(args, 4) : nullptr},
            static_cast<std::byte*>(args.outputs[0])};
        args.pool->parallel_for(static_cast<int>(tasks), work * kWorkUnitNs, [&](int task, int slot) {
          attend(*plan, operands, units * task / tasks, units * (task + 1) / tasks,
                 args.scratch + static_cast<size_t>(slot) * plan->slot_bytes);
        });
        return Status::ok_status();
      },
      0, static_cast<size_t>(threads) * plan->slot_bytes);
}

double attention_us(const KernelRequest& request) {
  constexpr double kUnitsPerUs = 400;
  return 0.5 + plan_attention(request).work() / kUnitsPerUs / std::max(1, request.num_threads);
}

constexpr KernelEntry kAttentionRows[] = {
    {"cpu.attention.blocks_f32", ir::Op::kAttention, supports_attention, attention_us, create_attention},
};
constexpr KernelEntry kAttentionToBf16Rows[] = {
    {"cpu.attention.blocks_to_bf16", ir::Op::kCast, supports_to_bf16<ir::Op::kAttention, supports_attention>,
     us_with_cast<attention_us>, create_with_cast<create_attention>},
};

}  // namespace

std::span<const KernelEntry> attention_rows() { return kAttentionRows; }
std::span<const KernelEntry> attention_to_bf16_rows() { return kAttentionToBf16Rows; }

}  // namespace blade::backends::cpu
