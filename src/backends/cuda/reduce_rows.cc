// Rows for reductions, arg-reductions, softmax and layer normalization.
#include <algorithm>

#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/row_warps.h"
#include "backends/cuda/kernels/simple_kernels.h"

namespace blade::backends::cuda {
namespace {

struct Block {
  int64_t outer = 1, reduced = 1, inner = 1;
};

// The dims as [outer, reduced, inner]; nothing where the reduced axes are not neighbours (dims of 1 aside).
std::optional<Block> as_block(const ir::Dims& dims, const std::vector<int64_t>& axes) {
  Block block;
  enum { kBefore, kInside, kAfter } at = kBefore;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 1) continue;
    const bool is_reduced = std::find(axes.begin(), axes.end(), static_cast<int64_t>(d)) != axes.end();
    if (is_reduced) {
      if (at == kAfter) return std::nullopt;
      at = kInside;
      block.reduced *= dims[d];
    } else {
      if (at == kInside) at = kAfter;
      (at == kBefore ? block.outer : block.inner) *= dims[d];
    }
  }
  return block;
}

std::optional<ReduceOp> reduce_op(ir::ReduceKind kind) {
  switch (kind) {
    case ir::ReduceKind::kSum:
      return ReduceOp::kSum;
    case ir::ReduceKind::kMean:
      return ReduceOp::kMean;
    case ir::ReduceKind::kProd:
      return ReduceOp::kProd;
    case ir::ReduceKind::kMax:
    case ir::ReduceKind::kAny:
      return ReduceOp::kMax;
    case ir::ReduceKind::kMin:
    case ir::ReduceKind::kAll:
      return ReduceOp::kMin;
  }
  return std::nullopt;
}

Support supports_reduce(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_element_type(request.inputs[0], "the input", true); !s.ok) return s;
  if (request.inputs[0].element_count() == 0) return Support::no("the input is empty");
  if (as_block(request.inputs[0].dims, request.node->get<ir::ReduceAttrs>().axes)) return Support::yes();
  return Support::no("the reduced axes are not neighbours");
}

// One launch, or two where too few blocks would have too much to read: parts of the reduced dim first, then these.
struct ReduceLaunch {
  ReduceParams params;
  LaunchShape shape;
};

ReduceLaunch reduce_launch(const Block& block, ReduceOp op, int multiprocessors) {
  constexpr int kLeastLanes = 16, kMostLanes = 64;
  ReduceLaunch made;
  int lanes = kMostLanes;
  const auto blocks = [&] { return block.outer * ceil_div(block.inner, int64_t{lanes}); };
  while (lanes > block.inner || (lanes > kLeastLanes && blocks() < multiprocessors)) {
    if (lanes == 1) break;
    lanes /= 2;
  }
  made.params.reduced = static_cast<int>(block.reduced);
  made.params.inner = static_cast<int>(block.inner);
  made.params.op = op;
  while (1 << made.params.lanes_log2 < lanes) ++made.params.lanes_log2;
  made.params.inner_blocks = FastDivisor(ceil_div(block.inner, int64_t{lanes}));
  made.shape.threads = kSimpleThreads;
  made.shape.grid.x = static_cast<unsigned>(blocks());
  return made;
}

SmallPiece small_reduction(const Block& block, ReduceOp op, float scale, ElementType type, ElementType result) {
  SmallPiece piece;
  piece.kind = SmallKind::kReduce;
  piece.op = op == ReduceOp::kMean ? ReduceOp::kSum : op;
  piece.scale = scale;
  piece.depth = block.reduced;
  piece.depth_strides[0] = block.inner;
  piece.dims = {block.outer, block.inner};
  piece.inputs = {{0, static_cast<int>(type), 0, {block.reduced * block.inner, 1}}};
  piece.output = {0, static_cast<int>(result), 0, {block.inner, 1}};
  return piece;
}

float scale_of(ir::ReduceKind kind, int64_t reduced) {
  return kind == ir::ReduceKind::kMean ? 1.0f / static_cast<float>(reduced) : 1.0f;
}

