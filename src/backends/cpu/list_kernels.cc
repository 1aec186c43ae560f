// SetRows and AppendRow: lists of equal elements as rows of one tensor. Setting a row in place costs that row alone.
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

// How many bytes an element has; a list whose elements have no known shape yet has rows of 0 bytes.
size_t row_bytes(const TensorDesc& desc, size_t first) {
  return static_cast<size_t>(product(desc.dims, first, desc.dims.size())) * ir::dtype_size(desc.dtype);
}

bool same_elements(const KernelRequest& request) {
  const ir::Dims &list = request.inputs[0].dims, &out = request.outputs[0].dims;
  return std::equal(list.begin() + 1, list.end(), out.begin() + 1, out.end());
}

Support supports_rows(const KernelRequest& request) {
  const ir::Dims& list = request.inputs[0].dims;
  if (!same_elements(request) && product(list, 1, list.size()) != 0) {
    return Support::no("an element has another shape than those that the list has already");
  }
  if (request.node->op == ir::Op::kAppendRow) return Support::yes();
  const ir::DType index = request.inputs[1].dtype;
  return index == ir::DType::kInt32 || index == ir::DType::kInt64 ? Support::yes()
                                                                  : Support::no("indices are not int32 or int64");
}

Result<std::unique_ptr<Kernel>> create_set_rows(const KernelRequest& request, PackCache&) {
  const int64_t length = request.outputs[0].dims[0], count = request.inputs[1].element_count();
  const size_t row = row_bytes(request.outputs[0], 1), all = request.outputs[0].bytes();
  const bool wide = request.inputs[1].dtype == ir::DType::kInt64, keeps = same_elements(request);
  const std::string label = node_label(request);
  const auto run = [=](const KernelArgs& args) {
    const auto at = [&](int64_t i) { return wide ? input<int64_t>(args, 1)[i] : int64_t{input<int32_t>(args, 1)[i]}; };
    for (int64_t i = 0; i < count; ++i) {
      if (at(i) >= 0 && at(i) < length) continue;
      return invalid_argument(label + "index " + std::to_string(at(i)) + " is outside a list of " +
                              std::to_string(length) + " elements.");
    }
    std::byte* out = output(args);
    if (!keeps) {
      std::memset(out, 0, all);
    } else if (out != input(args, 0)) {
      std::memcpy(out, input(args, 0), all);
    }
    for (int64_t i = 0; i < count; ++i) {
      std::memcpy(out + static_cast<size_t>(at(i)) * row, input(args, 2) + static_cast<size_t>(i) * row, row);
    }
    return Status::ok_status();
  };
  return make_kernel(run, keeps ? 1u : 0u);
}

Result<std::unique_ptr<Kernel>> create_append_row(const KernelRequest& request, PackCache&) {
  const size_t row = row_bytes(request.outputs[0], 1), all = request.outputs[0].bytes();
  const bool keeps = same_elements(request);
  return make_kernel([=](const KernelArgs& args) {
    std::byte* out = output(args);
    if (all == row) {
      // The first element.
    } else if (keeps) {
      std::memcpy(out, input(args, 0), all - row);
    } else {
      std::memset(out, 0, all - row);
    }
    std::memcpy(out + all - row, input(args, 1), row);
    return Status::ok_status();
  });
}

constexpr KernelEntry kListRows[] = {
    {"cpu.set_rows.copy", ir::Op::kSetRows, supports_rows, nullptr, create_set_rows},
    {"cpu.append_row.copy", ir::Op::kAppendRow, supports_rows, nullptr, create_append_row},
};

}  // namespace

std::span<const KernelEntry> list_rows() { return kListRows; }

}  // namespace blade::backends::cpu
