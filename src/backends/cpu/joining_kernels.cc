// Concat, Split, Pack and Unpack: one strided copy a part.
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/strided_copy.h"

namespace blade::backends::cpu {
namespace {

// A part of the big tensor: where it begins (in elements) and how it is copied.
struct Part {
  StridedCopy copy;
  int64_t begin;
};

// `part` is at `begin` along `axis` of a tensor of dims `whole`; both have the same rank.
Part make_part(const ir::Dims& part, const ir::Dims& whole, int64_t axis, int64_t begin, size_t size, bool into_whole) {
  const ir::Dims dense = row_major_strides(part), strided = row_major_strides(whole);
  return {into_whole ? StridedCopy(part, dense, strided, size) : StridedCopy(part, strided, dense, size),
          begin * strided[static_cast<size_t>(axis)]};
}

ir::Dims with_unit_dim(ir::Dims dims, int64_t axis) {
  dims.insert(dims.begin() + axis, 1);
  return dims;
}

Result<std::unique_ptr<Kernel>> make_join(std::vector<Part> parts, size_t size) {
  return make_kernel([parts = std::move(parts), size](const KernelArgs& args) {
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i].copy.run(args.pool, input(args, i), output(args) + static_cast<size_t>(parts[i].begin) * size);
    }
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> make_separate(std::vector<Part> parts, size_t size) {
  return make_kernel([parts = std::move(parts), size](const KernelArgs& args) {
    for (size_t i = 0; i < parts.size(); ++i) {
      parts[i].copy.run(args.pool, input(args, 0) + static_cast<size_t>(parts[i].begin) * size, output(args, i));
    }
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_concat(const KernelRequest& request, PackCache&) {
  const int64_t axis = request.node->get<ir::AxisAttrs>().axis;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const TensorDesc& desc : request.inputs) {
    parts.push_back(make_part(desc.dims, request.outputs[0].dims, axis, begin, size, true));
    begin += desc.dims[static_cast<size_t>(axis)];
  }
  return make_join(std::move(parts), size);
}

Result<std::unique_ptr<Kernel>> create_pack(const KernelRequest& request, PackCache&) {
  const int64_t axis = request.node->get<ir::AxisAttrs>().axis;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  std::vector<Part> parts;
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    parts.push_back(make_part(with_unit_dim(request.inputs[i].dims, axis), request.outputs[0].dims, axis,
                              static_cast<int64_t>(i), size, true));
  }
  return make_join(std::move(parts), size);
}

Result<std::unique_ptr<Kernel>> create_split(const KernelRequest& request, PackCache&) {
  const int64_t axis = request.node->get<ir::SplitAttrs>().axis;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  std::vector<Part> parts;
  int64_t begin = 0;
  for (const TensorDesc& desc : request.outputs) {
    parts.push_back(make_part(desc.dims, request.inputs[0].dims, axis, begin, size, false));
    begin += desc.dims[static_cast<size_t>(axis)];
  }
  return make_separate(std::move(parts), size);
}

Result<std::unique_ptr<Kernel>> create_unpack(const KernelRequest& request, PackCache&) {
  const int64_t axis = request.node->get<ir::UnpackAttrs>().axis;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  std::vector<Part> parts;
  for (size_t i = 0; i < request.outputs.size(); ++i) {
    parts.push_back(make_part(with_unit_dim(request.outputs[i].dims, axis), request.inputs[0].dims, axis,
                              static_cast<int64_t>(i), size, false));
  }
  return make_separate(std::move(parts), size);
}

double concat_us(const KernelRequest& request) {
  constexpr double kBytesPerUs = 30e3;  // of one thread
  return static_cast<double>(request.outputs[0].bytes()) / kBytesPerUs / std::max(1, request.num_threads);
}

constexpr KernelEntry kJoiningRows[] = {
    {"cpu.concat.strided", ir::Op::kConcat, yes, concat_us, create_concat, nullptr, any_rows},
    {"cpu.split.strided", ir::Op::kSplit, yes, nullptr, create_split},
    {"cpu.pack.strided", ir::Op::kPack, yes, nullptr, create_pack},
    {"cpu.unpack.strided", ir::Op::kUnpack, yes, nullptr, create_unpack},
};

}  // namespace

std::span<const KernelEntry> joining_rows() { return kJoiningRows; }

}  // namespace blade::backends::cpu
