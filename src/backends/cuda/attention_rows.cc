// Rows of attention: scores, softmax and weighted values in one launch, operands read and written where they lie.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/attention.h"
#include "backends/cuda/tensor_map.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

// Dims [batch..., row, column] and their strides, in elements.
struct StridedDims {
  ir::Dims dims, strides;
  int64_t rows() const { return dims[dims.size() - 2]; }
  int64_t columns() const { return dims.back(); }
};

// As the formula reads it.
StridedDims attention_operand(const TensorDesc& desc, const std::vector<int64_t>& perm) {
  StridedDims operand = {reference::permuted(desc.dims, perm), {}};
  operand.strides = reference::repeating(operand.dims, reference::permuted(row_major_strides(desc.dims), perm));
  return operand;
}

struct AttentionProblem {
  StridedDims q, k, v, out, masks[2];
  size_t mask_count = 0;
  ElementType type = ElementType::kFloat32;
  int64_t depth() const { return q.columns(); }
  int64_t widest() const { return std::max(q.columns(), v.columns()); }
  int64_t element_bytes() const { return type == ElementType::kFloat32 ? 4 : 2; }
  int64_t items() const { return product(out.dims, 0, out.dims.size() - 2); }
};

AttentionProblem attention_problem(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  AttentionProblem p;
  p.q = attention_operand(request.inputs[0], attrs.query_perm);
  p.k = attention_operand(request.inputs[1], attrs.key_perm);
  p.v = attention_operand(request.inputs[2], attrs.value_perm);
  const ir::Dims &stored = request.outputs[0].dims, strides = row_major_strides(stored);
  p.out.dims = p.out.strides = ir::Dims(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    p.out.dims[static_cast<size_t>(attrs.output_perm[i])] = stored[i];
    p.out.strides[static_cast<size_t>(attrs.output_perm[i])] = strides[i];
  }
  ir::Dims scores = p.out.dims;
  scores.back() = p.v.rows();
  p.mask_count = request.inputs.size() - 3;
  for (size_t i = 0; i < p.mask_count; ++i) {
    p.masks[i] = {scores, broadcast_strides(request.inputs[3 + i].dims, scores)};
  }
  p.type = *element_type(request.outputs[0].dtype);
  return p;
}

// Chunks of keys that one of the blocks has that divide them, at most.
int64_t attention_chunks(const AttentionProblem& p, const AttentionVariant& variant, int split_log2) {
  return ceil_div(ceil_div(p.v.rows(), int64_t{variant.keys}), int64_t{1} << split_log2);
}

int64_t attention_blocks(const AttentionProblem& p, int rows, int split_log2) {
  return p.items() * ceil_div(p.out.rows(), int64_t{rows}) << split_log2;
}

// Stages of keys for which there is room; 0: not for one.
int attention_stages(const AttentionProblem& p, const AttentionVariant& variant, int split_log2,
                     const DeviceInfo& card) {
  const auto room = static_cast<int64_t>(card.shared_bytes_per_block);
  if (variant.sum_bytes > room) return 0;
  return static_cast<int>(std::min(std::min<int64_t>(2, attention_chunks(p, variant, split_log2)),
                                   std::max<int64_t>(0, room - variant.query_bytes) / variant.stage_bytes));
}

// What all rows need.
Support supports_operands(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_full_or_half(request.outputs[0], "the result"); !s.ok) return s;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const TensorDesc& input = request.inputs[i];
    if (input.element_count() == 0) return Support::no("an operand is empty");
    const bool is_mask = i >= 3;
    if (input.dtype != request.outputs[0].dtype && !(is_mask && input.dtype == ir::DType::kFloat32)) {
      return Support::no("operands are of different types");
    }
  }
  if (request.outputs[0].dims.size() > kMaxRank + 2) return Support::no("has too many batch dims");
  const auto last = static_cast<int64_t>(attrs.query_perm.size()) - 1;
  if (attrs.query_perm.back() != last || attrs.output_perm.back() != last) {
    return Support::no("a query's or a result's elements do not lie side by side");
  }
  const AttentionProblem p = attention_problem(request);
  if (p.widest() > kMostAttentionDepth) {
    return Support::no("queries or values have " + std::to_string(p.widest()) + " elements, takes " +
                       std::to_string(kMostAttentionDepth));
  }
  return Support::yes();
}

