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

Support supports_mirror(const KernelRequest& request) {
  if (request.node->get<ir::PadAttrs>().mode == ir::PadMode::kConstant) return Support::no("does not mirror");
  return needs_constant_ints(request, 1, "paddings");
}

// Where the elements of a mirrored dim come from.
std::vector<int64_t> mirrored(int64_t before, int64_t size, int64_t total, bool repeats_edge) {
  const int64_t edge = repeats_edge ? 1 : 0;
  std::vector<int64_t> from;
  for (int64_t i = 0; i < total; ++i) {
    const int64_t at = i - before;
    from.push_back(at < 0 ? -at - edge : at >= size ? 2 * size - 2 - at + edge : at);
  }
  return from;
}

// Rows along the last mirrored dim: its middle is one stretch of the input, each step beside it a copy of its own.
struct MirrorPlan {
  std::vector<std::vector<int64_t>> from;  // for each dim up to that one
  ir::Dims strides;                        // of the input over them, in bytes
  int64_t before = 0, middle = 0;          // steps
  size_t step_bytes = 1;

  size_t row_steps() const { return from.back().size(); }
  void copy_row(int64_t row, const std::byte* in, std::byte* out) const {
    for (size_t d = from.size() - 1; d-- > 0;) {
      const auto count = static_cast<int64_t>(from[d].size());
      in += from[d][static_cast<size_t>(row % count)] * strides[d];
      row /= count;
    }
    const auto copy_steps = [&](size_t first, size_t last) {
      for (size_t i = first; i < last; ++i) {
        std::memcpy(out + i * step_bytes, in + from.back()[i] * strides.back(), step_bytes);
      }
    };
    const auto first = static_cast<size_t>(before), last = static_cast<size_t>(before + middle);
    copy_steps(0, first);
    std::memcpy(out + first * step_bytes, in, (last - first) * step_bytes);
    copy_steps(last, row_steps());
  }
};

Result<std::unique_ptr<Kernel>> create_mirror(const KernelRequest& request, PackCache&) {
  const ir::Dims in = request.inputs[0].dims, out = request.outputs[0].dims;
  const std::vector<int64_t> pads = constant_ints(request, 1);
  const bool repeats_edge = request.node->get<ir::PadAttrs>().mode == ir::PadMode::kSymmetric;
  size_t rank = out.size();
  while (rank > 1 && in[rank - 1] == out[rank - 1]) --rank;
  MirrorPlan plan;
  plan.step_bytes = ir::dtype_size(request.outputs[0].dtype);
  if (out.empty()) plan.from = {{0}}, plan.strides = {0}, plan.middle = 1;
  for (size_t d = rank; d < out.size(); ++d) plan.step_bytes *= static_cast<size_t>(out[d]);
  const ir::Dims strides = row_major_strides(in);
  for (size_t d = 0; d < rank && !out.empty(); ++d) {
    plan.from.push_back(mirrored(pads[2 * d], in[d], out[d], repeats_edge));
    plan.strides.push_back(strides[d] * static_cast<int64_t>(ir::dtype_size(request.outputs[0].dtype)));
    plan.before = pads[2 * d];
    plan.middle = in[d];
  }
  const int64_t rows = product(out) == 0 ? 0 : product(out, 0, plan.from.size() - 1);
  const size_t row_bytes = plan.row_steps() * plan.step_bytes;
  return make_kernel([=](const KernelArgs& args) {
    parallel_ranges(args.pool, rows, static_cast<double>(row_bytes) / 16, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row) {
        plan.copy_row(row, input(args, 0), output(args) + static_cast<size_t>(row) * row_bytes);
      }
    });
    return Status::ok_status();
  });
}

constexpr KernelEntry kSlicingRows[] = {
    {"cpu.slice.strided", ir::Op::kSlice, supports_slice, nullptr, create_slice},
    {"cpu.strided_slice.strided", ir::Op::kStridedSlice, supports_strided_slice, nullptr, create_strided_slice},
    {"cpu.reverse.strided", ir::Op::kReverse, yes, nullptr, create_reverse},
    {"cpu.pad.strided", ir::Op::kPad, supports_pad, nullptr, create_pad},
    {"cpu.pad.mirror", ir::Op::kPad, supports_mirror, nullptr, create_mirror},
};

}  // namespace

std::span<const KernelEntry> slicing_rows() { return kSlicingRows; }

}  // namespace blade::backends::cpu
