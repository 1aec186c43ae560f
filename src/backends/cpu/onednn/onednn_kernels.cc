// Rows that run convolutions and products through oneDNN, where its module is installed. They are predicted so slow
// that only a stored, measured choice picks them, and only for engines of one thread.
#include <cmath>

#include "backends/cpu/conv_support.h"
#include "backends/cpu/kernel_families.h"
#include "backends/cpu/onednn/loader.h"

namespace blade::backends::cpu {
namespace {

constexpr size_t kErrorSize = 256;

Support supports_module(const KernelRequest& request) {
  const OneDnnModule& module = onednn_module();
  if (module.table == nullptr) return Support::no(module.refusal);
  // They spin beside the pool's, three threads on two cores: steps behind it took twice as long.
  if (request.num_threads > 1) return Support::no("OpenMP's threads would compete with the engine's: one thread only");
  return weights_constant(request) ? Support::yes() : Support::no("weights are not constant");
}

Support supports_epilogue(const KernelRequest& request, const ir::PointwiseProgram& program) {
  const LoweredEpilogue epilogue(request, program, 2);
  if (epilogue.is_plain()) return Support::yes();
  return Support::no("the epilogue is more than bias, residual and clamp");
}

Support supports_conv(const KernelRequest& request) {
  if (Support s = supports_module(request); !s.ok) return s;
  if (Support s = conv_node_support(request); !s.ok) return s;
  return supports_epilogue(request, request.node->get<ir::ConvAttrs>().epilogue);
}

Support supports_matmul(const KernelRequest& request) {
  if (Support s = supports_module(request); !s.ok) return s;
  if (Support s = needs_float32(request); !s.ok) return s;
  const ir::Dims& b = request.inputs[1].dims;
  if (b.size() != 2 || request.inputs[0].dims.size() < 2) return Support::no("b is not one matrix");
  if (request.node->get<ir::MatMulAttrs>().transpose_a) return Support::no("a is transposed");
  if (request.inputs[0].element_count() == 0 || request.inputs[1].element_count() == 0)
    return Support::no("an operand is empty");
  const ir::PointwiseProgram& program = request.node->get<ir::MatMulAttrs>().epilogue;
  if (Support s = LoweredEpilogue::supports(request, program, 2); !s.ok) return s;
  return supports_epilogue(request, program);
}

Result<std::unique_ptr<Kernel>> make_onednn_kernel(const KernelRequest& request, void* created, const char* error,
                                                   const LoweredEpilogue& epilogue) {
  const BladeOneDnnTable* table = onednn_module().table;
  if (created == nullptr) return internal_error(node_label(request) + error);
  const std::shared_ptr<void> primitive(created, table->destroy);
  const std::string label = node_label(request);
  return make_kernel(
      [=](const KernelArgs& args) {
        LoweredEpilogue::Bound bound;
        epilogue.bind(args, bound);
        char message[kErrorSize] = "";
        const BladeOneDnnRun run = {input<float>(args, 0), bound.raw.bias, bound.raw.residual,
                                    output<float>(args),   args.scratch,   args.pool->num_threads()};
        if (table->run(primitive.get(), &run, message, sizeof(message)) == 0) return internal_error(label + message);
        return Status::ok_status();
      },
      0, table->scratch_bytes(created));
}

Result<std::unique_ptr<Kernel>> create_conv(const KernelRequest& request, PackCache&) {
  const Conv2DShape s = conv_shape(request);
  const LoweredEpilogue epilogue(request, request.node->get<ir::ConvAttrs>().epilogue, 2);
  const BladeOneDnnConv conv = {s.n,
                                s.h,
                                s.w,
                                s.c,
                                s.kh,
                                s.kw,
                                s.oc,
                                s.oh,
                                s.ow,
                                s.stride_h,
                                s.stride_w,
                                s.dilation_h,
                                s.dilation_w,
                                s.pad_top,
                                s.pad_left,
                                s.groups,
                                epilogue.has_bias(),
                                epilogue.has_residual(),
                                epilogue.has_clamp(),
                                epilogue.lo(),
                                epilogue.hi()};
  BLADE_ASSIGN_OR_RETURN(const ir::TensorPtr weights, ir::aligned(request.constants[1]));
  char error[kErrorSize] = "";
  void* primitive = onednn_module().table->create_conv(&conv, reinterpret_cast<const float*>(weights->data),
                                                       request.num_threads, error, sizeof(error));
  return make_onednn_kernel(request, primitive, error, epilogue);
}

Result<std::unique_ptr<Kernel>> create_matmul(const KernelRequest& request, PackCache&) {
  const ir::MatMulAttrs& attrs = request.node->get<ir::MatMulAttrs>();
  const LoweredEpilogue epilogue(request, attrs.epilogue, 2);
  const int64_t k = request.inputs[0].dims.back();
  const BladeOneDnnMatMul matmul = {request.inputs[0].element_count() / k,
                                    k,
                                    request.outputs[0].dims.back(),
                                    attrs.transpose_b,
                                    epilogue.has_bias(),
                                    epilogue.has_residual(),
                                    epilogue.has_clamp(),
                                    epilogue.lo(),
                                    epilogue.hi()};
  BLADE_ASSIGN_OR_RETURN(const ir::TensorPtr b, ir::aligned(request.constants[1]));
  char error[kErrorSize] = "";
  void* primitive = onednn_module().table->create_matmul(&matmul, reinterpret_cast<const float*>(b->data),
                                                         request.num_threads, error, sizeof(error));
  return make_onednn_kernel(request, primitive, error, epilogue);
}

constexpr KernelEntry kOnednnRows[] = {
    {"cpu.conv.onednn_f32", ir::Op::kConv, supports_conv, never_by_prediction, create_conv},
    {"cpu.matmul.onednn_f32", ir::Op::kMatMul, supports_matmul, never_by_prediction, create_matmul},
};

}  // namespace

std::span<const KernelEntry> onednn_rows() { return kOnednnRows; }

}  // namespace blade::backends::cpu