Support supports_attention(const KernelRequest& request, int rows, int split_log2) {
  if (Support s = supports_operands(request); !s.ok) return s;
  const AttentionProblem p = attention_problem(request);
  const AttentionVariant variant = attention_variant(p.type, rows, static_cast<int>(p.widest()));
  if (variant.kernel == nullptr) return Support::no("so many queries are not compiled for this type");
  if (attention_stages(p, variant, split_log2, request.device->info()) == 0) {
    return Support::no("the card has too little shared memory for " + std::to_string(variant.keys) + " keys");
  }
  if (split_log2 > 0 && request.device->info().capability < 90) {
    return Support::no("clusters need compute capability 9.0");
  }
  if (ceil_div(p.v.rows(), int64_t{variant.keys}) < int64_t{1} << split_log2) {
    return Support::no("has too few keys to be divided so often");
  }
  if (attention_blocks(p, rows, split_log2) > std::numeric_limits<int>::max()) {
    return Support::no("has more blocks of queries than a launch takes");
  }
  return Support::yes();
}

// Of all keys and values.
double operand_bytes(const AttentionProblem& p) {
  const int64_t row = (p.depth() + p.v.columns()) * p.element_bytes();
  return static_cast<double>(p.items() * p.v.rows() * row);
}

// Constants are of an H200, roughly.
double predict_attention_us(const KernelRequest& request, int rows, int split_log2) {
  const AttentionProblem p = attention_problem(request);
  const AttentionVariant variant = attention_variant(p.type, rows, static_cast<int>(p.widest()));
  const auto blocks = static_cast<double>(attention_blocks(p, rows, split_log2));
  const auto chunks = static_cast<double>(attention_chunks(p, variant, split_log2));
  const double waves = std::max(1.0, blocks / (2.0 * request.device->info().multiprocessors));
  const double chunk_us = p.type == ElementType::kFloat32 ? 2.0 : 0.6;
  constexpr double kReadInUs = 2.5e6;  // bytes, at best
  return (split_log2 > 0 ? 5.0 : 2.5) +
         std::max(waves * (0.6 + chunks * chunk_us * (p.widest() > 64 ? 2 : 1)), operand_bytes(p) / kReadInUs);
}

// `strides` are of dims that merge_loops() made.
AttentionParams::Operand operand_params(const StridedDims& operand, const ir::Dims& batch_strides, int64_t piece,
                                        int64_t size) {
  AttentionParams::Operand params;
  params.row = static_cast<int>(operand.strides[operand.strides.size() - 2]);
  params.column = static_cast<int>(operand.strides.back());
  params.in_pieces = params.column == 1 && operand.columns() % piece == 0 && params.row * size % 16 == 0;
  for (size_t d = 0; d < batch_strides.size(); ++d) {
    params.batch[d] = static_cast<int>(batch_strides[d]);
    params.in_pieces = params.in_pieces && batch_strides[d] * size % 16 == 0;
  }
  return params;
}

AttentionParams attention_params(const AttentionProblem& p, const ir::AttentionAttrs& attrs, int rows, int stages) {
  AttentionParams params;
  const auto batch = [](const ir::Dims& all) { return ir::Dims(all.begin(), all.end() - 2); };
  const StridedDims* const operands[] = {&p.q, &p.k, &p.v, &p.out, &p.masks[0], &p.masks[1]};
  AttentionParams::Operand* const to[] = {&params.q, &params.k, &params.v, &params.out, &params.mask, &params.added};
  const size_t count = 4 + p.mask_count;
  std::vector<ir::Dims> strides;
  for (size_t i = 0; i < count; ++i) strides.push_back(batch(operands[i]->strides));
  const MergedLoops loops = merge_loops(batch(p.out.dims), strides);
  params.batch_rank = static_cast<int>(loops.dims.size());
  for (size_t d = 0; d < loops.dims.size(); ++d) params.batch_dims[d] = FastDivisor(loops.dims[d]);
  const int64_t size = p.element_bytes();
  for (size_t i = 0; i < count; ++i) {
    const bool is_result = operands[i] == &p.out;
    *to[i] = operand_params(*operands[i], loops.strides[i], is_result ? 8 : 16 / size, size);
  }
  params.scale = attrs.scale;
  params.mask_replaces = attrs.mask_replaces && p.mask_count > 0;
  params.queries = static_cast<int>(p.out.rows());
  params.keys = static_cast<int>(p.v.rows());
  params.depth = static_cast<int>(p.depth());
  params.width = static_cast<int>(p.v.columns());
  params.stages = stages;
  params.row_blocks = FastDivisor(ceil_div(p.out.rows(), int64_t{rows}));
  return params;
}

