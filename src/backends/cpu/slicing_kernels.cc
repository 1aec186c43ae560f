// Slice, StridedSlice, Reverse and Pad as strided copies.
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/strided_copy.h"
#include "backends/reference/strided_slice.h"

namespace blade::backends::cpu {
namespace {

Support supports_slice(const KernelRequest& request) {
  const ir::DType dtype = request.inputs[1].dtype;
  if (dtype == ir::DType::kInt32 || dtype == ir::DType::kInt64) return Support::yes();
  return Support::no(std::string("begin has type ") + ir::dtype_name(dtype) + ", needs int32 or int64");
}

int64_t begin_at(const TensorDesc& desc, const void* data, size_t i) {
  return desc.dtype == ir::DType::kInt64 ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
}

// `begin` is read at run time: it moves the source, nothing else.
Result<std::unique_ptr<Kernel>> create_slice(const KernelRequest& request, PackCache&) {
  const ir::Dims in = request.inputs[0].dims, out = request.outputs[0].dims;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  const ir::Dims strides = row_major_strides(in);
  const StridedCopy copy(out, strides, row_major_strides(out), size);
  const TensorDesc begin_desc = request.inputs[1];
  const std::string label = node_label(request);
  return make_kernel([=](const KernelArgs& args) {
    int64_t offset = 0;
    for (size_t d = 0; d < in.size(); ++d) {
      const int64_t begin = begin_at(begin_desc, args.inputs[1], d);
      if (begin < 0 || begin > in[d] - out[d]) {
        return invalid_argument(label + "the slice of " + std::to_string(out[d]) + " from " + std::to_string(begin) +
                                " leaves dim " + std::to_string(d) + ", which is " + std::to_string(in[d]) + ".");
      }
      offset += begin * strides[d];
    }
    copy.run(args.pool, input(args, 0) + static_cast<size_t>(offset) * size, output(args));
    return Status::ok_status();
  });
}

Result<DenseSlice> slice_of(const KernelRequest& request) {
  return dense_slice(request.node->get<ir::StridedSliceAttrs>(), request.inputs[0].dims, constant_ints(request, 1),
                     constant_ints(request, 2), constant_ints(request, 3));
}

Support supports_strided_slice(const KernelRequest& request) {
  if (Support s = needs_constant_ints(request, 1, "begin"); !s.ok) return s;
  if (Support s = needs_constant_ints(request, 2, "end"); !s.ok) return s;
  if (Support s = needs_constant_ints(request, 3, "strides"); !s.ok) return s;
  const auto slice = slice_of(request);
  if (!slice.ok()) return Support::no(slice.status().message());
  if (product(slice->counts) == request.outputs[0].element_count()) return Support::yes();
  return Support::no("the slice and the output shape differ in size");
}

Result<std::unique_ptr<Kernel>> make_offset_copy(StridedCopy copy, int64_t offset, size_t size) {
  return make_kernel([=](const KernelArgs& args) {
    copy.run(args.pool, input(args, 0) + offset * static_cast<int64_t>(size), output(args));
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_strided_slice(const KernelRequest& request, PackCache&) {
  BLADE_ASSIGN_OR_RETURN(const DenseSlice slice, slice_of(request));
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  ir::Dims strides = row_major_strides(request.inputs[0].dims);
  int64_t offset = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    offset += slice.begin[d] * strides[d];
    strides[d] *= slice.stride[d];
  }
  return make_offset_copy(StridedCopy(slice.counts, strides, row_major_strides(slice.counts), size), offset, size);
}

Result<std::unique_ptr<Kernel>> create_reverse(const KernelRequest& request, PackCache&) {
  const ir::Dims& dims = request.inputs[0].dims;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  ir::Dims strides = row_major_strides(dims);
  const ir::Dims dst = strides;
  int64_t offset = 0;
  for (int64_t axis : request.node->get<ir::AxesAttrs>().axes) {
    const auto d = static_cast<size_t>(axis);
    offset += (dims[d] - 1) * strides[d];
    strides[d] = -strides[d];
  }
  return make_offset_copy(StridedCopy(dims, strides, dst, size), product(dims) == 0 ? 0 : offset, size);
}

Support supports_pad(const KernelRequest& request) {
  if (request.node->get<ir::PadAttrs>().mode != ir::PadMode::kConstant)
    return Support::no("mirrors, needs constant mode");
  return needs_constant_ints(request, 1, "paddings");
}

// Fills the box of the output in which dims before `d` are inside the input, dim d is in [begin, end), and later dims
// are whole.
struct PadBox {
  StridedCopy copy;
  int64_t offset;
};

Result<std::unique_ptr<Kernel>> create_pad(const KernelRequest& request, PackCache&) {
  const ir::Dims in = request.inputs[0].dims, out = request.outputs[0].dims;
  const std::vector<int64_t> pads = constant_ints(request, 1);
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  const ir::Dims strides = row_major_strides(out);
  const ir::Dims zero(out.size(), 0);
  std::vector<PadBox> boxes;
  int64_t inside = 0;
  ir::Dims box = out;
  for (size_t d = 0; d < out.size(); ++d) {
    const int64_t before = pads[2 * d], after = out[d] - before - in[d];
    if (before < 0 || after < 0) return invalid_argument(node_label(request) + "paddings must not be negative.");
    box[d] = before;
    if (before > 0) boxes.push_back({StridedCopy(box, zero, strides, size), inside});
    box[d] = after;
    if (after > 0) boxes.push_back({StridedCopy(box, zero, strides, size), inside + (before + in[d]) * strides[d]});
    box[d] = in[d];
    inside += before * strides[d];
  }
  const StridedCopy copy(in, row_major_strides(in), strides, size);
  const bool has_value = request.inputs.size() > 2;
  return make_kernel([=](const KernelArgs& args) {
    static constexpr std::byte kZero[8] = {};
    const std::byte* value = has_value ? input(args, 2) : kZero;
    for (const PadBox& border : boxes)
      border.copy.run(args.pool, value, output(args) + border.offset * static_cast<int64_t>(size));
    copy.run(args.pool, input(args, 0), output(args) + inside * static_cast<int64_t>(size));
    return Status::ok_status();
  });
}

constexpr KernelEntry kSlicingRows[] = {
    {"cpu.slice.strided", ir::Op::kSlice, supports_slice, nullptr, create_slice},
    {"cpu.strided_slice.strided", ir::Op::kStridedSlice, supports_strided_slice, nullptr, create_strided_slice},
    {"cpu.reverse.strided", ir::Op::kReverse, yes, nullptr, create_reverse},
    {"cpu.pad.strided", ir::Op::kPad, supports_pad, nullptr, create_pad},
};

}  // namespace

std::span<const KernelEntry> slicing_rows() { return kSlicingRows; }

}  // namespace blade::backends::cpu
