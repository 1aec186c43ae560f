// Convolution weights in the layout of a kernel: packed once, shared by the plans of all shapes.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/matrix/amx_split.h"
#include "backends/cpu/matrix/convert.h"
#include "backends/cpu/matrix/depthwise_pairs.h"
#include "backends/cpu/matrix/depthwise_split.h"
#include "backends/cpu/matrix/dot_speed.h"

namespace blade::backends::cpu {

// Weights (a constant operand) rearranged once and shared by all plans; made by `pack(source elements, destination)`.
template <class T = float, class Pack>
Result<std::shared_ptr<const AlignedBuffer>> packed_weights(const KernelRequest& request, PackCache& packs,
                                                            const std::string& layout, size_t bytes, Pack&& pack,
                                                            size_t operand = 1) {
  const ir::TensorPtr& weights = request.constants[operand];
  return packs.get(weights, layout, [&]() -> Result<AlignedBuffer> {
    BLADE_ASSIGN_OR_RETURN(const ir::TensorPtr source, ir::aligned(weights));
    AlignedBuffer buffer = AlignedBuffer::allocate_lasting(bytes);
    if (buffer.data() == nullptr) {
      return resource_exhausted(node_label(request) + "there is not enough memory to pack " + std::to_string(bytes) +
                                " bytes of weights.");
    }
    pack(reinterpret_cast<const T*>(source->data), buffer.data());
    return buffer;
  });
}

// A product of all rows by weights that pack_split_b() packed.
inline Result<std::unique_ptr<Kernel>> make_split_product(int64_t rows, int64_t k, int64_t n,
                                                          const std::shared_ptr<const AlignedBuffer>& packed,
                                                          const LoweredEpilogue& epilogue, int threads) {
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        split_product({rows, k, n, input<float>(args, 0), k, packed->data(), output<float>(args), n, &bound.raw},
                      *args.pool, args.scratch);
        return Status::ok_status();
      },
      epilogue.in_place_inputs(), split_product_scratch_bytes(rows, k, threads), kWeightsPacked);
}

inline std::string layout_name(const char* name, std::initializer_list<int64_t> parameters) {
  std::string layout = name;
  for (int64_t parameter : parameters) layout += ":" + std::to_string(parameter);
  return layout;
}

// Weights [runs][c / groups][oc] of a convolution as those of the shape's groups, each of which joins some of its own.
template <class T>
std::vector<T> joined_weights(const Conv2DShape& shape, int64_t groups, const T* from) {
  const int64_t runs = shape.kh * shape.kw, in = shape.c / groups, out = shape.oc / groups;
  const int64_t joined = groups / shape.groups;
  std::vector<T> to(static_cast<size_t>(runs * shape.group_in() * shape.oc));
  for (int64_t row = 0; row < runs * in; ++row) {
    for (int64_t g = 0; g < groups; ++g, from += out) {
      const int64_t to_row = (row / in * joined + g % joined) * in + row % in;
      std::copy_n(from, out, to.begin() + to_row * shape.oc + g * out);
    }
  }
  return to;
}

// For conv2d() and, where the kernel is 1x1, for every product of one run. `shape` may join groups.
template <class T>
Result<std::shared_ptr<const AlignedBuffer>> packed_direct_weights(const KernelRequest& request, PackCache& packs,
                                                                   const Conv2DShape& shape) {
  // Only first layers are packed for one unit; all others for both.
  const auto unit = rounds_input(shape) ? static_cast<int64_t>(shape.unit) : 0;
  const std::string layout =
      layout_name("conv_direct", {shape.kh, shape.kw, shape.c, shape.oc, shape.groups, shape.dilation_w,
                                  shape.dilation_h, unit, shape.blocking.vectors});
  return packed_weights<T>(request, packs, layout, packed_conv_bytes<T>(shape), [&](const T* from, void* to) {
    const int64_t groups = shape.c / request.inputs[1].dims.rbegin()[1];
    if (groups == shape.groups) return pack_conv_weights(shape, from, to);
    pack_conv_weights(shape, joined_weights(shape, groups, from).data(), to);
  });
}

// Weights of depthwise convolutions in bfloat16: in pairs where there are fast kernels for that, in float32 for all
// others.
class PackedDepthwise {
 public:
  static Result<PackedDepthwise> pack(const KernelRequest& request, PackCache& packs) {
    const DepthwiseShape shape = depthwise_shape(request);
    PackedDepthwise packed;
    packed.in_pairs_ = has_fast_bf16_dots(*request.machine) && multiplies_pairs(shape);
    if (!packed.in_pairs_ && split_channels(shape) > 0) packed.split_bytes_ = depthwise_split_bytes(shape);
    const int64_t count = request.inputs[1].element_count();
    const size_t bytes = packed.in_pairs_ ? depthwise_pair_bytes(shape)
                                          : packed.split_bytes_ + static_cast<size_t>(count) * sizeof(float);
    const char* name = packed.in_pairs_ ? "depthwise_pairs" : packed.split_bytes_ > 0 ? "depthwise_split" : "float32";
    const auto pack = [&](const BFloat16* from, void* to) {
      if (packed.in_pairs_) {
        pack_depthwise_pairs(shape, from, static_cast<BFloat16*>(to));
        return;
      }
      if (packed.split_bytes_ > 0) pack_depthwise_split(shape, from, static_cast<float*>(to));
      widen(from, static_cast<float*>(to) + packed.split_bytes_ / sizeof(float), count);
    };
    BLADE_ASSIGN_OR_RETURN(
        packed.buffer_, packed_weights<BFloat16>(request, packs, layout_name(name, {shape.kh, shape.c}), bytes, pack));
    return packed;
  }
  DepthwiseWeights weights() const {
    if (in_pairs_) return {nullptr, buffer_->as<BFloat16>()};
    const auto* floats = buffer_->as<float>();
    return {floats + split_bytes_ / sizeof(float), nullptr, split_bytes_ > 0 ? floats : nullptr};
  }

 private:
  std::shared_ptr<const AlignedBuffer> buffer_;
  bool in_pairs_ = false;
  size_t split_bytes_ = 0;  // what lies before the weights in float32
};

}  // namespace blade::backends::cpu
