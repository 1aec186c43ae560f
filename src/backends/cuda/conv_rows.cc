// Rows for Conv and ConvTranspose that take everything which no faster row does.
#include "backends/cuda/conv_problem.h"
#include "backends/cuda/kernel_families.h"
#include "backends/cuda/kernels/simple_kernels.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

// --- by definition ---

DirectConvParams direct_params(const KernelRequest& request, bool transposed) {
  reference::Windows w;
  DirectConvParams p;
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  if (transposed) {
    // The convolution that this is the gradient of reads what is here the result.
    const auto& attrs = request.node->get<ir::ConvTransposeAttrs>();
    w = reference::make_windows(out, in, request.inputs[1].dims, attrs.strides, attrs.dilations, attrs.padding,
                                attrs.explicit_pads);
  } else {
    const auto& attrs = request.node->get<ir::ConvAttrs>();
    w = reference::make_windows(in, out, request.inputs[1].dims, attrs.strides, attrs.dilations, attrs.padding,
                                attrs.explicit_pads);
    p.group_in = static_cast<int>(in.back() / attrs.groups);
    p.group_out = static_cast<int>(out.back() / attrs.groups);
  }
  for (int d = 0; d < 3; ++d) {
    p.in[d] = static_cast<int>(transposed ? w.dim[d].out : w.dim[d].in);
    p.out[d] = static_cast<int>(transposed ? w.dim[d].in : w.dim[d].out);
    p.size[d] = static_cast<int>(w.dim[d].size);
    p.stride[d] = static_cast<int>(w.dim[d].stride);
    p.dilation[d] = static_cast<int>(w.dim[d].dilation);
    p.pad[d] = static_cast<int>(w.dim[d].pad_before);
  }
  p.in_channels = static_cast<int>(in.back());
  p.channels = static_cast<int>(out.back());
  p.count = request.outputs[0].element_count();
  return p;
}

Support supports_any(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand) {
  if (Support s = needs_small(request); !s.ok) return s;
  if (Support s = needs_full_or_half(request.inputs[0], "the input"); !s.ok) return s;
  if (request.inputs[1].dtype != request.inputs[0].dtype || request.outputs[0].dtype != request.inputs[0].dtype) {
    return Support::no("operands are of different types");
  }
  return Epilogue::supports(request, program, first_operand);
}

// Launches `kernel` with the operands of a run in `params`. `unread`: inputs that it does not read.
template <class Params>
Result<std::unique_ptr<Kernel>> launched(const KernelRequest& request, const Params& params, const Epilogue& epilogue,
                                         const void* kernel, const LaunchShape& shape, uint32_t unread) {
  BLADE_RETURN_IF_ERROR(prepare_launch(*request.device, kernel, shape));
  return make_kernel(
      [=](const KernelArgs& args) {
        Params p = params;
        p.x = args.inputs[0];
        p.w = args.inputs[1];
        p.y = args.outputs[0];
        p.epilogue = epilogue.bind(args);
        void* arguments[] = {&p};
        return launch(args, kernel, shape, arguments);
      },
      {.in_place_inputs = epilogue.in_place_inputs(), .unread_inputs = epilogue.unread_inputs() | unread});
}

Result<std::unique_ptr<Kernel>> create_direct_like(const KernelRequest& request, PackCache& packs, const void* kernel,
                                                   const ir::PointwiseProgram& program, size_t first_operand,
                                                   bool transposed, const LaunchShape& shape) {
  const DirectConvParams params = direct_params(request, transposed);
  BLADE_ASSIGN_OR_RETURN(const Epilogue epilogue,
                         Epilogue::create(request, program, first_operand, params.channels, packs));
  const uint32_t unread = transposed ? 1u << 2 : 0;  // output_size
  return launched(request, params, epilogue, kernel, shape, unread);
}

ElementType type_of(const KernelRequest& request) { return *element_type(request.outputs[0].dtype); }

