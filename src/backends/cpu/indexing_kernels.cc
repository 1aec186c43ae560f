// Gather, GatherNd and OneHot: every index is checked before anything is read through it.
#include <cstring>

#include "backends/cpu/kernel_families.h"
#include "backends/cpu/kernel_support.h"

namespace blade::backends::cpu {
namespace {

Support supports_indices(const KernelRequest& request, size_t i) {
  const ir::DType dtype = request.inputs[i].dtype;
  if (dtype == ir::DType::kInt32 || dtype == ir::DType::kInt64) return Support::yes();
  return Support::no(std::string("indices have type ") + ir::dtype_name(dtype) + ", need int32 or int64");
}
Support indices_second(const KernelRequest& request) { return supports_indices(request, 1); }
Support indices_first(const KernelRequest& request) { return supports_indices(request, 0); }

struct Indices {
  const void* data;
  bool wide;
  int64_t at(int64_t i) const {
    return wide ? static_cast<const int64_t*>(data)[i] : int64_t{static_cast<const int32_t*>(data)[i]};
  }
};

Status out_of_range(const std::string& label, int64_t index, int64_t bound) {
  return invalid_argument(label + "index " + std::to_string(index) + " is not in [0, " + std::to_string(bound) + ").");
}

// params [batch, outer, n, inner], indices [batch, picks] -> [batch, outer, picks, inner]
Result<std::unique_ptr<Kernel>> create_gather(const KernelRequest& request, PackCache&) {
  const auto& attrs = request.node->get<ir::GatherAttrs>();
  const ir::Dims &params = request.inputs[0].dims, &indices = request.inputs[1].dims;
  const auto axis = static_cast<size_t>(attrs.axis), batch_dims = static_cast<size_t>(attrs.batch_dims);
  const int64_t outer = product(params, batch_dims, axis), bound = params[axis];
  const int64_t picks = product(indices, batch_dims, indices.size()), count = product(indices);
  const size_t inner =
      static_cast<size_t>(product(params, axis + 1, params.size())) * ir::dtype_size(request.outputs[0].dtype);
  const int64_t slices = request.outputs[0].element_count() == 0 ? 0 : product(params, 0, batch_dims) * outer * picks;
  const bool wide = request.inputs[1].dtype == ir::DType::kInt64;
  const std::string label = node_label(request);
  return make_kernel([=](const KernelArgs& args) {
    const Indices chosen{args.inputs[1], wide};
    for (int64_t i = 0; i < count; ++i) {
      if (chosen.at(i) < 0 || chosen.at(i) >= bound) return out_of_range(label, chosen.at(i), bound);
    }
    parallel_ranges(args.pool, slices, 8 + static_cast<double>(inner) / 4, [&](int64_t begin, int64_t end) {
      for (int64_t s = begin; s < end; ++s) {
        const int64_t line = s / picks, pick = s % picks;
        const int64_t index = chosen.at(line / outer * picks + pick);
        std::memcpy(output(args) + static_cast<size_t>(s) * inner,
                    input(args, 0) + static_cast<size_t>(line * bound + index) * inner, inner);
      }
    });
    return Status::ok_status();
  });
}

Result<std::unique_ptr<Kernel>> create_gather_nd(const KernelRequest& request, PackCache&) {
  const ir::Dims params = request.inputs[0].dims;
  const int64_t depth = request.inputs[1].dims.back();
  const int64_t rows = product(request.inputs[1].dims, 0, request.inputs[1].dims.size() - 1);
  const ir::Dims strides = row_major_strides(params);
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  const size_t slice = static_cast<size_t>(product(params, static_cast<size_t>(depth), params.size())) * size;
  const bool wide = request.inputs[1].dtype == ir::DType::kInt64;
  const std::string label = node_label(request);
  return make_kernel([=](const KernelArgs& args) {
    const Indices chosen{args.inputs[1], wide};
    for (int64_t r = 0; r < rows; ++r) {
      int64_t from = 0;
      for (int64_t d = 0; d < depth; ++d) {
        const int64_t index = chosen.at(r * depth + d), bound = params[static_cast<size_t>(d)];
        if (index < 0 || index >= bound) return out_of_range(label, index, bound);
        from += index * strides[static_cast<size_t>(d)];
      }
      if (slice != 0) {
        std::memcpy(output(args) + static_cast<size_t>(r) * slice, input(args, 0) + static_cast<size_t>(from) * size,
                    slice);
      }
    }
    return Status::ok_status();
  });
}

template <class T>
void fill_one_hot(const KernelArgs& args, const Indices& indices, int64_t outer, int64_t depth, int64_t inner) {
  const T on = *input<T>(args, 2), off = *input<T>(args, 3);
  T* out = output<T>(args);
  std::fill_n(out, outer * depth * inner, off);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      const int64_t index = indices.at(o * inner + i);
      if (index >= 0 && index < depth) out[(o * depth + index) * inner + i] = on;
    }
  }
}

Result<std::unique_ptr<Kernel>> create_one_hot(const KernelRequest& request, PackCache&) {
  const auto axis = static_cast<size_t>(request.node->get<ir::AxisAttrs>().axis);
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  const int64_t outer = product(out, 0, axis), depth = out[axis], inner = product(in, axis, in.size());
  const bool wide = request.inputs[0].dtype == ir::DType::kInt64;
  const size_t size = ir::dtype_size(request.outputs[0].dtype);
  return make_kernel([=](const KernelArgs& args) {
    const Indices indices{args.inputs[0], wide};
    switch (size) {
      case 1:
        fill_one_hot<uint8_t>(args, indices, outer, depth, inner);
        break;
      case 2:
        fill_one_hot<uint16_t>(args, indices, outer, depth, inner);
        break;
      case 4:
        fill_one_hot<uint32_t>(args, indices, outer, depth, inner);
        break;
      default:
        fill_one_hot<uint64_t>(args, indices, outer, depth, inner);
        break;
    }
    return Status::ok_status();
  });
}

constexpr KernelEntry kIndexingRows[] = {
    {"cpu.gather.slices", ir::Op::kGather, indices_second, nullptr, create_gather},
    {"cpu.gather_nd.slices", ir::Op::kGatherNd, indices_second, nullptr, create_gather_nd},
    {"cpu.one_hot.fill", ir::Op::kOneHot, indices_first, nullptr, create_one_hot},
};

}  // namespace

std::span<const KernelEntry> indexing_rows() { return kIndexingRows; }

}  // namespace blade::backends::cpu
