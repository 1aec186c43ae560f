// Index arithmetic, window geometry and the kernel object behind the reference kernels.
#include "backends/reference/common.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/checked_math.h"

namespace blade::backends::reference {
namespace {

class ReferenceKernel final : public Kernel {
 public:
  ReferenceKernel(const KernelRequest& request, RunFn run)
      : node_(*request.node), inputs_(request.inputs), outputs_(request.outputs), run_(run) {}

  Status run(const KernelArgs& args) const override {
    const Call call{node_, inputs_, outputs_, args.inputs, args.outputs, args.allocator};
    try {
      return run_(call);
    } catch (const std::bad_alloc&) {
      return resource_exhausted(call.where() + "there is not enough memory for its reference kernel.");
    }
  }

 private:
  ir::Node node_;
  std::vector<TensorDesc> inputs_, outputs_;
  RunFn run_;
};

}  // namespace

std::string Call::where() const { return "Node '" + node.name + "' (" + ir::op_name(node.op) + "): "; }

Wide wide_of(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kFloat32:
    case ir::DType::kFloat64:
    case ir::DType::kFloat16:
    case ir::DType::kBFloat16:
      return Wide::kFloat;
    case ir::DType::kUInt64:
      return Wide::kUnsigned;
    default:
      return Wide::kSigned;
  }
}

int64_t float_to_int(double value, ir::DType to) {
  if (to == ir::DType::kUInt64 && value >= 0x1p63) {
    return value < 0x1p64 ? static_cast<int64_t>(static_cast<uint64_t>(value)) : std::numeric_limits<int64_t>::min();
  }
  const bool narrow_signed = to != ir::DType::kInt64 && to != ir::DType::kUInt64 && to != ir::DType::kUInt32;
  if (narrow_signed && !(value > -2147483649.0 && value < 2147483648.0)) return std::numeric_limits<int32_t>::min();
  if (!(value >= -0x1p63 && value < 0x1p63)) return std::numeric_limits<int64_t>::min();
  return static_cast<int64_t>(value);
}

int64_t count_of(const ir::Dims& dims) { return checked_element_count(dims).value_or(0); }

ir::Dims permuted(const ir::Dims& values, const std::vector<int64_t>& perm) {
  ir::Dims result;
  for (int64_t axis : perm) result.push_back(values[static_cast<size_t>(axis)]);
  return result;
}

std::vector<int64_t> read_ints(const Call& call, int i) { return read<int64_t>(call, i).values; }

bool next_index(ir::Dims& index, const ir::Dims& dims) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

int64_t offset_of(const ir::Dims& index, const ir::Dims& strides) {
  int64_t offset = 0;
  for (size_t i = 0; i < index.size(); ++i) offset += index[i] * strides[i];
  return offset;
}

ir::Dims repeating(const ir::Dims& dims, ir::Dims strides) {
  for (size_t d = 0; d + 1 < dims.size(); ++d) {
    if (dims[d] == 1) strides[d] = 0;
  }
  return strides;
}

void copy_element(const Call& call, int i, int64_t from, int o, int64_t to) {
  const size_t size = ir::dtype_size(call.out_dtype(o));
  std::memcpy(static_cast<std::byte*>(call.out[o]) + static_cast<size_t>(to) * size,
              static_cast<const std::byte*>(call.in[i]) + static_cast<size_t>(from) * size, size);
}

Windows make_windows(const ir::Dims& in, const ir::Dims& out, std::span<const int64_t> window,
                     std::span<const int64_t> strides, std::span<const int64_t> dilations, ir::Padding padding,
                     std::span<const int64_t> explicit_pads) {
  Windows windows;
  windows.batch = in[0];
  const size_t rank = strides.size();
  for (size_t i = 0; i < rank; ++i) {
    Window& w = windows.dim[3 - rank + i];
    w.in = in[1 + i];
    w.out = out[1 + i];
    w.size = window[i];
    w.stride = strides[i];
    w.dilation = dilations.empty() ? 1 : dilations[i];
    if (padding == ir::Padding::kExplicit) w.pad_before = explicit_pads[2 * i];
    if (padding == ir::Padding::kSame) {
      const int64_t needed = (w.out - 1) * w.stride + (w.size - 1) * w.dilation + 1;
      w.pad_before = std::max<int64_t>(0, needed - w.in) / 2;
    }
  }
  return windows;
}

Result<std::unique_ptr<Kernel>> make_reference_kernel(const KernelRequest& request, RunFn run) {
  return std::unique_ptr<Kernel>(std::make_unique<ReferenceKernel>(request, run));
}

}  // namespace blade::backends::reference
