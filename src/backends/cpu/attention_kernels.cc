// Attention in one step: the scores of a block of queries stay in the cache between the two products, and heads are
// read and written where they lie.
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/gemm.h"
#include "backends/cpu/row_functions.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kScoresOfBlock = 64 * 1024;  // floats, a quarter of a small L2
constexpr int64_t kRowsOfTile = 14;
constexpr double kFlopsPerUnit = 12;   // of parallel_ranges()' unit of work
constexpr double kUnitsPerScore = 10;  // its exponential

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
  MatrixBatch q, k, v, out, mask;
  bool masked = false, mask_replaces = false;
  float scale = 1;
  int64_t blocks = 1, rows = 0;  // of an item's queries; rows of a block
  size_t k_bytes = 0, v_bytes = 0, score_bytes = 0, tile_bytes = 0;

  int64_t pitch() const { return ceil_div(keys, 16) * 16 + 16; }
  size_t slot_bytes() const { return k_bytes + v_bytes + score_bytes + tile_bytes; }
  double work() const {
    const auto scores = static_cast<double>(items * queries * keys);
    return scores * (2.0 * static_cast<double>(depth + width) / kFlopsPerUnit + kUnitsPerScore);
  }
};

void plan_blocks(AttentionPlan& plan, int threads) {
  const int64_t most = std::max(kScoresOfBlock / plan.pitch() / kRowsOfTile * kRowsOfTile, kRowsOfTile);
  // Every thread gets one; or two, where packing keys and values for each is little beside its products.
  const auto blocks_of = [&](int64_t for_each_thread, int64_t least_rows) {
    return std::min(ceil_div(for_each_thread * threads, plan.items), plan.queries / least_rows);
  };
  plan.blocks =
      std::max({ceil_div(plan.queries, most), blocks_of(1, kRowsOfTile), blocks_of(2, 2 * kRowsOfTile), int64_t{1}});
  plan.rows = ceil_div(plan.queries, plan.blocks);
  plan.blocks = ceil_div(plan.queries, plan.rows);
  plan.k_bytes = align_up(packed_b_bytes(plan.depth, plan.keys), 64);
  plan.v_bytes = align_up(packed_b_bytes(plan.keys, plan.width), 64);
  plan.score_bytes = align_up(static_cast<size_t>(plan.rows * plan.pitch()) * sizeof(float), 64);
  plan.tile_bytes = std::max(gemm_scratch_bytes<float>(plan.rows, plan.depth, plan.keys, 1),
                             gemm_scratch_bytes<float>(plan.rows, plan.keys, plan.width, 1));
}

