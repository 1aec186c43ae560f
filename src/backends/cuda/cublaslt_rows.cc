// Matrix products and 1x1 convolutions by cuBLASLt, in float16 and bfloat16: a choice of tuning where it wins, which
// large products are. Not in float32: its products of TF32 keep 10 bits.
#include <algorithm>
#include <cstring>
#include <optional>

#include "backends/cuda/conv_problem.h"
#include "backends/cuda/cublaslt.h"
#include "backends/cuda/kernel_families.h"

namespace blade::backends::cuda {
namespace {

// What the library does to sums: bias, addend, activation.
struct LtEpilogue {
  int bias = -1, addend = -1;  // inputs of the node
  LtProblem::Activation activation = LtProblem::Activation::kNone;
};

bool is_channel_vector(const KernelRequest& request, size_t input) {
  const TensorDesc &operand = request.inputs[input], &out = request.outputs[0];
  return is_constant(request, input) && element_type(operand.dtype) && operand.element_count() == out.dims.back() &&
         operand.dims.back() == out.dims.back();
}

bool take_sum(const KernelRequest& request, int operand, int num_inputs, LtEpilogue& epilogue) {
  if (operand <= 0 || operand >= num_inputs) return false;
  const auto input = static_cast<size_t>(operand) + 1;
  if (epilogue.bias < 0 && is_channel_vector(request, input)) {
    epilogue.bias = static_cast<int>(input);
    return true;
  }
  const TensorDesc &desc = request.inputs[input], &out = request.outputs[0];
  if (epilogue.addend >= 0 || desc.dims != out.dims || desc.dtype != out.dtype) return false;
  epilogue.addend = static_cast<int>(input);
  return true;
}

// The program as that; nothing where it is more.
std::optional<LtEpilogue> lt_epilogue(const KernelRequest& request) {
  const ir::PointwiseProgram& program = epilogue_of(request);
  LtEpilogue epilogue;
  int value = 0;
  for (size_t i = 0; i < program.code.size(); ++i) {
    const ir::PointwiseInstr& instr = program.code[i];
    if (epilogue.activation != LtProblem::Activation::kNone) return std::nullopt;
    if (instr.op == ir::PointwiseOp::kAdd && (instr.a == value) != (instr.b == value)) {
      if (!take_sum(request, instr.a == value ? instr.b : instr.a, program.num_inputs, epilogue)) return std::nullopt;
    } else if (instr.op == ir::PointwiseOp::kRelu && instr.a == value) {
      epilogue.activation = LtProblem::Activation::kRelu;
    } else if (instr.op == ir::PointwiseOp::kGeluTanh && instr.a == value) {
      epilogue.activation = LtProblem::Activation::kGelu;
    } else {
      return std::nullopt;
    }
    value = program.num_inputs + static_cast<int>(i);
  }
  return epilogue;
}

Support supports_product(const KernelRequest& request) {
  if (Support s = needs_small(request); !s.ok) return s;
  const ir::DType type = request.outputs[0].dtype;
  if (!is_half(type)) {
    return Support::no(std::string("has type ") + ir::dtype_name(type) + ", needs float16 or bfloat16");
  }
  for (size_t i = 0; i < 2; ++i) {
    if (request.inputs[i].dtype != type) return Support::no("operands are of different types");
  }
  if (!lt_epilogue(request)) return Support::no("the epilogue is more than bias, addend, and relu or gelu by tanh");
  return Support::yes();
}

// Below these the library's ways are slower than Blade's, which overlap their neighbours.
constexpr int64_t kLeastWork = int64_t{1} << 26;  // multiplications
Support needs_work(const LtProblem& p) {
  if (p.rows * p.columns * p.depth * p.batches >= kLeastWork) return Support::yes();
  return Support::no("has fewer than 2^26 multiplications");
}

// Whether it works shows when a product is made: a plan without one need not load it.
Support needs_library() {
  const Status status = LtProduct::library().status();
  return status.ok() ? Support::yes() : Support::no(status.message());
}

// Row-major [m, k] by [k, n] is column-major [n, k] by [k, m]: the right operand comes first.
std::optional<LtProblem> matmul_problem(const KernelRequest& request) {
  const auto& attrs = request.node->get<ir::MatMulAttrs>();
  const ir::Dims &left = request.inputs[0].dims, &right = request.inputs[1].dims, &out = request.outputs[0].dims;
  LtProblem p;
  p.rows = out[out.size() - 1];
  p.columns = out[out.size() - 2];
  p.depth = left[left.size() - (attrs.transpose_a ? 2 : 1)];
  p.transpose_a = attrs.transpose_b;
  p.transpose_b = attrs.transpose_a;
  p.batches = product(out, 0, out.size() - 2);
  const int64_t left_batches = product(left, 0, left.size() - 2), right_batches = product(right, 0, right.size() - 2);
  for (const int64_t batches : {left_batches, right_batches}) {
    if (batches != 1 && batches != p.batches) return std::nullopt;
  }
  if (right_batches == 1 && left_batches == p.batches && !attrs.transpose_a) {
    p.columns *= p.batches;
    p.batches = 1;
    return p;
  }
  p.a_stride = right_batches == 1 ? 0 : p.rows * p.depth;
  p.b_stride = left_batches == 1 ? 0 : p.depth * p.columns;
  return p;
}

LtProblem conv_product(const ConvProblem& conv) {
  LtProblem p;
  p.rows = conv.channels;
  p.columns = conv.rows();
  p.depth = conv.in_channels;
  p.transpose_a = conv.weights_by_channel;
  return p;
}

Support supports_matmul(const KernelRequest& request) {
  if (Support s = supports_product(request); !s.ok) return s;
  const auto problem = matmul_problem(request);
  if (!problem) return Support::no("one operand repeats over some of the batch dims");
  if (Support s = needs_work(*problem); !s.ok) return s;
  return needs_library();
}

Support supports_conv(const KernelRequest& request) {
  if (Support s = supports_product(request); !s.ok) return s;
  if (Support s = supports_conv_problem(request); !s.ok) return s;
  const ConvProblem problem = conv_problem(request);
  if (!is_plain_product(problem)) return Support::no("is no 1x1 convolution with strides of one");
  if (Support s = needs_work(conv_product(problem)); !s.ok) return s;
  return needs_library();
}

Result<std::unique_ptr<Kernel>> create_product(const KernelRequest& request, LtProblem problem, PackCache& packs) {
  BLADE_RETURN_IF_ERROR(select_card());  // the library takes the thread's
  const LtEpilogue epilogue = *lt_epilogue(request);
  std::shared_ptr<const DeviceBuffer> bias;
  if (epilogue.bias >= 0) {
    BLADE_ASSIGN_OR_RETURN(bias, half_vector_on_device(request, epilogue.bias, packs));
    problem.bias = bias->data();
  }
  problem.bfloat16 = request.outputs[0].dtype == ir::DType::kBFloat16;
  problem.has_addend = epilogue.addend >= 0;
  problem.activation = epilogue.activation;
  BLADE_ASSIGN_OR_RETURN(const std::shared_ptr<const LtProduct> lt, LtProduct::create(problem));
  KernelTraits traits;
  traits.scratch_bytes = library_scratch_bytes(lt->workspace_bytes());
  if (epilogue.bias >= 0) traits.unread_inputs = 1u << epilogue.bias;
  return make_kernel(
      [lt, bias, addend = epilogue.addend](const KernelArgs& args) {
        LtOperands operands;
        operands.a = args.inputs[1];
        operands.b = args.inputs[0];
        if (addend >= 0) operands.addend = args.inputs[static_cast<size_t>(addend)];
        operands.d = args.outputs[0];
        operands.workspace = library_scratch(args.scratch);
        operands.stream = args.queue;
        return lt->run(operands);
      },
      traits);
}

Result<std::unique_ptr<Kernel>> create_matmul(const KernelRequest& request, PackCache& packs) {
  return create_product(request, *matmul_problem(request), packs);
}
Result<std::unique_ptr<Kernel>> create_conv(const KernelRequest& request, PackCache& packs) {
  return create_product(request, conv_product(conv_problem(request)), packs);
}

constexpr KernelEntry kRows[] = {
    {"cuda.matmul.cublaslt", ir::Op::kMatMul, supports_matmul, nullptr, create_matmul, nullptr, nullptr, kTriedEarly},
    {"cuda.conv.cublaslt", ir::Op::kConv, supports_conv, nullptr, create_conv, nullptr, nullptr, kTriedEarly},
};

}  // namespace

std::span<const KernelEntry> cublaslt_rows() { return kRows; }

}  // namespace blade::backends::cuda
