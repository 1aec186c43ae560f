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

struct PreparedMove {
  StridedCopyParams params;
  LaunchShape shape;
  const void* kernel = nullptr;
  size_t input = 0, output = 0;
};

// Neighbouring elements that both sides keep together are moved as one, up to 16 bytes.
Result<PreparedMove> prepare(const Device& device, const Move& move, size_t element_bytes) {
  MergedLoops loops = merge_loops(move.dims, {move.from_strides, move.to_strides});
  int64_t from_offset = move.from_offset, to_offset = move.to_offset;
  int64_t unit = static_cast<int64_t>(element_bytes);
  while (unit < 16 && loops.strides[0].back() == 1 && loops.strides[1].back() == 1 && loops.dims.back() % 2 == 0) {
    bool even = from_offset % 2 == 0 && to_offset % 2 == 0;
    for (const ir::Dims& strides : loops.strides) {
      for (size_t d = 0; d + 1 < strides.size(); ++d) even = even && strides[d] % 2 == 0;
    }
    if (!even) break;
    for (ir::Dims& strides : loops.strides) {
      for (size_t d = 0; d + 1 < strides.size(); ++d) strides[d] /= 2;
    }
    loops.dims.back() /= 2;
    from_offset /= 2;
    to_offset /= 2;
    unit *= 2;
  }
  if (loops.dims.size() > kMaxRank) return unimplemented("A copy has more than 8 dims.");
  PreparedMove prepared;
  prepared.params.rank = static_cast<int>(loops.dims.size());
  prepared.params.count = product(loops.dims);
  prepared.params.from_offset = from_offset;
  prepared.params.to_offset = to_offset;
  for (size_t d = 0; d < loops.dims.size(); ++d) {
    prepared.params.dims[d] = FastDivisor(loops.dims[d]);
    prepared.params.from_strides[d] = loops.strides[0][d];
    prepared.params.to_strides[d] = loops.strides[1][d];
  }
  prepared.shape = one_each(prepared.params.count, kSimpleThreads);
  prepared.kernel = strided_copy_kernel(static_cast<int>(unit));
  prepared.input = move.input;
  prepared.output = move.output;
  BLADE_RETURN_IF_ERROR(prepare_launch(device, prepared.kernel, prepared.shape));
  return prepared;
}

Result<std::unique_ptr<Kernel>> make_moves(const KernelRequest& request, const std::vector<Move>& moves,
                                           uint32_t unread_inputs) {
  std::vector<PreparedMove> prepared;
  for (const Move& move : moves) {
    if (product(move.dims) == 0) continue;
    BLADE_ASSIGN_OR_RETURN(PreparedMove one,
                           prepare(*request.device, move, ir::dtype_size(request.outputs[move.output].dtype)));
    prepared.push_back(one);
  }
  return make_kernel(
      [prepared](const KernelArgs& args) -> Status {
        for (const PreparedMove& move : prepared) {
          StridedCopyParams p = move.params;
          p.from = args.inputs[move.input];
          p.to = args.outputs[move.output];
          void* arguments[] = {&p};
          BLADE_RETURN_IF_ERROR(launch(args, move.kernel, move.shape, arguments));
        }
        return {};
      },
      0, unread_inputs);
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

Support supports_tile(const KernelRequest& request) {
  if (Support s = supports_small(request); !s.ok) return s;
  if (in_dims(request).size() * 2 > kMaxRank) return Support::no("has more than 4 dims");
  return Support::yes();
}

// Each dim as [copies, size].
Result<std::unique_ptr<Kernel>> create_tile(const KernelRequest& request, PackCache&) {
  const ir::Dims &in = in_dims(request), &out = out_dims(request);
  const ir::Dims own = row_major_strides(in);
  Move move;
  for (size_t d = 0; d < in.size(); ++d) {
    move.dims.push_back(in[d] == 0 ? 0 : out[d] / in[d]);
    move.dims.push_back(in[d]);
    move.from_strides.push_back(0);
    move.from_strides.push_back(own[d]);
  }
  move.to_strides = row_major_strides(move.dims);
  return make_moves(request, {move}, 1u << 1);
}

// Space [n, h, b, w, b, c] against depth [n, h, w, b, b, c].
Result<std::unique_ptr<Kernel>> create_block_move(const KernelRequest& request, bool to_space) {
  const int64_t block = request.node->get<ir::BlockAttrs>().block;
  const ir::Dims& deep = to_space ? in_dims(request) : out_dims(request);
  const int64_t n = deep[0], h = deep[1], w = deep[2], c = deep[3] / (block * block);
  const ir::Dims dims = {n, h, block, w, block, c};
  const ir::Dims space = row_major_strides(dims);
  const ir::Dims depth = {h * w * block * block * c, w * block * block * c, block * c, block * block * c, c, 1};
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
  return make_kernel([=](const KernelArgs& args) {
    GatherParams p = params;
    p.params = args.inputs[0];
    p.indices = args.inputs[1];
    p.y = args.outputs[0];
    void* arguments[] = {&p};
    return launch(args, kernel, shape, arguments);
  });
}

constexpr KernelEntry kRows[] = {
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

std::span<const KernelEntry> movement_rows() { return kRows; }

}  // namespace blade::backends::cuda