AttentionPlan plan_attention(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  const auto strides = [&](size_t i) { return row_major_strides(request.inputs[i].dims); };
  const ir::Dims q = reference::permuted(request.inputs[0].dims, attrs.query_perm),
                 k = reference::permuted(request.inputs[1].dims, attrs.key_perm),
                 v = reference::permuted(request.inputs[2].dims, attrs.value_perm);
  AttentionPlan plan;
  plan.items = product(q, 0, q.size() - 2);
  plan.queries = q[q.size() - 2];
  plan.keys = k[k.size() - 2];
  plan.depth = q.back();
  plan.width = v.back();
  plan.scale = attrs.scale;
  plan.q = matrix_batch(q, reference::permuted(strides(0), attrs.query_perm));
  plan.k = matrix_batch(k, reference::permuted(strides(1), attrs.key_perm));
  plan.v = matrix_batch(v, reference::permuted(strides(2), attrs.value_perm));
  ir::Dims out = q, out_strides(q.size()), scores = q;
  out.back() = plan.width;
  const ir::Dims stored = row_major_strides(request.outputs[0].dims);
  for (size_t i = 0; i < stored.size(); ++i) out_strides[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
  plan.out = matrix_batch(out, out_strides);
  scores.back() = plan.keys;
  plan.masked = request.inputs.size() > 3;
  plan.mask_replaces = attrs.mask_replaces;
  if (plan.masked) plan.mask = matrix_batch(scores, broadcast_strides(request.inputs[3].dims, scores));
  plan_blocks(plan, std::max(1, request.num_threads));
  return plan;
}

struct AttentionOperands {
  const float *q, *k, *v, *mask;
  float* out;
};

// A row of scores to weights; `mask`: null, or the row's first number of it.
void weigh(const RowFunctions& f, const AttentionPlan& plan, const float* mask, float* row) {
  if (plan.scale != 1) f.affine(row, plan.scale, 0, row, plan.keys);
  if (mask != nullptr && plan.mask_replaces) {
    for (int64_t s = 0; s < plan.keys; ++s) {
      const float of_mask = mask[s * plan.mask.column];
      row[s] = of_mask != 0 ? of_mask : row[s];
    }
  } else if (mask != nullptr && plan.mask.column == 0) {
    f.affine(row, 1, *mask, row, plan.keys);
  } else if (mask != nullptr) {
    f.add_to(mask, row, plan.keys);
  }
  const float sum = f.exp_sum(row, f.max(row, plan.keys), row, plan.keys);
  f.affine(row, 1 / sum, 0, row, plan.keys);
}

// Blocks [first, last) of all items' on one thread.
void attend(const AttentionPlan& plan, const AttentionOperands& operands, int64_t first, int64_t last,
            std::byte* scratch) {
  const RowFunctions& f = row_functions();
  auto* scores = reinterpret_cast<float*>(scratch + plan.k_bytes + plan.v_bytes);
  std::byte* tiles = scratch + plan.k_bytes + plan.v_bytes + plan.score_bytes;
  PackedB keys, values;
  for (int64_t unit = first; unit < last; ++unit) {
    const auto item = static_cast<size_t>(unit / plan.blocks);
    const int64_t block = unit % plan.blocks, row = block * plan.rows;
    if (unit == first || block == 0) {
      keys = pack_b(operands.k + plan.k.offsets[item], plan.depth, plan.keys, plan.k.column, plan.k.row, scratch);
      values = pack_b(operands.v + plan.v.offsets[item], plan.keys, plan.width, plan.v.row, plan.v.column,
                      scratch + plan.k_bytes);
    }
    const int64_t rows = std::min(plan.rows, plan.queries - row);
    gemm(rows, plan.depth, operands.q + plan.q.offsets[item] + row * plan.q.row, plan.q.row, keys, scores, plan.pitch(),
         EpilogueF32{}, ThreadPool::caller_only(), tiles);
    const float* mask = plan.masked ? operands.mask + plan.mask.offsets[item] : nullptr;
    for (int64_t r = 0; r < rows; ++r)
      weigh(f, plan, mask == nullptr ? nullptr : mask + (row + r) * plan.mask.row, scores + r * plan.pitch());
    gemm(rows, plan.keys, scores, plan.pitch(), values, operands.out + plan.out.offsets[item] + row * plan.out.row,
         plan.out.row, EpilogueF32{}, ThreadPool::caller_only(), tiles);
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
  const auto worth = static_cast<int64_t>(plan->work() / static_cast<double>(kMinWorkPerTask));
  const int64_t tasks = std::clamp<int64_t>(std::min<int64_t>(worth, int64_t{4} * threads), 1, units);
  return make_kernel(
      [=](const KernelArgs& args) {
        const AttentionOperands operands = {input<float>(args, 0), input<float>(args, 1), input<float>(args, 2),
                                            plan->masked ? input<float>(args, 3) : nullptr, output<float>(args)};
        args.pool->parallel_for(static_cast<int>(tasks), [&](int task, int slot) {
          attend(*plan, operands, units * task / tasks, units * (task + 1) / tasks,
                 args.scratch + static_cast<size_t>(slot) * plan->slot_bytes());
        });
        return Status::ok_status();
      },
      0, static_cast<size_t>(threads) * plan->slot_bytes());
}

constexpr KernelEntry kAttentionRows[] = {
    {"cpu.attention.blocks_f32", ir::Op::kAttention, supports_attention, nullptr, create_attention},
};

}  // namespace

std::span<const KernelEntry> attention_rows() { return kAttentionRows; }

}  // namespace blade::backends::cpu