void bind(AttentionParams::Operand& operand, const void* data) {
  operand.data = data;
  operand.in_pieces = operand.in_pieces && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

void bind(AttentionParams& params, const KernelArgs& args, size_t mask_count) {
  bind(params.q, args.inputs[0]);
  bind(params.k, args.inputs[1]);
  bind(params.v, args.inputs[2]);
  if (mask_count > 0) bind(params.mask, args.inputs[3]);
  if (mask_count > 1) bind(params.added, args.inputs[4]);
  bind(params.out, args.outputs[0]);
}

void set_mask_types(AttentionParams& params, const KernelRequest& request, size_t mask_count) {
  AttentionParams::Operand* const masks[] = {&params.mask, &params.added};
  for (size_t i = 0; i < mask_count; ++i) masks[i]->is_float = request.inputs[3 + i].dtype == ir::DType::kFloat32;
}

Result<std::unique_ptr<Kernel>> create_attention(const KernelRequest& request, int rows, int split_log2) {
  const AttentionProblem p = attention_problem(request);
  const AttentionVariant variant = attention_variant(p.type, rows, static_cast<int>(p.widest()));
  const int stages = attention_stages(p, variant, split_log2, request.device->info());
  AttentionParams params = attention_params(p, request.node->get<ir::AttentionAttrs>(), rows, stages);
  params.split_log2 = split_log2;
  set_mask_types(params, request, p.mask_count);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(attention_blocks(p, rows, split_log2));
  shape.threads = kAttentionThreads;
  shape.cluster = 1 << split_log2;
  shape.shared_bytes = std::max(variant.query_bytes + stages * variant.stage_bytes, variant.sum_bytes);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, variant.kernel, shape));
  return make_kernel([=, kernel = variant.kernel, mask_count = p.mask_count](const KernelArgs& args) {
    AttentionParams bound = params;
    bind(bound, args, mask_count);
    void* arguments[] = {&bound};
    return launch(args, kernel, shape, arguments);
  });
}

template <int kRows, int kSplitLog2 = 0>
constexpr KernelEntry attention_row(const char* name) {
  struct Row {
    static Support supports(const KernelRequest& request) { return supports_attention(request, kRows, kSplitLog2); }
    static double predicted_us(const KernelRequest& request) {
      return predict_attention_us(request, kRows, kSplitLog2);
    }
    static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache&) {
      return create_attention(request, kRows, kSplitLog2);
    }
  };
  return {name, ir::Op::kAttention, Row::supports, Row::predicted_us, Row::create};
}

// --- few queries, keys and values straight from memory ---

int64_t stream_blocks(const AttentionProblem& p, int split_log2) {
  return p.items() * ceil_div(p.out.rows(), int64_t{kStreamQueries}) << split_log2;
}

Support supports_stream(const KernelRequest& request, int split_log2) {
  if (Support s = supports_operands(request); !s.ok) return s;
  const AttentionProblem p = attention_problem(request);
  if (p.type == ElementType::kFloat32) return Support::no("needs operands in float16 or bfloat16");
  constexpr int64_t kMostRows = 2 * kStreamQueries;
  if (p.out.rows() > kMostRows) {
    return Support::no("has " + std::to_string(p.out.rows()) + " queries, takes " + std::to_string(kMostRows));
  }
  const AttentionParams params = attention_params(p, request.node->get<ir::AttentionAttrs>(), kStreamQueries, 1);
  if (!params.q.in_pieces || !params.k.in_pieces || !params.v.in_pieces) {
    return Support::no("rows of queries, keys or values are no multiples of 16 bytes");
  }
  if (split_log2 > 0 && request.device->info().capability < 90) {
    return Support::no("clusters need compute capability 9.0");
  }
  if (split_log2 > 3 && request.device->info().capability != 90) {
    return Support::no("clusters of more than 8 blocks are used on compute capability 9.0 alone");
  }
  if (attention_stream_variant(p.type, static_cast<int>(p.widest()), false).shared_bytes >
      static_cast<int64_t>(request.device->info().shared_bytes_per_block)) {
    return Support::no("the card has too little shared memory for the keys under way");
  }
  constexpr int64_t kLeastKeys = 64;  // of a block
  if (split_log2 > 0 && p.v.rows() < kLeastKeys << split_log2) {
    return Support::no("has too few keys to be divided so often");
  }
  if (stream_blocks(p, split_log2) > std::numeric_limits<int>::max()) {
    return Support::no("has more blocks of queries than a launch takes");
  }
  return Support::yes();
}