Result<std::unique_ptr<Kernel>> create_reduce(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  const Block block = *as_block(request.inputs[0].dims, attrs.axes);
  const ReduceOp op = *reduce_op(attrs.kind);
  const int sms = request.device->info().multiprocessors;
  const float scale = scale_of(attrs.kind, block.reduced);
  const ElementType type = *element_type(request.inputs[0].dtype), result = *element_type(request.outputs[0].dtype);
  constexpr int64_t kLeastPart = 256;  // of the reduced dim, for a block
  ReduceLaunch first = reduce_launch(block, op, sms);
  const int64_t parts = std::clamp(std::min(sms / static_cast<int64_t>(first.shape.grid.x), block.reduced / kLeastPart),
                                   int64_t{1}, int64_t{sms});
  first.shape.grid.y = static_cast<unsigned>(parts);
  first.params.result_type = parts > 1 ? ElementType::kFloat32 : result;
  first.params.scale = parts > 1 ? 1.0f : scale;
  ReduceLaunch second = reduce_launch({block.outer, parts, block.inner}, op, sms);
  second.params.result_type = result;
  second.params.scale = scale;
  const void *kernel = reduce_kernel(type), *joins = reduce_kernel(ElementType::kFloat32);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, first.shape));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, joins, second.shape));
  const size_t scratch = parts > 1 ? static_cast<size_t>(block.outer * parts * block.inner) * sizeof(float) : 0;
  return make_kernel(
      [=](const KernelArgs& args) -> Status {
        ReduceParams p = first.params;
        p.x = args.inputs[0];
        p.y = parts > 1 ? static_cast<void*>(args.scratch) : args.outputs[0];
        void* arguments[] = {&p};
        BLADE_RETURN_IF_ERROR(launch(args, kernel, first.shape, arguments));
        if (parts == 1) return {};
        ReduceParams q = second.params;
        q.x = args.scratch;
        q.y = args.outputs[0];
        void* more[] = {&q};
        return launch(args, joins, second.shape, more);
      },
      {.scratch_bytes = scratch, .small = small_work(request, {small_reduction(block, op, scale, type, result)})});
}

// --- a row a warp, and columns side by side ---

// Below these, blocks of one row are as fast on an H200, and small steps are joined.
constexpr int64_t kLeastReducedRows = 128, kLeastHeldRows = 1024, kLeastColumns = 64;
constexpr int64_t kLeastRowElements = 1 << 14, kLeastColumnElements = 1 << 20;

Support supports_reduce_fours(const KernelRequest& request, bool columns) {
  if (Support s = supports_reduce(request); !s.ok) return s;
  const Block block = *as_block(request.inputs[0].dims, request.node->get<ir::ReduceAttrs>().axes);
  if ((block.inner == 1) == columns) return Support::no(columns ? "reduces the last axis" : "keeps the last axis");
  if ((columns ? block.inner : block.reduced) % 4 != 0) return Support::no("the last axis is no multiple of 4");
  if (columns ? block.inner < kLeastColumns : block.outer < kLeastReducedRows)
    return Support::no("has too few results");
  const int64_t least = columns ? kLeastColumnElements : kLeastRowElements;
  if (request.inputs[0].element_count() >= least) return Support::yes();
  return Support::no("has fewer than " + std::to_string(least) + " elements");
}
Support supports_reduce_warp(const KernelRequest& request) { return supports_reduce_fours(request, false); }
Support supports_reduce_columns(const KernelRequest& request) { return supports_reduce_fours(request, true); }

LaunchShape warp_rows(int64_t rows) {
  LaunchShape shape = one_each(rows, kRowWarps);
  shape.threads = 32 * kRowWarps;
  return shape;
}

Result<std::unique_ptr<Kernel>> create_reduce_warp(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  const Block block = *as_block(request.inputs[0].dims, attrs.axes);
  RowReduceParams params;
  params.rows = block.outer;
  params.columns = static_cast<int>(block.reduced);
  params.scale = scale_of(attrs.kind, block.reduced);
  params.op = *reduce_op(attrs.kind);
  params.result_type = *element_type(request.outputs[0].dtype);
  const LaunchShape shape = warp_rows(block.outer);
  const void* kernel = reduce_warp_kernel(*element_type(request.inputs[0].dtype));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel([=](const KernelArgs& args) {
    RowReduceParams p = params;
    p.x = args.inputs[0];
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, kernel, shape, arguments);
  });
}

struct ColumnLaunch {
  ColumnReduceParams params;
  LaunchShape shape;
};

ColumnLaunch column_launch(const Block& block, int64_t parts, ReduceOp op, float scale, ElementType result) {
  ColumnLaunch made;
  made.params.reduced = static_cast<int>(block.reduced);
  made.params.inner = static_cast<int>(block.inner);
  made.params.inner_blocks = FastDivisor(ceil_div(block.inner, int64_t{128}));
  made.params.scale = scale;
  made.params.op = op;
  made.params.result_type = result;
  made.shape.threads = 32 * kRowWarps;
  made.shape.grid =
      dim3(static_cast<unsigned>(block.outer * made.params.inner_blocks.divisor), static_cast<unsigned>(parts));
  return made;
}

