// Rows for what only moves data: everything is one or more strided copies, or a gather.
#include <numeric>

#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernel_support.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/strided_slice.h"

namespace blade::backends::cuda {
namespace {

// One copy: dst[to_offset + i * to_strides] = src[from_offset + i * from_strides] for all i in dims; in elements.
struct Move {
  ir::Dims dims, from_strides, to_strides;
  int64_t from_offset = 0, to_offset = 0;
  size_t input = 0, output = 0;
};

// A move as a kernel takes it: neighbouring elements that both sides keep together are one unit of up to 16 bytes.
struct PreparedMove {
  MergedLoops loops;
  int64_t from_offset = 0, to_offset = 0;
  int unit = 1;
  size_t input = 0, output = 0;
};

Result<PreparedMove> prepare(const Move& move, size_t element_bytes) {
  PreparedMove made;
  made.loops = merge_loops(move.dims, {move.from_strides, move.to_strides});
  made.from_offset = move.from_offset;
  made.to_offset = move.to_offset;
  made.unit = static_cast<int>(element_bytes);
  made.input = move.input;
  made.output = move.output;
  MergedLoops& loops = made.loops;
  while (made.unit < 16 && loops.strides[0].back() == 1 && loops.strides[1].back() == 1 && loops.dims.back() % 2 == 0) {
    bool even = made.from_offset % 2 == 0 && made.to_offset % 2 == 0;
    for (const ir::Dims& strides : loops.strides) {
      for (size_t d = 0; d + 1 < strides.size(); ++d) even = even && strides[d] % 2 == 0;
    }
    if (!even) break;
    for (ir::Dims& strides : loops.strides) {
      for (size_t d = 0; d + 1 < strides.size(); ++d) strides[d] /= 2;
    }
    loops.dims.back() /= 2;
    made.from_offset /= 2;
    made.to_offset /= 2;
    made.unit *= 2;
  }
  if (loops.dims.size() > kMaxRank) return unimplemented("A copy has more than 8 dims.");
  return made;
}

StridedCopyParams copy_params(const PreparedMove& move) {
  StridedCopyParams p;
  p.rank = static_cast<int>(move.loops.dims.size());
  p.count = product(move.loops.dims);
  p.from_offset = move.from_offset;
  p.to_offset = move.to_offset;
  p.unit = move.unit;
  for (size_t d = 0; d < move.loops.dims.size(); ++d) {
    p.dims[d] = FastDivisor(move.loops.dims[d]);
    p.from_strides[d] = move.loops.strides[0][d];
    p.to_strides[d] = move.loops.strides[1][d];
  }
  return p;
}

SmallPiece small_copy(const PreparedMove& move) {
  SmallPiece piece;
  piece.unit = move.unit;
  piece.dims = move.loops.dims;
  piece.inputs = {{static_cast<int>(move.input), 0, move.from_offset, move.loops.strides[0]}};
  piece.output = {static_cast<int>(move.output), 0, move.to_offset, move.loops.strides[1]};
  return piece;
}

// Up to kMostCopies moves that one launch does, with the operands that they go between.
struct CopyLaunch {
  StridedCopiesParams params;
  LaunchShape shape;
  std::vector<std::pair<size_t, size_t>> operands;
};

void add(CopyLaunch& launch, const PreparedMove& move) {
  const int i = launch.params.count++;
  launch.params.copies[i] = copy_params(move);
  launch.params.first_block[i] = static_cast<int>(launch.shape.grid.x);
  launch.shape.grid.x += one_each(launch.params.copies[i].count, kSimpleThreads).grid.x;
  launch.operands.emplace_back(move.input, move.output);
}

Result<std::unique_ptr<Kernel>> make_moves(const KernelRequest& request, const std::vector<Move>& moves,
                                           uint32_t unread_inputs) {
  std::vector<CopyLaunch> launches;
  std::vector<SmallPiece> pieces;
  for (const Move& move : moves) {
    if (product(move.dims) == 0) continue;
    BLADE_ASSIGN_OR_RETURN(const PreparedMove made, prepare(move, ir::dtype_size(request.outputs[move.output].dtype)));
    if (launches.empty() || launches.back().params.count == kMostCopies) {
      launches.emplace_back().shape = one_each(0, kSimpleThreads);
    }
    add(launches.back(), made);
    pieces.push_back(small_copy(made));
  }
  for (const CopyLaunch& made : launches) {
    BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, strided_copies_kernel(), made.shape));
  }
  return make_kernel(
      [launches](const KernelArgs& args) -> Status {
        for (const CopyLaunch& made : launches) {
          StridedCopiesParams p = made.params;
          for (size_t i = 0; i < made.operands.size(); ++i) {
            p.copies[i].from = args.inputs[made.operands[i].first];
            p.copies[i].to = args.outputs[made.operands[i].second];
          }
          void* arguments[] = {&p};
          BLADE_RETURN_IF_ERROR(launch(args, strided_copies_kernel(), made.shape, arguments));
        }
        return {};
      },
      {.unread_inputs = unread_inputs, .small = small_work(request, std::move(pieces))});
}