// Constants are of an H200, roughly: bytes that a block and the card read in a microsecond.
double predict_stream_us(const KernelRequest& request, int split_log2) {
  constexpr double kOfBlock = 40e3, kOfCard = 4e6;
  const AttentionProblem p = attention_problem(request);
  const auto blocks = static_cast<double>(stream_blocks(p, split_log2));
  const double slots = 2.0 * request.device->info().multiprocessors;
  const double row_blocks = std::ceil(static_cast<double>(p.out.rows()) / kStreamQueries);
  const double block_bytes = operand_bytes(p) * row_blocks / blocks;
  const double rate = std::min(kOfBlock, kOfCard / std::min(blocks, slots));
  return 2.5 + 0.4 * split_log2 + std::max(1.0, blocks / slots) * block_bytes / rate;
}

Result<std::unique_ptr<Kernel>> create_stream(const KernelRequest& request, int split_log2) {
  const AttentionProblem p = attention_problem(request);
  AttentionParams params = attention_params(p, request.node->get<ir::AttentionAttrs>(), kStreamQueries, 1);
  params.split_log2 = split_log2;
  set_mask_types(params, request, p.mask_count);
  const AttentionStreamVariant variant =
      attention_stream_variant(p.type, static_cast<int>(p.widest()), p.mask_count > 0);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(stream_blocks(p, split_log2));
  shape.threads = kStreamThreads;
  shape.cluster = 1 << split_log2;
  shape.shared_bytes = variant.shared_bytes;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, variant.kernel, shape));
  return make_kernel([=, kernel = variant.kernel, mask_count = p.mask_count](const KernelArgs& args) {
    AttentionParams bound = params;
    bind(bound, args, mask_count);
    void* arguments[] = {&bound};
    return launch(args, kernel, shape, arguments);
  });
}

template <int kSplitLog2>
constexpr KernelEntry stream_row(const char* name) {
  struct Row {
    static Support supports(const KernelRequest& request) { return supports_stream(request, kSplitLog2); }
    static double predicted_us(const KernelRequest& request) { return predict_stream_us(request, kSplitLog2); }
    static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache&) {
      return create_stream(request, kSplitLog2);
    }
  };
  return {name, ir::Op::kAttention, Row::supports, Row::predicted_us, Row::create};
}

// --- groups of four warps, each with 64 queries ---

GroupMasks group_masks(const AttentionProblem& p) {
  if (p.mask_count == 0) return GroupMasks::kNone;
  const ir::Dims& strides = p.masks[0].strides;
  return p.mask_count == 1 && strides[strides.size() - 2] == 0 ? GroupMasks::kShared : GroupMasks::kEach;
}

Support supports_groups(const KernelRequest& request, int groups) {
  if (request.device->info().capability != 90) return Support::no("needs compute capability 9.0");
  if (Support s = supports_operands(request); !s.ok) return s;
  if (Support s = supports_rows_map(); !s.ok) return s;
  const AttentionProblem p = attention_problem(request);
  if (p.type == ElementType::kFloat32) return Support::no("needs operands in float16 or bfloat16");
  if (attention_group_variant(p.type, groups, static_cast<int>(p.widest()), group_masks(p)).kernel == nullptr) {
    return Support::no("so many groups with a mask for each query are not compiled for this type");
  }
  const auto& attrs = request.node->get<ir::AttentionAttrs>();
  if (!(attrs.scale > 0)) return Support::no("the scale is not above zero");
  const AttentionParams params = attention_params(p, attrs, 1, 1);
  if (!params.q.in_pieces || !params.k.in_pieces || !params.v.in_pieces) {
    return Support::no("rows of queries, keys or values are no multiples of 16 bytes");
  }
  if (params.batch_rank > kMappedBatchDims) return Support::no("has too many batch dims for a tensor map");
  const int64_t blocks = p.items() * ceil_div(p.out.rows(), int64_t{groups * kGroupQueries});
  if (blocks > std::numeric_limits<int>::max()) return Support::no("has more blocks of queries than a launch takes");
  return Support::yes();
}

// Constants are of an H200, roughly: microseconds for 64 keys of a block of 1, 2 and 3 groups.
double predict_groups_us(const KernelRequest& request, int groups) {
  constexpr double kShallow[] = {0.8, 0.65, 0.78}, kDeep[] = {0.9, 0.83, 1.2};
  const AttentionProblem p = attention_problem(request);
  const GroupMasks masks = group_masks(p);
  const AttentionGroupVariant variant = attention_group_variant(p.type, groups, static_cast<int>(p.widest()), masks);
  const auto blocks = static_cast<double>(p.items() * ceil_div(p.out.rows(), int64_t{groups * kGroupQueries}));
  const double waves = std::ceil(blocks / (request.device->info().multiprocessors * variant.blocks));
  const auto keys = static_cast<double>(ceil_div(p.v.rows(), int64_t{variant.keys}) * variant.keys);
  const double us = (p.widest() > 64 ? kDeep : kShallow)[groups - 1] * (masks == GroupMasks::kEach ? 2 : 1);
  return 1 + waves * (0.9 + keys / 64 * us);
}