Result<std::unique_ptr<Kernel>> create_reduce_columns(const KernelRequest& request, PackCache&) {
  constexpr int64_t kBlocksAnSm = 6, kLeastPart = 64;
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  const Block block = *as_block(request.inputs[0].dims, attrs.axes);
  const ReduceOp op = *reduce_op(attrs.kind);
  const float scale = scale_of(attrs.kind, block.reduced);
  const ElementType type = *element_type(request.inputs[0].dtype), result = *element_type(request.outputs[0].dtype);
  const int64_t blocks = block.outer * ceil_div(block.inner, int64_t{128});
  const int64_t wanted = kBlocksAnSm * request.device->info().multiprocessors / blocks;
  const int64_t parts = std::clamp(wanted, int64_t{1}, std::max(block.reduced / kLeastPart, int64_t{1}));
  const bool split = parts > 1;
  const ColumnLaunch first =
      column_launch(block, parts, op, split ? 1.0f : scale, split ? ElementType::kFloat32 : result);
  const ColumnLaunch second = column_launch({block.outer, parts, block.inner}, 1, op, scale, result);
  const void *kernel = reduce_columns_kernel(type), *joins = reduce_columns_kernel(ElementType::kFloat32);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, first.shape));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, joins, second.shape));
  const size_t scratch = split ? static_cast<size_t>(block.outer * parts * block.inner) * sizeof(float) : 0;
  return make_kernel(
      [=](const KernelArgs& args) -> Status {
        ColumnReduceParams p = first.params;
        p.x = args.inputs[0];
        p.y = split ? static_cast<void*>(args.scratch) : args.outputs[0];
        void* arguments[] = {&p};
        BLADE_RETURN_IF_ERROR(launch(args, kernel, first.shape, arguments));
        if (!split) return {};
        ColumnReduceParams q = second.params;
        q.x = args.scratch;
        q.y = args.outputs[0];
        void* more[] = {&q};
        return launch(args, joins, second.shape, more);
      },
      {.scratch_bytes = scratch});
}

// --- axes that are no neighbours ---

Support supports_reduce_strided(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_element_type(request.inputs[0], "the input", true); !s.ok) return s;
  if (request.inputs[0].element_count() == 0) return Support::no("the input is empty");
  if (request.inputs[0].dims.size() > kMaxRank) return Support::no("has more than 8 dims");
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_reduce_strided(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ReduceAttrs>();
  const ir::Dims &dims = request.inputs[0].dims, strides = row_major_strides(dims);
  StridedReduceParams params;
  // One dim of 1 at least, so that every position has an index.
  params.kept_rank = params.reduced_rank = 1;
  int64_t kept = 1, reduced = 1;
  const auto add = [](int64_t dim, int64_t stride, int64_t& count, int& rank, FastDivisor* to_dims, int* to_strides) {
    if (count > 1) ++rank;
    to_dims[rank - 1] = FastDivisor(dim);
    to_strides[rank - 1] = static_cast<int>(stride);
    count *= dim;
  };
  for (size_t d = 0; d < dims.size(); ++d) {
    if (dims[d] == 1) continue;
    if (std::find(attrs.axes.begin(), attrs.axes.end(), static_cast<int64_t>(d)) != attrs.axes.end()) {
      add(dims[d], strides[d], reduced, params.reduced_rank, params.reduced_dims, params.reduced_strides);
    } else {
      add(dims[d], strides[d], kept, params.kept_rank, params.kept_dims, params.kept_strides);
    }
  }
  params.results = static_cast<int>(kept);
  params.reduced = static_cast<int>(reduced);
  params.scale = scale_of(attrs.kind, reduced);
  params.op = *reduce_op(attrs.kind);
  params.type = *element_type(request.inputs[0].dtype);
  params.result_type = *element_type(request.outputs[0].dtype);
  LaunchShape shape;
  shape.grid.x = static_cast<unsigned>(kept);
  shape.threads = 32 * kRowWarps;
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, reduce_strided_kernel(), shape));
  return make_kernel([=](const KernelArgs& args) {
    StridedReduceParams p = params;
    p.x = args.inputs[0];
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, reduce_strided_kernel(), shape, arguments);
  });
}

Support supports_arg_reduce(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (request.inputs[0].element_count() == 0) return Support::no("the input is empty");
  const ir::DType index = request.node->get<ir::ArgReduceAttrs>().index_dtype;
  if (index != ir::DType::kInt64 && index != ir::DType::kInt32) return Support::no("the index is not int32 or int64");
  return needs_element_type(request.inputs[0], "the input");
}