Support supports_depthwise(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const int64_t channels = request.inputs[0].dims.back();
  if (attrs.groups == 1 || attrs.groups != channels || attrs.strides.size() > 2) {
    return Support::no("is not depthwise in 1 or 2 dims");
  }
  if (request.outputs[0].dims.back() != channels || channels % kDepthwiseWidth != 0) {
    return Support::no("needs one filter a channel, and channels in multiples of " + std::to_string(kDepthwiseWidth));
  }
  if (!is_constant(request, 1)) return Support::no("weights are not constant");
  return supports_any(request, attrs.epilogue, 2);
}

Result<std::unique_ptr<Kernel>> create_depthwise(const KernelRequest& request, PackCache& packs) {
  const DirectConvParams conv = direct_params(request, false);
  DepthwiseParams params;
  params.units = static_cast<int>(conv.count / kDepthwiseWidth);
  params.channel_units = FastDivisor(conv.channels / kDepthwiseWidth);
  params.out_width = FastDivisor(conv.out[2]);
  params.out_height = FastDivisor(conv.out[1]);
  params.height = conv.in[1];
  params.width = conv.in[2];
  params.channels = conv.channels;
  params.kernel_h = conv.size[1];
  params.kernel_w = conv.size[2];
  params.stride_h = conv.stride[1];
  params.stride_w = conv.stride[2];
  params.dilation_h = conv.dilation[1];
  params.dilation_w = conv.dilation[2];
  params.pad_top = conv.pad[1];
  params.pad_left = conv.pad[2];
  const bool square = params.kernel_h == params.kernel_w && (params.kernel_h == 3 || params.kernel_h == 5);
  const void* kernel = depthwise_kernel(type_of(request), square ? params.kernel_h : 0);
  BLADE_ASSIGN_OR_RETURN(const Epilogue epilogue,
                         Epilogue::create(request, epilogue_of(request), 2, params.channels, packs));
  const LaunchShape shape = one_each(params.units, kDepthwiseThreads);
  return launched(request, params, epilogue, kernel, shape, 0);
}

Support supports_implicit(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (attrs.groups != 1 || attrs.strides.size() > 2) return Support::no("has groups or 3 spatial dims");
  return supports_any(request, attrs.epilogue, 2);
}
Result<std::unique_ptr<Kernel>> create_implicit(const KernelRequest& request, PackCache& packs) {
  const int64_t channels = request.outputs[0].dims.back(), rows = request.outputs[0].element_count() / channels;
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(ceil_div(rows, int64_t{kGemmTile})),
                    static_cast<unsigned>(ceil_div(channels, int64_t{kGemmTile})));
  return create_direct_like(request, packs, implicit_gemm_kernel(type_of(request)), epilogue_of(request), 2, false,
                            shape);
}

Support supports_direct(const KernelRequest& request) {
  return supports_any(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
}
Result<std::unique_ptr<Kernel>> create_direct(const KernelRequest& request, PackCache& packs) {
  return create_direct_like(request, packs, direct_conv_kernel(type_of(request), false), epilogue_of(request), 2, false,
                            one_each(request.outputs[0].element_count()));
}

Support supports_transpose(const KernelRequest& request) {
  return supports_any(request, request.node->get<ir::ConvTransposeAttrs>().epilogue, 3);
}
Result<std::unique_ptr<Kernel>> create_transpose(const KernelRequest& request, PackCache& packs) {
  return create_direct_like(request, packs, direct_conv_kernel(type_of(request), true),
                            request.node->get<ir::ConvTransposeAttrs>().epilogue, 3, true,
                            one_each(request.outputs[0].element_count()));
}

}  // namespace

std::span<const KernelEntry> conv_rows() {
  static const KernelEntry rows[] = {
      {"cuda.conv.depthwise", ir::Op::kConv, supports_depthwise, nullptr, create_depthwise},
      {"cuda.conv.implicit_simt", ir::Op::kConv, supports_implicit, nullptr, create_implicit},
      {"cuda.conv.direct", ir::Op::kConv, supports_direct, nullptr, create_direct},
      {"cuda.conv_transpose.direct", ir::Op::kConvTranspose, supports_transpose, nullptr, create_transpose},
  };
  return rows;
}

}  // namespace blade::backends::cuda