const ir::Dims& in_dims(const KernelRequest& request, size_t i = 0) { return request.inputs[i].dims; }
const ir::Dims& out_dims(const KernelRequest& request, size_t i = 0) { return request.outputs[i].dims; }

Support supports_small(const KernelRequest& request) {
  constexpr int64_t kMost = int64_t{1} << 30;
  for (const auto* descs : {&request.inputs, &request.outputs}) {
    for (const TensorDesc& desc : *descs) {
      if (desc.element_count() > kMost) return Support::no("an operand has more than 2^30 elements");
      if (desc.dims.size() > kMaxRank) return Support::no("has more than 8 dims");
    }
  }
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_transpose(const KernelRequest& request, PackCache&) {
  const ir::Dims own = row_major_strides(in_dims(request));
  ir::Dims from;
  for (int64_t axis : request.node->get<ir::PermAttrs>().perm) from.push_back(own[static_cast<size_t>(axis)]);
  return make_moves(request, {{out_dims(request), from, row_major_strides(out_dims(request))}}, 0);
}

Result<std::unique_ptr<Kernel>> create_concat(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::AxisAttrs>().axis);
  const ir::Dims to = row_major_strides(out_dims(request));
  std::vector<Move> moves;
  int64_t at = 0;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    moves.push_back({in_dims(request, i), row_major_strides(in_dims(request, i)), to, 0, at * to[axis], i, 0});
    at += in_dims(request, i)[axis];
  }
  return make_moves(request, moves, 0);
}

Result<std::unique_ptr<Kernel>> create_pack(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::AxisAttrs>().axis);
  ir::Dims to = row_major_strides(out_dims(request));
  const int64_t step = to[axis];
  to.erase(to.begin() + static_cast<ptrdiff_t>(axis));
  std::vector<Move> moves;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    moves.push_back(
        {in_dims(request, i), row_major_strides(in_dims(request, i)), to, 0, static_cast<int64_t>(i) * step, i, 0});
  }
  return make_moves(request, moves, 0);
}

Result<std::unique_ptr<Kernel>> create_unpack(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::UnpackAttrs>().axis);
  ir::Dims from = row_major_strides(in_dims(request));
  const int64_t step = from[axis];
  from.erase(from.begin() + static_cast<ptrdiff_t>(axis));
  std::vector<Move> moves;
  for (size_t o = 0; o < request.outputs.size(); ++o) {
    moves.push_back(
        {out_dims(request, o), from, row_major_strides(out_dims(request, o)), static_cast<int64_t>(o) * step, 0, 0, o});
  }
  return make_moves(request, moves, 0);
}

Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::SplitAttrs>().axis);
  const ir::Dims from = row_major_strides(in_dims(request));
  std::vector<Move> moves;
  int64_t at = 0;
  for (size_t o = 0; o < request.outputs.size(); ++o) {
    moves.push_back({out_dims(request, o), from, row_major_strides(out_dims(request, o)), at * from[axis], 0, 0, o});
    at += out_dims(request, o)[axis];
  }
  return make_moves(request, moves, 0);
}

Support supports_slice(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  return needs_constant_ints(request, 1, "begin");
}