Result<std::unique_ptr<Kernel>> create_arg_reduce(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::ArgReduceAttrs>();
  const ir::Dims& dims = request.inputs[0].dims;
  const auto axis = static_cast<size_t>(attrs.axis);
  ArgReduceParams params;
  params.outer = static_cast<int>(product(dims, 0, axis));
  params.reduced = static_cast<int>(dims[axis]);
  params.inner = static_cast<int>(product(dims, axis + 1, dims.size()));
  params.is_max = attrs.is_max;
  params.index_is_64 = attrs.index_dtype == ir::DType::kInt64;
  params.type = *element_type(request.inputs[0].dtype);
  LaunchShape shape;
  shape.threads = kSimpleThreads;
  shape.grid.x = static_cast<unsigned>(request.outputs[0].element_count());
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, arg_reduce_kernel(), shape));
  RowsBesideParams::Part part;
  part.is_arg_reduce = true;
  part.arg_reduce = params;
  return make_kernel(
      [=](const KernelArgs& args) {
        ArgReduceParams p = params;
        p.x = args.inputs[0];
        p.y = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, arg_reduce_kernel(), shape, arguments);
      },
      {.unread_inputs = 1u << 1, .small = row_work(request, part, static_cast<int>(shape.grid.x))});
}

Support supports_rows(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  for (const TensorDesc& desc : request.inputs) {
    if (Support s = needs_element_type(desc, "an operand"); !s.ok) return s;
  }
  return Support::yes();
}

int64_t columns_of(const KernelRequest& request) {
  return request.inputs[0].dims.empty() ? 1 : request.inputs[0].dims.back();
}

Support supports_held_rows(const KernelRequest& request) {
  if (Support s = supports_rows(request); !s.ok) return s;
  const int64_t columns = columns_of(request);
  if (columns > 0 && columns % 4 == 0 && columns <= kMostWarpColumns) return Support::yes();
  return Support::no("has rows of " + std::to_string(columns) + " elements, needs a multiple of 4 up to " +
                     std::to_string(kMostWarpColumns));
}

Support supports_row_warps(const KernelRequest& request) {
  if (Support s = supports_held_rows(request); !s.ok) return s;
  if (request.outputs[0].element_count() / columns_of(request) >= kLeastHeldRows) return Support::yes();
  return Support::no("has fewer than " + std::to_string(kLeastHeldRows) + " rows");
}

// Kernels read scale and offset by one type.
Support supports_layer_norm(const KernelRequest& request) {
  if (Support s = supports_rows(request); !s.ok) return s;
  if (request.inputs[1].dtype == request.inputs[2].dtype) return Support::yes();
  return Support::no("scale and offset are of different types");
}

// Scale and offset of one value a column.
Support supports_layer_norm_warp(const KernelRequest& request) {
  if (Support s = supports_held_rows(request); !s.ok) return s;
  if (Support s = supports_layer_norm(request); !s.ok) return s;
  for (const size_t i : {1, 2}) {
    if (request.inputs[i].element_count() != columns_of(request)) return Support::no("a scale is not one a column");
  }
  const ir::DType type = request.inputs[0].dtype;
  if (type == ir::DType::kBool) return Support::no("the input is bool");
  return Support::yes();
}

Support supports_layer_norm_cast(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer->node->op != ir::Op::kLayerNorm) {
    return Support::no("casts no layer normalization");
  }
  const ir::DType from = request.inputs[0].dtype, to = request.outputs[0].dtype;
  const bool one_half = from == ir::DType::kFloat32 ? is_half(to) : is_half(from) && to == ir::DType::kFloat32;
  if (!one_half) return Support::no("is not between float32 and float16 or bfloat16");
  return supports_layer_norm_warp(*request.producer);
}

// Times four elements that a lane holds of a row.
int fours_of(const KernelRequest& request) {
  int fours = 1;
  while (128 * fours < columns_of(request)) fours *= 2;
  return fours;
}

// `warps`: a row a warp; else a block.
Result<std::unique_ptr<Kernel>> create_rows(const KernelRequest& request, const void* kernel, RowParams params,
                                            bool warps) {
  params.columns = static_cast<int>(columns_of(request));
  params.rows = request.outputs[0].element_count() / params.columns;
  params.type = *element_type(request.inputs[0].dtype);
  if (request.inputs.size() > 1) params.scale_type = *element_type(request.inputs[1].dtype);
  LaunchShape shape = warps ? warp_rows(params.rows) : LaunchShape{};
  if (!warps) shape.grid.x = static_cast<unsigned>(params.rows);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  SmallWork small;
  if (request.node->op == ir::Op::kSoftmax && !warps) {
    RowsBesideParams::Part part;
    part.softmax = params;
    small = row_work(request, part, static_cast<int>(shape.grid.x));
  }
  const auto run = [=](const KernelArgs& args) {
    RowParams p = params;
    p.x = args.inputs[0];
    p.scale = args.inputs.size() > 1 ? args.inputs[1] : nullptr;
    p.offset = args.inputs.size() > 2 ? args.inputs[2] : nullptr;
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, kernel, shape, arguments);
  };
  return make_kernel(run, {.small = std::move(small)});
}

