// Convolutions by cuDNN with their epilogues, in float16 and bfloat16: a choice of tuning where it wins. Not in
// float32: its products of TF32 keep 10 bits.
#include <algorithm>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/cudnn.h"
#include "backends/cuda/kernel_families.h"
#include "backends/reference/common.h"

namespace blade::backends::cuda {
namespace {

// An operand of the epilogue: one value a channel, which has to be constant, or shaped and typed like the result.
bool is_vector(const KernelRequest& request, size_t input) {
  const TensorDesc &operand = request.inputs[input], &out = request.outputs[0];
  if (!is_constant(request, input) || !element_type(operand.dtype) || operand.dtype == ir::DType::kBool) return false;
  const int64_t count = operand.element_count();
  return count == 1 || (count == out.dims.back() && operand.dims.back() == count);
}

Support supports_operands(const KernelRequest& request) {
  const TensorDesc& out = request.outputs[0];
  for (size_t i = 2; i < request.inputs.size(); ++i) {
    if (is_vector(request, i) || (request.inputs[i].dims == out.dims && request.inputs[i].dtype == out.dtype)) continue;
    return Support::no("an operand of the epilogue is neither one constant a channel nor shaped like the result");
  }
  for (const ir::PointwiseInstr& instr : epilogue_of(request).code) {
    if (!CudnnPlan::takes(instr)) {
      return Support::no(std::string(ir::pointwise_name(instr.op)) + " is not in the epilogues of this row");
    }
  }
  return Support::yes();
}

// The library's kernels start late and overlap nothing: Blade's tiles are faster below this.
constexpr double kLeastByTiles = 1 << 28, kLeastElse = 1 << 20;  // multiplications

// What no tile takes (groups, volumes), or only those that gather each pixel. Elsewhere tiles are as fast as
// what the library compiles, and made at once.
bool is_worth_compiling(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const int64_t channels = request.inputs[0].dims.back();
  const bool has_windows = request.inputs[1].element_count() > channels * request.outputs[0].dims.back();
  return attrs.groups > 1 || attrs.strides.size() == 3 || (has_windows && channels % 64 != 0);
}

Support needs_work(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  if (attrs.groups > 1 && attrs.groups == request.inputs[0].dims.back()) return Support::no("is depthwise");
  const bool by_tiles = attrs.groups == 1 && attrs.strides.size() < 3;
  const int64_t of_result = request.inputs[1].element_count() / request.outputs[0].dims.back();
  const double work = static_cast<double>(request.outputs[0].element_count()) * static_cast<double>(of_result);
  if (work >= (by_tiles ? kLeastByTiles : kLeastElse)) return Support::yes();
  return Support::no("has fewer than 2^" + std::string(by_tiles ? "28" : "20") + " multiplications");
}

Support supports(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const ir::DType type = request.outputs[0].dtype;
  if (!is_half(type)) {
    return Support::no(std::string("has type ") + ir::dtype_name(type) + ", needs float16 or bfloat16");
  }
  for (size_t i = 0; i < 2; ++i) {
    if (request.inputs[i].dtype != type) return Support::no("operands are of different types");
  }
  if (!is_constant(request, 1)) return Support::no("weights are not constant");
  if (Support s = supports_operands(request); !s.ok) return s;
  if (Support s = needs_work(request); !s.ok) return s;
  const Status status = CudnnPlan::library().status();
  return status.ok() ? Support::yes() : Support::no(status.message());
}

Support supports_compiled(const KernelRequest& request) {
  if (Support s = supports(request); !s.ok) return s;
  if (is_worth_compiling(request)) return Support::yes();
  return Support::no("a convolution that tiles take as well is not compiled");
}

CudnnConv cudnn_conv(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::ConvAttrs>();
  const ir::Dims &in = request.inputs[0].dims, &out = request.outputs[0].dims;
  const reference::Windows w = reference::make_windows(in, out, request.inputs[1].dims, attrs.strides, attrs.dilations,
                                                       attrs.padding, attrs.explicit_pads);
  CudnnConv conv;
  conv.bfloat16 = request.outputs[0].dtype == ir::DType::kBFloat16;
  conv.images = w.batch;
  conv.in_channels = in.back();
  conv.channels = out.back();
  conv.groups = attrs.groups;
  for (size_t d = attrs.strides.size() == 3 ? 0 : 1; d < 3; ++d) {
    const auto& own = w.dim[d];
    conv.dims.push_back({own.in, own.out, own.size, own.stride, own.dilation, own.pad_before});
  }
  conv.program = attrs.epilogue;
  for (size_t i = 2; i < request.inputs.size(); ++i) conv.by_channel.push_back(is_vector(request, i));
  return conv;
}

// [window..., channels of a group, channels] to [channels][window...][channels of a group].
Result<AlignedBuffer> transposed_weights(const ir::Tensor& weights) {
  const int64_t channels = weights.dims.back(), depth = weights.element_count() / channels;
  AlignedBuffer buffer = AlignedBuffer::allocate(weights.bytes);
  if (buffer.data() == nullptr) return resource_exhausted("There is no memory to transpose weights.");
  const auto* from = reinterpret_cast<const uint16_t*>(weights.data);
  auto* to = buffer.as<uint16_t>();
  for (int64_t k = 0; k < depth; ++k) {
    for (int64_t c = 0; c < channels; ++c) to[c * depth + k] = from[k * channels + c];
  }
  return buffer;
}

using Buffers = std::vector<std::shared_ptr<const DeviceBuffer>>;  // of the epilogue's operands, null: not packed

Result<std::unique_ptr<Kernel>> create(const KernelRequest& request, PackCache& packs, bool may_compile) {
  BLADE_RETURN_IF_ERROR(select_card());  // the library takes the thread's
  CudnnConv conv = cudnn_conv(request);
  conv.may_compile = may_compile;
  if (!may_compile) put_residual_first(conv);
  BLADE_ASSIGN_OR_RETURN(const auto weights, packs.get_on(*request.device, request.constants[1], "cudnn_channels_first",
                                                          [&] { return transposed_weights(*request.constants[1]); }));
  BLADE_ASSIGN_OR_RETURN(const auto plan, CudnnPlan::create(conv));
  KernelTraits traits;
  traits.scratch_bytes = library_scratch_bytes(plan->workspace_bytes());
  traits.unread_inputs = 1u << 1;
  Buffers packed;
  for (size_t i = 0; i < conv.by_channel.size(); ++i) {
    packed.emplace_back();
    if (!conv.by_channel[i]) continue;
    const auto input = static_cast<int>(i) + 2;
    if (may_compile) {
      BLADE_ASSIGN_OR_RETURN(packed.back(), vector_on_device(request, input, conv.channels, packs));
    } else {
      BLADE_ASSIGN_OR_RETURN(packed.back(), half_vector_on_device(request, input, packs));
    }
    traits.unread_inputs |= 1u << input;
  }
  return make_kernel(
      [plan, weights, packed](const KernelArgs& args) {
        CudnnOperands operands;
        operands.x = args.inputs[0];
        operands.weights = weights->data();
        for (size_t i = 0; i < packed.size(); ++i) {
          operands.operands.push_back(packed[i] != nullptr ? packed[i]->data() : args.inputs[i + 2]);
        }
        operands.y = args.outputs[0];
        operands.workspace = library_scratch(args.scratch);
        operands.stream = args.queue;
        return plan->run(operands);
      },
      traits);
}

Result<std::unique_ptr<Kernel>> create_held(const KernelRequest& request, PackCache& packs) {
  return create(request, packs, false);
}
Result<std::unique_ptr<Kernel>> create_compiled(const KernelRequest& request, PackCache& packs) {
  return create(request, packs, true);
}

// Behind Blade's own, so that only tuning chooses them, but what is held where there are none.
constexpr KernelEntry kRows[] = {
    {"cuda.conv.cudnn", ir::Op::kConv, supports, nullptr, create_held, nullptr, nullptr, kTriedEarly},
    {"cuda.conv.cudnn_compiled", ir::Op::kConv, supports_compiled, nullptr, create_compiled, nullptr, nullptr,
     kCompiles | kTriedEarly},
};

}  // namespace

std::span<const KernelEntry> cudnn_rows() { return kRows; }

}  // namespace blade::backends::cuda