ir::Dims map_dims(const AttentionParams& params, int64_t columns, int64_t rows) {
  ir::Dims dims = {columns, rows};
  for (int d = 0; d < params.batch_rank; ++d) dims.push_back(params.batch_dims[d].divisor);
  return dims;
}

Result<TensorMap> operand_map(const AttentionParams& params, const AttentionParams::Operand& operand, int64_t columns,
                              int64_t rows, int box_rows) {
  ir::Dims strides = {operand.row};
  strides.insert(strides.end(), operand.batch, operand.batch + params.batch_rank);
  return make_rows_map(operand.data, map_dims(params, columns, rows), strides, box_rows);
}

Result<std::unique_ptr<Kernel>> create_groups(const KernelRequest& request, int groups) {
  const AttentionProblem p = attention_problem(request);
  const AttentionGroupVariant variant =
      attention_group_variant(p.type, groups, static_cast<int>(p.widest()), group_masks(p));
  const int queries = groups * kGroupQueries;
  const int64_t chunks = ceil_div(p.v.rows(), int64_t{variant.keys});
  constexpr int64_t kBesideChunks = 2048;  // barriers, and what aligns the chunks
  const int64_t room =
      static_cast<int64_t>(request.device->info().shared_bytes_per_block) - variant.query_bytes - kBesideChunks;
  const auto stages = static_cast<int>(std::min({chunks, room / variant.stage_bytes, int64_t{variant.stages}}));
  AttentionParams params = attention_params(p, request.node->get<ir::AttentionAttrs>(), queries, stages);
  set_mask_types(params, request, p.mask_count);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(p.items() * ceil_div(p.out.rows(), int64_t{queries}));
  shape.threads = variant.threads;
  shape.shared_bytes = variant.query_bytes + stages * variant.stage_bytes;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, variant.kernel, shape));
  return make_kernel([=, mask_count = p.mask_count](const KernelArgs& args) -> Status {
    AttentionParams bound = params;
    bind(bound, args, mask_count);
    AttentionMaps maps;
    BLADE_ASSIGN_OR_RETURN(maps.q, operand_map(bound, bound.q, bound.depth, bound.queries, kGroupQueries));
    BLADE_ASSIGN_OR_RETURN(maps.k, operand_map(bound, bound.k, bound.depth, bound.keys, variant.keys));
    BLADE_ASSIGN_OR_RETURN(maps.v, operand_map(bound, bound.v, bound.width, bound.keys, variant.keys));
    void* arguments[] = {&maps, &bound};
    return launch(args, variant.kernel, shape, arguments);
  });
}

template <int kGroups>
constexpr KernelEntry group_row(const char* name) {
  struct Row {
    static Support supports(const KernelRequest& request) { return supports_groups(request, kGroups); }
    static double predicted_us(const KernelRequest& request) { return predict_groups_us(request, kGroups); }
    static Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache&) {
      return create_groups(request, kGroups);
    }
  };
  return {name, ir::Op::kAttention, Row::supports, Row::predicted_us, Row::create};
}

constexpr KernelEntry kAttentionRows[] = {
    attention_row<16>("cuda.attention.rows16"),
    attention_row<32>("cuda.attention.rows32"),
    attention_row<64>("cuda.attention.rows64"),
    attention_row<128>("cuda.attention.rows128"),
    attention_row<16, 1>("cuda.attention.rows16_split2"),
    attention_row<16, 2>("cuda.attention.rows16_split4"),
    attention_row<16, 3>("cuda.attention.rows16_split8"),
    stream_row<0>("cuda.attention.stream"),
    stream_row<1>("cuda.attention.stream_split2"),
    stream_row<2>("cuda.attention.stream_split4"),
    stream_row<3>("cuda.attention.stream_split8"),
    stream_row<4>("cuda.attention.stream_split16"),
    group_row<1>("cuda.attention.groups1"),
    group_row<2>("cuda.attention.groups2"),
    group_row<3>("cuda.attention.groups3"),
};

}  // namespace

std::span<const KernelEntry> attention_rows() { return kAttentionRows; }

}  // namespace blade::backends::cuda