RowParams softmax_params(const KernelRequest& request) {
  RowParams params;
  params.log = request.node->get<ir::SoftmaxAttrs>().log;
  return params;
}
RowParams layer_norm_params(const KernelRequest& request) {
  RowParams params;
  params.epsilon = request.node->get<ir::LayerNormAttrs>().epsilon;
  return params;
}
Result<std::unique_ptr<Kernel>> create_softmax(const KernelRequest& request, PackCache&) {
  return create_rows(request, softmax_kernel(), softmax_params(request), false);
}
Result<std::unique_ptr<Kernel>> create_softmax_warp(const KernelRequest& request, PackCache&) {
  return create_rows(request, softmax_warp_kernel(fours_of(request)), softmax_params(request), true);
}
Result<std::unique_ptr<Kernel>> create_layer_norm(const KernelRequest& request, PackCache&) {
  return create_rows(request, layer_norm_kernel(), layer_norm_params(request), false);
}
Result<std::unique_ptr<Kernel>> create_layer_norm_to(const KernelRequest& request, ir::DType result) {
  RowParams params = layer_norm_params(request);
  params.columns = static_cast<int>(columns_of(request));
  params.rows = request.outputs[0].element_count() / params.columns;
  params.scale_type = *element_type(request.inputs[1].dtype);
  params.has_constant_scale = is_constant(request, 1) && is_constant(request, 2);
  const void* kernel =
      layer_norm_warp_kernel(fours_of(request), *element_type(request.inputs[0].dtype), *element_type(result));
  LaunchShape shape;
  const int64_t warps = std::clamp<int64_t>(params.rows / request.device->info().multiprocessors, 1, kRowWarps);
  shape.threads = static_cast<int>(32 * warps);
  shape.grid.x = static_cast<unsigned>(ceil_div(params.rows, warps));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel([=](const KernelArgs& args) {
    RowParams p = params;
    p.x = args.inputs[0];
    p.scale = args.inputs[1];
    p.offset = args.inputs[2];
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, kernel, shape, arguments);
  });
}
Result<std::unique_ptr<Kernel>> create_layer_norm_warp(const KernelRequest& request, PackCache&) {
  return create_layer_norm_to(request, request.outputs[0].dtype);
}
Result<std::unique_ptr<Kernel>> create_layer_norm_cast(const KernelRequest& request, PackCache&) {
  return create_layer_norm_to(*request.producer, request.outputs[0].dtype);
}

constexpr KernelEntry kRows[] = {
    {"cuda.reduce.warp", ir::Op::kReduce, supports_reduce_warp, nullptr, create_reduce_warp},
    {"cuda.reduce.columns", ir::Op::kReduce, supports_reduce_columns, nullptr, create_reduce_columns},
    {"cuda.reduce.block", ir::Op::kReduce, supports_reduce, nullptr, create_reduce},
    {"cuda.reduce.strided", ir::Op::kReduce, supports_reduce_strided, nullptr, create_reduce_strided},
    {"cuda.arg_reduce.block", ir::Op::kArgReduce, supports_arg_reduce, nullptr, create_arg_reduce},
    {"cuda.softmax.warp", ir::Op::kSoftmax, supports_row_warps, nullptr, create_softmax_warp},
    {"cuda.softmax.row", ir::Op::kSoftmax, supports_rows, nullptr, create_softmax},
    {"cuda.layer_norm.warp", ir::Op::kLayerNorm, supports_layer_norm_warp, nullptr, create_layer_norm_warp},
    {"cuda.layer_norm.row", ir::Op::kLayerNorm, supports_layer_norm, nullptr, create_layer_norm},
};

constexpr KernelEntry kCastRows[] = {
    {"cuda.layer_norm_cast.warp", ir::Op::kCast, supports_layer_norm_cast, nullptr, create_layer_norm_cast},
};

}  // namespace

std::span<const KernelEntry> reduce_rows() { return kRows; }
std::span<const KernelEntry> layer_norm_cast_rows() { return kCastRows; }

}  // namespace blade::backends::cuda
