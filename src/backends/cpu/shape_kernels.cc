// Ops that only rename dims (copies, where they cannot be aliases), and tensors made from few numbers.
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/strided_copy.h"

namespace blade::backends::cpu {
namespace {

Support same_size(const KernelRequest& request) {
  if (request.inputs[0].bytes() == request.outputs[0].bytes()) return Support::yes();
  return Support::no("input and output differ in size");
}

Result<std::unique_ptr<Kernel>> create_copy(const KernelRequest& request, PackCache&) {
  const auto bytes = static_cast<int64_t>(request.outputs[0].bytes());
  return make_kernel(
      [=](const KernelArgs& args) {
        if (bytes == 0 || args.inputs[0] == args.outputs[0]) return Status::ok_status();
        parallel_ranges(args.pool, bytes, 0.25, [&](int64_t begin, int64_t end) {
          std::memcpy(output(args) + begin, input(args, 0) + begin, static_cast<size_t>(end - begin));
        });
        return Status::ok_status();
      },
      1);
}

Result<std::unique_ptr<Kernel>> create_fill(const KernelRequest& request, PackCache&) {
  const StridedCopy copy({request.outputs[0].element_count()}, {0}, {1}, ir::dtype_size(request.outputs[0].dtype));
  return make_kernel([=](const KernelArgs& args) {
    copy.run(args.pool, input(args, 1), output(args));
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_broadcast_to(const KernelRequest& request, PackCache&) {
  const ir::Dims& out = request.outputs[0].dims;
  const StridedCopy copy(out, broadcast_strides(request.inputs[0].dims, out), row_major_strides(out),
                         ir::dtype_size(request.outputs[0].dtype));
  return make_kernel([=](const KernelArgs& args) {
    copy.run(args.pool, input(args, 0), output(args));
    return Status::ok_status();
  });
}

// Each dim becomes (repetition, position): the source does not move along the first.
Result<std::unique_ptr<Kernel>> create_tile(const KernelRequest& request, PackCache&) {
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  const ir::Dims in_strides = row_major_strides(in), out_strides = row_major_strides(out);
  ir::Dims dims, src, dst;
  for (size_t d = 0; d < in.size(); ++d) {
    dims.insert(dims.end(), {in[d] == 0 ? 0 : out[d] / in[d], in[d]});
    src.insert(src.end(), {0, in_strides[d]});
    dst.insert(dst.end(), {out_strides[d] * in[d], out_strides[d]});
  }
  const StridedCopy copy(dims, src, dst, ir::dtype_size(request.outputs[0].dtype));
  return make_kernel([=](const KernelArgs& args) {
    copy.run(args.pool, input(args, 0), output(args));
    return Status::ok_status();
  });
}

constexpr KernelEntry kShapeRows[] = {
    {"cpu.identity.copy", ir::Op::kIdentity, same_size, nullptr, create_copy},
    {"cpu.ensure_shape.copy", ir::Op::kEnsureShape, same_size, nullptr, create_copy},
    {"cpu.reshape.copy", ir::Op::kReshape, same_size, nullptr, create_copy},
    {"cpu.bitcast.copy", ir::Op::kBitcast, same_size, nullptr, create_copy},
    {"cpu.expand_dims.copy", ir::Op::kExpandDims, same_size, nullptr, create_copy},
    {"cpu.squeeze.copy", ir::Op::kSqueeze, same_size, nullptr, create_copy},
    {"cpu.fill.strided", ir::Op::kFill, yes, nullptr, create_fill},
    {"cpu.broadcast_to.strided", ir::Op::kBroadcastTo, yes, nullptr, create_broadcast_to},
    {"cpu.tile.strided", ir::Op::kTile, yes, nullptr, create_tile},
};

}  // namespace

std::span<const KernelEntry> shape_rows() { return kShapeRows; }

}  // namespace blade::backends::cpu
