// Checks and shape arithmetic of convolution nodes.
#include "backends/cpu/conv_support.h"

#include <algorithm>
#include <utility>

#include "backends/cpu/matrix/amx_kernel.h"
#include "backends/cpu/matrix/amx_split.h"
#include "backends/cpu/matrix/tile_kernel.h"
#include "backends/reference/common.h"

namespace blade::backends::cpu {
namespace {

using reference::Windows;

// A first layer in bfloat16 may read a float32 image: its kernel rounds while it copies.
bool may_read_float(const KernelRequest& request) {
  return request.node->op == ir::Op::kConv && request.inputs[1].dtype == ir::DType::kBFloat16 &&
         request.inputs[0].dims.size() >= 3 && rounds_input(conv_shape(request));
}

template <class T>
Support common_support(const KernelRequest& request) {
  if (Support s = machine_support<T>(request); !s.ok) return s;
  const auto wrong = [](const std::string& what, ir::DType found) {
    return Support::no(what + " has type " + ir::dtype_name(found) + ", needs " + ir::dtype_name(kElement<T>));
  };
  if (request.inputs[1].dtype != kElement<T>) return wrong("operand 1", request.inputs[1].dtype);
  if (request.outputs[0].dtype != kElement<T>) return wrong("the result", request.outputs[0].dtype);
  const bool empty = request.inputs[0].element_count() == 0 || request.inputs[1].element_count() == 0 ||
                     request.outputs[0].element_count() == 0;
  if (empty) return Support::no("an operand or the result is empty");
  const ir::DType x = request.inputs[0].dtype;
  const bool rounds = x == ir::DType::kFloat32 && may_read_float(request);
  return x == kElement<T> || rounds ? Support::yes() : wrong("operand 0", x);
}

template <class T>
Support flat_support(const KernelRequest& request, size_t spatial_rank) {
  if (spatial_rank < 1 || spatial_rank > 2) {
    return Support::no("has " + std::to_string(spatial_rank) + " spatial dims, takes 1 or 2");
  }
  return common_support<T>(request);
}

Windows conv_windows(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  return reference::make_windows(request.inputs[0].dims, request.outputs[0].dims, request.inputs[1].dims, attrs.strides,
                                 attrs.dilations, attrs.padding, attrs.explicit_pads);
}

// The forward convolution reads what is here the output.
Windows transposed_windows(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
  return reference::make_windows(request.outputs[0].dims, request.inputs[0].dims, request.inputs[1].dims, attrs.strides,
                                 attrs.dilations, attrs.padding, attrs.explicit_pads);
}

// What the shapes of all kinds of convolutions of images have.
template <class Shape>
Shape image_shape(const KernelRequest& request, const Windows& w) {
  Shape shape;
  shape.n = w.batch * w.dim[0].out;
  shape.h = w.dim[1].in;
  shape.w = w.dim[2].in;
  shape.c = request.inputs[0].dims.back();
  shape.kh = w.dim[1].size;
  shape.kw = w.dim[2].size;
  shape.oh = w.dim[1].out;
  shape.ow = w.dim[2].out;
  shape.stride_h = w.dim[1].stride;
  shape.stride_w = w.dim[2].stride;
  shape.pad_top = w.dim[1].pad_before;
  shape.pad_left = w.dim[2].pad_before;
  return shape;
}

}  // namespace

template <>
Support machine_support<float>(const KernelRequest&) {
  return Support::yes();
}
template <>
Support machine_support<BFloat16>(const KernelRequest& request) {
  const bool native = request.machine->avx512_bf16 && tile_kernels<BFloat16>().lanes != 0;
  return native ? Support::yes() : Support::no("the processor has no AVX512-BF16");
}

Support tiles_support(const KernelRequest& request) {
  const bool usable = request.machine->amx_bf16 && amx_kernels().tile != nullptr;
  return usable ? Support::yes() : Support::no("the processor has no AMX for bfloat16, or the system refuses its use");
}

Support split_support(const KernelRequest& request) {
  if (Support s = tiles_support(request); !s.ok) return s;
  return has_split_products() ? Support::yes() : Support::no("the processor does not round to bfloat16");
}

template <class T>
Support conv_node_support(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (Support s = flat_support<T>(request, attrs.strides.size()); !s.ok) return s;
  return LoweredEpilogue::supports(request, attrs.epilogue, 2, kElement<T>);
}
template Support conv_node_support<float>(const KernelRequest&);
template Support conv_node_support<BFloat16>(const KernelRequest&);

// In float32 the whole input is copied with its padding.
static bool may_copy_volume(const KernelRequest& request) {
  const Conv3DShape shape = conv3d_shape(request);
  double copied = static_cast<double>(shape.n) * static_cast<double>(shape.c);
  for (int i = 0; i < 3; ++i) {
    copied *= static_cast<double>((shape.out[i] - 1) * shape.stride[i]) +
              static_cast<double>(shape.kernel[i] - 1) * static_cast<double>(shape.dilation[i]) + 1;
  }
  const double most = 16.0 * static_cast<double>(request.inputs[0].element_count()) + (1 << 20);
  return copied <= most;
}

template <class T>
Support conv3d_node_support(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (attrs.strides.size() != 3) return Support::no("has not 3 spatial dims");
  if (attrs.groups != 1) return Support::no("has several groups");
  if (Support s = common_support<T>(request); !s.ok) return s;
  if (sizeof(T) == sizeof(float) && !may_copy_volume(request))
    return Support::no("the input with its padding is too large to copy");
  return LoweredEpilogue::supports(request, attrs.epilogue, 2, kElement<T>);
}
template Support conv3d_node_support<float>(const KernelRequest&);
template Support conv3d_node_support<BFloat16>(const KernelRequest&);

template <class T>
Support conv_transpose_node_support(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
  if (Support s = flat_support<T>(request, attrs.strides.size()); !s.ok) return s;
  for (int64_t dilation : attrs.dilations) {
    if (dilation != 1) return Support::no("dilation is " + std::to_string(dilation) + ", needs 1");
  }
  return LoweredEpilogue::supports(request, attrs.epilogue, 3, kElement<T>);
}
template Support conv_transpose_node_support<float>(const KernelRequest&);
template Support conv_transpose_node_support<BFloat16>(const KernelRequest&);

Support conv_transpose3d_node_support(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
  if (attrs.strides.size() != 3) return Support::no("has not 3 spatial dims");
  if (Support s = common_support<float>(request); !s.ok) return s;
  for (int64_t dilation : attrs.dilations) {
    if (dilation != 1) return Support::no("dilation is " + std::to_string(dilation) + ", needs 1");
  }
  const ConvTranspose3DShape shape = conv_transpose3d_shape(request);
  double copied = static_cast<double>(shape.n) * static_cast<double>(shape.c);
  for (int i = 0; i < 3; ++i) copied *= static_cast<double>(shape.in[i]) + static_cast<double>(shape.kernel[i]);
  const double most = 16.0 * static_cast<double>(request.inputs[0].element_count()) + (1 << 20);
  if (copied > most) return Support::no("the input with its padding is too large to copy");
  return LoweredEpilogue::supports(request, attrs.epilogue, 3);
}

Blocking blocking_for(const KernelRequest& request, MatrixUnit unit) {
  Blocking blocking = request.blocking;
  if (unit == MatrixUnit::kTiles) blocking.vectors = 0;
  return blocking;
}

Conv2DShape conv_shape(const KernelRequest& request, MatrixUnit unit) {
  const Windows w = conv_windows(request);
  auto shape = image_shape<Conv2DShape>(request, w);
  shape.unit = unit;
  shape.depth = {w.dim[0].size, w.dim[0].in, w.dim[0].out, w.dim[0].stride, w.dim[0].dilation, w.dim[0].pad_before};
  shape.oc = request.outputs[0].dims.back();
  shape.dilation_h = w.dim[1].dilation;
  shape.dilation_w = w.dim[2].dilation;
  shape.groups = request.node->get<ir::ConvAttrs>().groups;
  shape.is_shared = request.num_threads > 1;
  shape.blocking = blocking_for(request, unit);
  return shape;
}

Conv3DShape conv3d_shape(const KernelRequest& request) {
  const Windows w = conv_windows(request);
  Conv3DShape shape;
  shape.n = w.batch;
  shape.c = request.inputs[0].dims.back();
  shape.oc = request.outputs[0].dims.back();
  for (int i = 0; i < 3; ++i) {
    shape.in[i] = w.dim[i].in;
    shape.out[i] = w.dim[i].out;
    shape.kernel[i] = w.dim[i].size;
    shape.stride[i] = w.dim[i].stride;
    shape.dilation[i] = w.dim[i].dilation;
    shape.pad_before[i] = w.dim[i].pad_before;
  }
  return shape;
}

// Bound by loads: about 12 billion multiply-adds a second and core.
double depthwise_cost_us(const Conv2DShape& shape, int threads, double flops_per_us) {
  return 1 + shape.flops() / (flops_per_us * threads);
}

bool is_depthwise(const KernelRequest& request) {
  const ir::Dims& weights = request.inputs[1].dims;
  const int64_t groups = request.node->get<ir::ConvAttrs>().groups;
  return groups > 1 && groups == request.inputs[0].dims.back() && weights[weights.size() - 2] == 1;
}

bool sums_keep_order(int64_t pixels, int64_t sum, int threads) {
  constexpr int64_t kLeastPixels = 32;  // of a thread: two tiles, none of them of less than five rows
  constexpr int64_t kLongestSum = 2048;
  return pixels >= kLeastPixels * std::max(1, threads) && sum < kLongestSum;
}

int64_t product_row_unit(const KernelRequest& request) {
  if (request.producer != nullptr && request.node->op != ir::Op::kConv) return product_row_unit(*request.producer);
  constexpr int64_t kFewColumns = 4, kLeastRow = 32;  // strips within a step may be rows
  const Conv2DShape s = conv_shape(request);
  if (s.group_out() <= kFewColumns || (request.producer != nullptr && s.ow < kLeastRow)) return 0;
  const int64_t joined = std::max(groups_to_join<float>(s), groups_to_join<BFloat16>(s));  // their sums are one
  return sums_keep_order(s.oh * s.ow, joined * s.kh * s.kw * s.group_in(), request.num_threads) ? 1 : 0;
}

bool is_pointwise_conv(const Conv2DShape& s) {
  return s.kh == 1 && s.kw == 1 && s.stride_h == 1 && s.stride_w == 1 && s.groups == 1 && s.pad_top == 0 &&
         s.pad_left == 0 && s.oh == s.h && s.ow == s.w;
}

DepthwiseShape depthwise_shape(const KernelRequest& request) {
  const Windows w = conv_windows(request);
  auto shape = image_shape<DepthwiseShape>(request, w);
  shape.multiplier = request.outputs[0].dims.back() / shape.c;
  shape.dilation_h = w.dim[1].dilation;
  shape.dilation_w = w.dim[2].dilation;
  shape.blocking = blocking_for(request, MatrixUnit::kVectors);
  return shape;
}

ConvTranspose3DShape conv_transpose3d_shape(const KernelRequest& request) {
  const Windows w = transposed_windows(request);
  ConvTranspose3DShape shape;
  shape.n = w.batch;
  shape.c = request.inputs[0].dims.back();
  shape.oc = request.outputs[0].dims.back();
  for (int i = 0; i < 3; ++i) {
    shape.in[i] = w.dim[i].out;
    shape.out[i] = w.dim[i].in;
    shape.kernel[i] = w.dim[i].size;
    shape.stride[i] = w.dim[i].stride;
    shape.pad_before[i] = w.dim[i].pad_before;
  }
  return shape;
}

ConvTransposeShape conv_transpose_shape(const KernelRequest& request, MatrixUnit unit) {
  auto shape = image_shape<ConvTransposeShape>(request, transposed_windows(request));
  std::swap(shape.h, shape.oh);  // what the forward convolution reads is the result
  std::swap(shape.w, shape.ow);
  shape.unit = unit;
  shape.oc = request.outputs[0].dims.back();
  return shape;
}

}  // namespace blade::backends::cpu