Result<std::unique_ptr<Kernel>> create_slice(const KernelRequest& request, PackCache&) {
  const std::vector<int64_t> begin = constant_ints(request, 1);
  const ir::Dims from = row_major_strides(in_dims(request));
  int64_t offset = 0;
  for (size_t d = 0; d < from.size(); ++d) {
    if (begin[d] < 0 || begin[d] + out_dims(request)[d] > in_dims(request)[d]) {
      return invalid_argument("the slice leaves dim " + std::to_string(d) + " of its input");
    }
    offset += begin[d] * from[d];
  }
  return make_moves(request, {{out_dims(request), from, row_major_strides(out_dims(request)), offset}}, 6);
}

Support supports_strided_slice(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  for (size_t i = 1; i < 4; ++i) {
    if (Support s = needs_constant_ints(request, i, "a bound"); !s.ok) return s;
  }
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_strided_slice(const KernelRequest& request, PackCache&) {
  BLADE_ASSIGN_OR_RETURN(const DenseSlice slice,
                         dense_slice(request.node->get<ir::StridedSliceAttrs>(), in_dims(request),
                                     constant_ints(request, 1), constant_ints(request, 2), constant_ints(request, 3)));
  ir::Dims from = row_major_strides(in_dims(request));
  int64_t offset = 0;
  for (size_t d = 0; d < from.size(); ++d) {
    offset += slice.begin[d] * from[d];
    from[d] *= slice.stride[d];
  }
  return make_moves(request, {{slice.counts, from, row_major_strides(slice.counts), offset}}, 14);
}

Result<std::unique_ptr<Kernel>> create_reverse(const KernelRequest& request, PackCache&) {
  const ir::Dims& dims = in_dims(request);
  ir::Dims from = row_major_strides(dims);
  const ir::Dims to = from;
  int64_t offset = 0;
  for (int64_t axis : request.node->get<ir::AxesAttrs>().axes) {
    const auto d = static_cast<size_t>(axis);
    offset += (dims[d] - 1) * from[d];
    from[d] = -from[d];
  }
  return make_moves(request, {{dims, from, to, offset}}, 0);
}

Support supports_pad(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  if (request.node->get<ir::PadAttrs>().mode != ir::PadMode::kConstant)
    return Support::no("mirrors, needs constant mode");
  if (request.inputs.size() < 3) return Support::no("has no value to pad with");
  return needs_constant_ints(request, 1, "paddings");
}

// First the border, one slab a side of each dim, from the one value; then the inside.
Result<std::unique_ptr<Kernel>> create_pad(const KernelRequest& request, PackCache&) {
  const std::vector<int64_t> pads = constant_ints(request, 1);
  const ir::Dims &in = in_dims(request), &out = out_dims(request);
  const ir::Dims to = row_major_strides(out), nothing(out.size(), 0);
  std::vector<Move> moves;
  ir::Dims slab = out;
  int64_t inside = 0;
  for (size_t d = 0; d < out.size(); ++d) {
    const int64_t before = pads[2 * d], after = out[d] - before - in[d];
    if (before < 0 || after < 0) return invalid_argument("paddings must not be negative");
    slab[d] = before;
    moves.push_back({slab, nothing, to, 0, inside, 2, 0});
    slab[d] = after;
    moves.push_back({slab, nothing, to, 0, inside + (before + in[d]) * to[d], 2, 0});
    slab[d] = in[d];
    inside += before * to[d];
  }
  moves.push_back({in, row_major_strides(in), to, 0, inside, 0, 0});
  return make_moves(request, moves, 1u << 1);
}

Result<std::unique_ptr<Kernel>> create_broadcast(const KernelRequest& request, PackCache&) {
  const ir::Dims& out = out_dims(request);
  return make_moves(request, {{out, broadcast_strides(in_dims(request), out), row_major_strides(out)}}, 1u << 1);
}

Result<std::unique_ptr<Kernel>> create_fill(const KernelRequest& request, PackCache&) {
  const ir::Dims& out = out_dims(request);
  return make_moves(request, {{out, ir::Dims(out.size(), 0), row_major_strides(out), 0, 0, 1, 0}}, 1u);
}

// Each dim as [copies, size], without those of one.
Move tile_move(const KernelRequest& request) {
  const ir::Dims &in = in_dims(request), &out = out_dims(request);
  const ir::Dims own = row_major_strides(in);
  Move move;
  const auto add = [&](int64_t dim, int64_t stride) {
    if (dim == 1) return;
    move.dims.push_back(dim);
    move.from_strides.push_back(stride);
  };
  for (size_t d = 0; d < in.size(); ++d) {
    add(in[d] == 0 ? 0 : out[d] / in[d], 0);
    add(in[d], own[d]);
  }
  move.to_strides = row_major_strides(move.dims);
  return move;
}

Support supports_tile(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  const Move move = tile_move(request);
  const MergedLoops loops = merge_loops(move.dims, {move.from_strides, move.to_strides});
  return loops.dims.size() <= kMaxRank ? Support::yes() : Support::no("has more than 4 dims");
}
Result<std::unique_ptr<Kernel>> create_tile(const KernelRequest& request, PackCache&) {
  return make_moves(request, {tile_move(request)}, 1u << 1);
}

Result<std::unique_ptr<Kernel>> create_block_move(const KernelRequest& request, bool to_space) {
  const int64_t block = request.node->get<ir::BlockAttrs>().block;
  const ir::Dims& deep = to_space ? in_dims(request) : out_dims(request);
  const auto [dims, space, depth] = block_move(deep, block);
  return make_moves(request, {to_space ? Move{dims, depth, space} : Move{dims, space, depth}}, 0);
}
Result<std::unique_ptr<Kernel>> create_depth_to_space(const KernelRequest& request, PackCache&) {
  return create_block_move(request, true);
}
Result<std::unique_ptr<Kernel>> create_space_to_depth(const KernelRequest& request, PackCache&) {
  return create_block_move(request, false);
}

Support supports_block_move(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  return in_dims(request).size() == 4 ? Support::yes() : Support::no("needs rank 4");
}

// An index out of range must be an error, which the device cannot raise: only constant indices are checked ahead.
Support supports_gather(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const auto& attrs = request.node->get<ir::GatherAttrs>();
  const int64_t size = in_dims(request)[static_cast<size_t>(attrs.axis)];
  // An index that only the run knows and that is out of range gives zeros, as in TensorFlow on a GPU.
  for (int64_t index : is_constant(request, 1) ? constant_ints(request, 1) : std::vector<int64_t>{}) {
    if (index < 0 || index >= size) return Support::no("an index is out of range");
  }
  const ir::DType dtype = request.inputs[1].dtype;
  if (dtype != ir::DType::kInt32 && dtype != ir::DType::kInt64) return Support::no("the index is not int32 or int64");
  return Support::yes();
}

Result<std::unique_ptr<Kernel>> create_gather(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::GatherAttrs>();
  const ir::Dims &dims = in_dims(request), &index = in_dims(request, 1);
  const auto axis = static_cast<size_t>(attrs.axis), batch = static_cast<size_t>(attrs.batch_dims);
  int64_t inner = product(dims, axis + 1, dims.size());
  int64_t unit = static_cast<int64_t>(ir::dtype_size(request.outputs[0].dtype));
  while (unit < 16 && inner % 2 == 0) {
    inner /= 2;
    unit *= 2;
  }
  const int64_t outer = product(dims, 0, axis), batches = product(dims, 0, batch);
  GatherParams params;
  params.axis_size = static_cast<int>(dims[axis]);
  params.index_is_64 = request.inputs[1].dtype == ir::DType::kInt64;
  params.inner = FastDivisor(inner);
  params.index_count = FastDivisor(product(index, batch, index.size()));
  params.outer_per_batch = FastDivisor(outer / batches);
  params.count = outer * product(index, batch, index.size()) * inner;
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  const void* kernel = gather_kernel(static_cast<int>(unit));
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  // [batch, outer of a batch, index, unit]
  const int64_t indices = product(index, batch, index.size()), stride = dims[static_cast<size_t>(axis)] * inner;
  SmallPiece piece;
  piece.kind = SmallKind::kGather;
  piece.unit = static_cast<int>(unit);
  piece.depth = dims[axis];
  piece.depth_strides[0] = inner;
  piece.dims = {batches, outer / batches, indices, inner};
  const auto type = static_cast<int>(params.index_is_64 ? ElementType::kInt64 : ElementType::kInt32);
  piece.inputs = {{0, 0, 0, {outer / batches * stride, stride, 0, 1}}, {1, type, 0, {indices, 0, 1, 0}}};
  piece.output = {0, 0, 0, row_major_strides(piece.dims)};
  return make_kernel(
      [=](const KernelArgs& args) {
        GatherParams p = params;
        p.params = args.inputs[0];
        p.indices = args.inputs[1];
        p.y = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.small = small_work(request, {piece})});
}

Support supports_one_hot(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const ir::DType index = request.inputs[0].dtype;
  if (index != ir::DType::kInt32 && index != ir::DType::kInt64) return Support::no("the index is not int32 or int64");
  return ir::dtype_size(request.outputs[0].dtype) <= 16 ? Support::yes() : Support::no("the elements are too large");
}

Result<std::unique_ptr<Kernel>> create_one_hot(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::AxisAttrs>().axis);
  const ir::Dims& out = out_dims(request);
  OneHotParams params;
  params.count = request.outputs[0].element_count();
  params.depth = FastDivisor(out[axis]);
  params.inner = FastDivisor(product(out, axis + 1, out.size()));
  params.index_is_64 = request.inputs[0].dtype == ir::DType::kInt64;
  params.unit = static_cast<int>(ir::dtype_size(request.outputs[0].dtype));
  const LaunchShape shape = one_each(params.count, kSimpleThreads);
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, one_hot_kernel(), shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        OneHotParams p = params;
        p.indices = args.inputs[0];
        p.on = args.inputs[2];
        p.off = args.inputs[3];
        p.y = args.outputs[0];
        void* arguments[] = {&p};
        return launch(args, one_hot_kernel(), shape, arguments);
      },
      {.unread_inputs = 1u << 1});
}

