// Transpose and the moves between space, depth and batch: permutations of split dims.
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/strided_copy.h"

namespace blade::backends::cpu {
namespace {

Result<std::unique_ptr<Kernel>> make_copy(StridedCopy copy) {
  return make_kernel([=](const KernelArgs& args) {
    copy.run(args.pool, input(args, 0), output(args));
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_transpose(const KernelRequest& request, PackCache&) {
  const ir::Dims own = row_major_strides(request.inputs[0].dims);
  ir::Dims src;
  for (int64_t axis : request.node->get<ir::PermAttrs>().perm) src.push_back(own[static_cast<size_t>(axis)]);
  const ir::Dims& out = request.outputs[0].dims;
  return make_copy(StridedCopy(out, src, row_major_strides(out), ir::dtype_size(request.outputs[0].dtype)));
}

Result<std::unique_ptr<Kernel>> create_block_move(const KernelRequest& request, bool to_space) {
  const int64_t block = request.node->get<ir::BlockAttrs>().block;
  const ir::Dims& deep = to_space ? request.inputs[0].dims : request.outputs[0].dims;
  const auto [dims, space, depth] = block_move(deep, block);
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  return make_copy(to_space ? StridedCopy(dims, depth, space, size) : StridedCopy(dims, space, depth, size));
}

Support supports_block_move(const KernelRequest& request) {
  if (request.inputs[0].dims.size() == 4) return Support::yes();
  return Support::no("has rank " + std::to_string(request.inputs[0].dims.size()) + ", needs 4");
}

Result<std::unique_ptr<Kernel>> create_depth_to_space(const KernelRequest& request, PackCache&) {
  return create_block_move(request, true);
}
Result<std::unique_ptr<Kernel>> create_space_to_depth(const KernelRequest& request, PackCache&) {
  return create_block_move(request, false);
}

Support supports_batch_move(const KernelRequest& request) {
  if (Support s = needs_constant_ints(request, 1, "block_shape"); !s.ok) return s;
  return needs_constant_ints(request, 2, "paddings");
}

// One cell of the block: which positions of the spatial tensor belong to it, as a strided box.
struct Cell {
  StridedCopy copy;
  int64_t space_offset, batch_offset;  // in elements
};

// `space` is the unfolded tensor and `batch` the folded one; cut[2d] positions lie before space's first in dim d
// (paddings of SpaceToBatch, crops of BatchToSpace).
std::vector<Cell> make_cells(const ir::Dims& space, const ir::Dims& batch, const std::vector<int64_t>& block,
                             const std::vector<int64_t>& cut, size_t size, bool to_batch) {
  const ir::Dims space_strides = row_major_strides(space), batch_strides = row_major_strides(batch);
  std::vector<Cell> cells;
  const int64_t count = product(block);
  for (int64_t cell = 0; cell < count; ++cell) {
    ir::Dims dims = space, from = space_strides;
    int64_t space_offset = 0, batch_offset = cell * space[0] * batch_strides[0], rest = cell;
    for (size_t d = block.size(); d-- > 0;) {
      const int64_t phase = rest % block[d], before = cut[2 * d];
      rest /= block[d];
      // Folded position k holds position k * block + phase - before of the spatial tensor, if that exists.
      const int64_t first = before > phase ? ceil_div(before - phase, block[d]) : 0;
      const int64_t position = first * block[d] + phase - before;
      dims[1 + d] = position >= space[1 + d] ? 0 : ceil_div(space[1 + d] - position, block[d]);
      space_offset += position * space_strides[1 + d];
      batch_offset += first * batch_strides[1 + d];
      from[1 + d] *= block[d];
    }
    if (product(dims) == 0) continue;
    cells.push_back(
        {to_batch ? StridedCopy(dims, from, batch_strides, size) : StridedCopy(dims, batch_strides, from, size),
         space_offset, batch_offset});
  }
  return cells;
}

Result<std::unique_ptr<Kernel>> create_space_to_batch(const KernelRequest& request, PackCache&) {
  const std::vector<int64_t> block = constant_ints(request, 1), pads = constant_ints(request, 2);
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  const std::vector<Cell> cells = make_cells(request.inputs[0].dims, request.outputs[0].dims, block, pads, size, true);
  const bool padded = std::any_of(pads.begin(), pads.end(), [](int64_t p) { return p != 0; });
  const StridedCopy clear({request.outputs[0].element_count()}, {0}, {1}, size);
  return make_kernel([=](const KernelArgs& args) {
    static constexpr std::byte kZero[8] = {};
    if (padded) clear.run(args.pool, kZero, output(args));
    for (const Cell& cell : cells) {
      cell.copy.run(args.pool, input(args, 0) + cell.space_offset * static_cast<int64_t>(size),
                    output(args) + cell.batch_offset * static_cast<int64_t>(size));
    }
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_batch_to_space(const KernelRequest& request, PackCache&) {
  const std::vector<int64_t> block = constant_ints(request, 1), crops = constant_ints(request, 2);
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  const std::vector<Cell> cells =
      make_cells(request.outputs[0].dims, request.inputs[0].dims, block, crops, size, false);
  return make_kernel([=](const KernelArgs& args) {
    for (const Cell& cell : cells) {
      cell.copy.run(args.pool, input(args, 0) + cell.batch_offset * static_cast<int64_t>(size),
                    output(args) + cell.space_offset * static_cast<int64_t>(size));
    }
    return Status::ok_status();
  });
}

constexpr KernelEntry kTransposeRows[] = {
    {"cpu.transpose.strided", ir::Op::kTranspose, yes, nullptr, create_transpose},
    {"cpu.depth_to_space.strided", ir::Op::kDepthToSpace, supports_block_move, nullptr, create_depth_to_space, nullptr,
     any_rows},
    {"cpu.space_to_depth.strided", ir::Op::kSpaceToDepth, supports_block_move, nullptr, create_space_to_depth, nullptr,
     any_rows},
    {"cpu.space_to_batch.strided", ir::Op::kSpaceToBatch, supports_batch_move, nullptr, create_space_to_batch},
    {"cpu.batch_to_space.strided", ir::Op::kBatchToSpace, supports_batch_move, nullptr, create_batch_to_space},
};

}  // namespace

std::span<const KernelEntry> transpose_rows() { return kTransposeRows; }

}  // namespace blade::backends::cpu