constexpr KernelEntry kRows[] = {
    {"cuda.one_hot.elements", ir::Op::kOneHot, supports_one_hot, nullptr, create_one_hot},
    {"cuda.transpose.strided", ir::Op::kTranspose, supports_small, nullptr, create_transpose},
    {"cuda.concat.strided", ir::Op::kConcat, supports_small, nullptr, create_concat},
    {"cuda.pack.strided", ir::Op::kPack, supports_small, nullptr, create_pack},
    {"cuda.unpack.strided", ir::Op::kUnpack, supports_small, nullptr, create_unpack},
    {"cuda.split.strided", ir::Op::kSplit, supports_small, nullptr, create_split},
    {"cuda.slice.strided", ir::Op::kSlice, supports_slice, nullptr, create_slice},
    {"cuda.strided_slice.strided", ir::Op::kStridedSlice, supports_strided_slice, nullptr, create_strided_slice},
    {"cuda.reverse.strided", ir::Op::kReverse, supports_small, nullptr, create_reverse},
    {"cuda.pad.strided", ir::Op::kPad, supports_pad, nullptr, create_pad},
    {"cuda.broadcast_to.strided", ir::Op::kBroadcastTo, supports_small, nullptr, create_broadcast},
    {"cuda.fill.strided", ir::Op::kFill, supports_small, nullptr, create_fill},
    {"cuda.tile.strided", ir::Op::kTile, supports_tile, nullptr, create_tile},
    {"cuda.depth_to_space.strided", ir::Op::kDepthToSpace, supports_block_move, nullptr, create_depth_to_space},
    {"cuda.space_to_depth.strided", ir::Op::kSpaceToDepth, supports_block_move, nullptr, create_space_to_depth},
    {"cuda.gather.units", ir::Op::kGather, supports_gather, nullptr, create_gather},
};

}  // namespace

StridedCopiesParams one_copy(const ir::Dims& dims, const ir::Dims& from_strides, const ir::Dims& to_strides,
                             size_t element_bytes) {
  StridedCopiesParams params;
  const auto move = prepare({dims, from_strides, to_strides}, element_bytes);
  params.count = 1;
  params.copies[0] = copy_params(*move);  // a box of at most 8 dims
  return params;
}

std::span<const KernelEntry> movement_rows() { return kRows; }

}  // namespace blade::backends::cuda
