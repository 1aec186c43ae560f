// Lowers fused programs to what matrix kernels do to their sums.
#include <algorithm>
#include <limits>

#include "backends/cuda/kernel_support.h"
#include "base/half.h"

namespace blade::backends::cuda {
namespace {

using Activation = EpilogueParams::Activation;
using Kind = EpilogueParams::Kind;

std::optional<Kind> kind_of(const TensorDesc& operand, const TensorDesc& output) {
  const int64_t count = operand.element_count();
  if (count == output.element_count() && operand.dims.size() == output.dims.size()) return Kind::kFull;
  if (count == 1) return Kind::kScalar;
  if (!operand.dims.empty() && operand.dims.back() == count && count == output.dims.back()) return Kind::kChannels;
  return std::nullopt;
}

// The vector as float, zeros up to `padded`; a scalar for every channel.
Result<AlignedBuffer> padded_bias(const ir::Tensor& tensor, int64_t channels, int64_t padded) {
  AlignedBuffer buffer = AlignedBuffer::allocate(static_cast<size_t>(padded) * sizeof(float));
  if (buffer.data() == nullptr) return resource_exhausted("There is no memory for a bias.");
  auto* to = buffer.as<float>();
  const bool scalar = tensor.element_count() == 1;
  for (int64_t i = 0; i < padded; ++i) to[i] = i < channels ? float_at(tensor, scalar ? 0 : i) : 0.0f;
  return buffer;
}

// How far the start of the program is bias, residual, activation and clamp.
struct Lowered {
  int bias = -1, residual = -1, slopes = -1;  // program inputs
  Activation activation = Activation::kNone;
  float slope = 0;
  float lo = -std::numeric_limits<float>::infinity(), hi = std::numeric_limits<float>::infinity();
  bool has_clamp = false;
  size_t done = 0;  // instructions
};

bool clamps(const ir::PointwiseInstr& instr, float& lo, float& hi) {
  switch (instr.op) {
    case ir::PointwiseOp::kRelu:
      lo = 0, hi = std::numeric_limits<float>::infinity();
      return true;
    case ir::PointwiseOp::kRelu6:
      lo = 0, hi = 6;
      return true;
    case ir::PointwiseOp::kClip:
      lo = instr.alpha, hi = instr.beta;
      return lo <= hi;
    default:
      return false;
  }
}

// The instruction as an activation of the value so far; slopes of PReLU have to be constant.
bool take_activation(const KernelRequest& request, const ir::PointwiseInstr& instr, int num_inputs,
                     size_t first_operand, Lowered& lowered) {
  switch (instr.op) {
    case ir::PointwiseOp::kLeakyRelu:
      lowered.activation = Activation::kLeakyRelu;
      lowered.slope = instr.alpha;
      return true;
    case ir::PointwiseOp::kSigmoid:
      lowered.activation = Activation::kSigmoid;
      return true;
    case ir::PointwiseOp::kSwish:
      lowered.activation = Activation::kSwish;
      return true;
    case ir::PointwiseOp::kHardSwish:
      lowered.activation = Activation::kHardSwish;
      lowered.slope = instr.alpha;
      return true;
    case ir::PointwiseOp::kGeluErf:
      lowered.activation = Activation::kGeluErf;
      return true;
    case ir::PointwiseOp::kGeluTanh:
      lowered.activation = Activation::kGeluTanh;
      return true;
    case ir::PointwiseOp::kPRelu: {
      if (instr.b <= 0 || instr.b >= num_inputs) return false;
      const size_t input = first_operand + static_cast<size_t>(instr.b) - 1;
      const auto kind = kind_of(request.inputs[input], request.outputs[0]);
      if (!kind || *kind == Kind::kFull || !is_constant(request, input)) return false;
      lowered.activation = Activation::kPRelu;
      lowered.slopes = instr.b;
      return true;
    }
    default:
      return false;
  }
}

bool take(const KernelRequest& request, const ir::PointwiseInstr& instr, int value, int num_inputs,
          size_t first_operand, Lowered& lowered) {
  float lo = 0, hi = 0;
  if (instr.a == value && clamps(instr, lo, hi)) {
    lowered.lo = std::clamp(lowered.lo, lo, hi);
    lowered.hi = std::clamp(lowered.hi, lo, hi);
    lowered.has_clamp = true;
    return true;
  }
  if (lowered.has_clamp || lowered.activation != Activation::kNone) return false;
  if (instr.a == value && take_activation(request, instr, num_inputs, first_operand, lowered)) return true;
  if (instr.op != ir::PointwiseOp::kAdd || instr.a == instr.b) return false;
  if (instr.a != value && instr.b != value) return false;
  const int other = instr.a == value ? instr.b : instr.a;
  if (other == 0 || other >= num_inputs) return false;
  const size_t input = first_operand + static_cast<size_t>(other) - 1;
  const auto kind = kind_of(request.inputs[input], request.outputs[0]);
  if (!kind) return false;
  if (*kind != Kind::kFull && lowered.bias < 0 && is_constant(request, input)) {
    lowered.bias = other;
    return true;
  }
  if (*kind == Kind::kFull && lowered.residual < 0 && request.inputs[input].dtype == request.outputs[0].dtype) {
    lowered.residual = other;
    return true;
  }
  return false;
}

// A value that a later instruction of the rest still names must not have been folded away.
bool rest_is_closed(const ir::PointwiseProgram& program, size_t done) {
  const int last = done == 0 ? 0 : program.num_inputs + static_cast<int>(done) - 1;
  for (size_t i = done; i < program.code.size(); ++i) {
    for (int operand : {program.code[i].a, program.code[i].b, program.code[i].c}) {
      if (operand < 0 || operand == last) continue;
      const bool folded =
          operand == 0 || (operand >= program.num_inputs && operand < program.num_inputs + static_cast<int>(done));
      if (folded) return false;
    }
  }
  return true;
}

Lowered lower(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand) {
  Lowered lowered;
  int value = 0;
  for (size_t i = 0; i < program.code.size(); ++i) {
    Lowered next = lowered;
    if (!take(request, program.code[i], value, program.num_inputs, first_operand, next)) break;
    next.done = i + 1;
    value = program.num_inputs + static_cast<int>(i);
    lowered = next;
  }
  return rest_is_closed(program, lowered.done) ? lowered : Lowered();
}

bool computes_in_float(ir::PointwiseOp op) {
  switch (op) {
#define BLADE_FLOAT_OP(name, ...) case ir::PointwiseOp::name:
#define BLADE_LONG_FLOAT_OP(name, ...) case ir::PointwiseOp::name:
#include "backends/cuda/kernels/float_ops.inc"
    return true;
    default:
      return false;
  }
}

}  // namespace

Result<std::shared_ptr<const DeviceBuffer>> vector_on_device(const KernelRequest& request, int input, int64_t padded,
                                                             PackCache& packs) {
  const ir::TensorPtr& tensor = request.constants[static_cast<size_t>(input)];
  const int64_t channels = request.outputs[0].dims.back();
  return packs.get_on(*request.device, tensor, "bias:" + std::to_string(channels) + ":" + std::to_string(padded),
                      [&]() { return padded_bias(*tensor, channels, padded); });
}

Result<std::shared_ptr<const DeviceBuffer>> half_vector_on_device(const KernelRequest& request, int input,
                                                                  PackCache& packs) {
  const ir::TensorPtr& tensor = request.constants[static_cast<size_t>(input)];
  const int64_t channels = request.outputs[0].dims.back();
  const bool half = request.outputs[0].dtype == ir::DType::kFloat16;
  const auto pack = [&]() -> Result<AlignedBuffer> {
    AlignedBuffer buffer = AlignedBuffer::allocate(static_cast<size_t>(channels) * sizeof(uint16_t));
    if (buffer.data() == nullptr) return resource_exhausted("There is no memory for a bias.");
    for (int64_t i = 0; i < channels; ++i) {
      const float value = float_at(*tensor, tensor->element_count() == 1 ? 0 : i);
      buffer.as<uint16_t>()[i] = half ? float_to_float16(value) : float_to_bfloat16(value);
    }
    return buffer;
  };
  return packs.get_on(*request.device, tensor, (half ? "bias_float16:" : "bias_bfloat16:") + std::to_string(channels),
                      pack);
}

Support fits_device(const ir::PointwiseProgram& program) {
  if (program.num_inputs > kMaxProgramInputs) {
    return Support::no("the program has " + std::to_string(program.num_inputs) + " inputs, takes " +
                       std::to_string(kMaxProgramInputs));
  }
  if (program.code.size() > static_cast<size_t>(kMaxProgramCode)) {
    return Support::no("the program has " + std::to_string(program.code.size()) + " instructions, takes " +
                       std::to_string(kMaxProgramCode));
  }
  return Support::yes();
}

Support supports_program(const ir::PointwiseProgram& program) {
  if (Support s = fits_device(program); !s.ok) return s;
  for (const ir::PointwiseInstr& instr : program.code) {
    if (!computes_in_float(instr.op)) {
      return Support::no(std::string(ir::pointwise_name(instr.op)) + " is not computed in float on a GPU");
    }
  }
  return Support::yes();
}

Program to_device(const ir::PointwiseProgram& program) {
  Program out;
  out.num_inputs = program.num_inputs;
  for (const ir::PointwiseInstr& instr : program.code) {
    out.code[out.num_code++] = {static_cast<uint8_t>(instr.op),
                                static_cast<int8_t>(instr.a),
                                static_cast<int8_t>(instr.b),
                                static_cast<int8_t>(instr.c),
                                instr.alpha,
                                instr.beta};
  }
  return out;
}

Support Epilogue::supports(const KernelRequest& request, const ir::PointwiseProgram& program, size_t first_operand) {
  if (program.empty()) return Support::yes();
  if (Support s = supports_program(program); !s.ok) return s;
  for (size_t i = first_operand; i < request.inputs.size(); ++i) {
    if (Support s = needs_element_type(request.inputs[i], "an operand of the epilogue"); !s.ok) return s;
    if (!kind_of(request.inputs[i], request.outputs[0])) {
      return Support::no(
          "an operand of the epilogue is neither a scalar, one value a channel, nor shaped like the "
          "result");
    }
  }
  return Support::yes();
}

Support Epilogue::supports_plain(const KernelRequest& request, const ir::PointwiseProgram& program,
                                 size_t first_operand) {
  if (Support s = supports(request, program, first_operand); !s.ok) return s;
  const Lowered lowered = lower(request, program, first_operand);
  if (lowered.done == program.code.size() && lowered.activation == Activation::kNone) return Support::yes();
  return Support::no("the epilogue is more than bias, residual and clamp");
}

Support Epilogue::supports_short(const KernelRequest& request, const ir::PointwiseProgram& program,
                                 size_t first_operand) {
  if (program.empty()) return Support::yes();
  if (Support s = supports(request, program, first_operand); !s.ok) return s;
  const Lowered lowered = lower(request, program, first_operand);
  if (lowered.done == program.code.size() && lowered.slopes < 0) return Support::yes();
  return Support::no("the epilogue is more than bias, residual, a curve without operands and clamp");
}

Support Epilogue::supports_by_channel(const KernelRequest& request, const ir::PointwiseProgram& program,
                                      size_t first_operand) {
  if (program.empty()) return Support::yes();
  const Support s = supports_short(request, program, first_operand);
  if (s.ok && lower(request, program, first_operand).residual < 0) return s;
  return Support::no("the epilogue is more than bias, a curve without operands and clamp");
}

namespace {

// Program input of the value that the request's producer makes.
int producer_operand(const KernelRequest& request) { return static_cast<int>(request.producer_input) - 1; }

Lowered lower(const KernelRequest& request) { return lower(request, request.node->get<ir::ConvAttrs>().epilogue, 2); }

// The constant that was folded away as a bias, or nullptr.
ir::TensorPtr bias_of(const KernelRequest& request, const Lowered& lowered) {
  return lowered.bias < 0 ? nullptr : request.constants[static_cast<size_t>(lowered.bias) + 1];
}

}  // namespace

Support Epilogue::supports_sum(const KernelRequest& request) {
  const KernelRequest& addend = *request.producer;
  if (Support s = supports_plain(request, request.node->get<ir::ConvAttrs>().epilogue, 2); !s.ok) return s;
  if (Support s = supports_plain(addend, addend.node->get<ir::ConvAttrs>().epilogue, 2); !s.ok) return s;
  const Lowered before = lower(addend);
  if (before.has_clamp || before.residual >= 0) return Support::no("the addend has more than a bias");
  if (lower(request).residual == producer_operand(request)) return Support::yes();
  return Support::no("the addend is not added to the convolution itself");
}

Result<Epilogue> Epilogue::create_sum(const KernelRequest& request, int64_t padded_channels) {
  const Lowered lowered = lower(request);
  Epilogue e;
  e.params_.has_clamp = lowered.has_clamp;
  e.params_.lo = lowered.lo;
  e.params_.hi = lowered.hi;
  const int64_t channels = request.outputs[0].dims.back();
  std::vector<float> sum(static_cast<size_t>(padded_channels), 0.0f);
  for (const ir::TensorPtr& bias : {bias_of(request, lowered), bias_of(*request.producer, lower(*request.producer))}) {
    if (bias == nullptr) continue;
    const bool scalar = bias->element_count() == 1;
    for (int64_t i = 0; i < channels; ++i) sum[static_cast<size_t>(i)] += float_at(*bias, scalar ? 0 : i);
  }
  BLADE_ASSIGN_OR_RETURN(DeviceBuffer uploaded,
                         request.device->upload(reinterpret_cast<const std::byte*>(sum.data()), sum.size() * 4));
  e.bias_ = std::make_shared<const DeviceBuffer>(std::move(uploaded));
  e.params_.bias = reinterpret_cast<const float*>(e.bias_->data());
  return e;
}

Result<Epilogue> Epilogue::create(const KernelRequest& request, const ir::PointwiseProgram& program,
                                  size_t first_operand, int64_t padded_channels, PackCache& packs) {
  Epilogue e;
  if (program.empty()) return e;
  const Lowered lowered = lower(request, program, first_operand);
  if (lowered.bias >= 0) {
    e.bias_input_ = static_cast<int>(first_operand) + lowered.bias - 1;
    BLADE_ASSIGN_OR_RETURN(e.bias_, vector_on_device(request, e.bias_input_, padded_channels, packs));
    e.params_.bias = reinterpret_cast<const float*>(e.bias_->data());
  }
  if (lowered.slopes >= 0) {
    const int input = static_cast<int>(first_operand) + lowered.slopes - 1;
    BLADE_ASSIGN_OR_RETURN(e.slopes_, vector_on_device(request, input, padded_channels, packs));
    e.params_.slopes = reinterpret_cast<const float*>(e.slopes_->data());
  }
  e.params_.activation = lowered.activation;
  e.params_.slope = lowered.slope;
  if (lowered.residual >= 0) e.residual_ = static_cast<int>(first_operand) + lowered.residual - 1;
  e.params_.has_clamp = lowered.has_clamp;
  e.params_.lo = lowered.lo;
  e.params_.hi = lowered.hi;
  if (lowered.done == program.code.size()) return e;
  // The rest reads the value so far as its input 0.
  e.params_.has_program = true;
  ir::PointwiseProgram rest = program;
  rest.code.erase(rest.code.begin(), rest.code.begin() + static_cast<ptrdiff_t>(lowered.done));
  const int folded = program.num_inputs + static_cast<int>(lowered.done);
  for (ir::PointwiseInstr& instr : rest.code) {
    for (int16_t* operand : {&instr.a, &instr.b, &instr.c}) {
      if (lowered.done > 0 && *operand == folded - 1) {
        *operand = 0;
      } else if (*operand >= folded) {
        *operand = static_cast<int16_t>(*operand - static_cast<int>(lowered.done));
      }
    }
  }
  e.params_.program = to_device(rest);
  for (int i = 1; i < program.num_inputs; ++i) {
    const size_t input = first_operand + static_cast<size_t>(i) - 1;
    const TensorDesc& desc = request.inputs[input];
    e.operand_inputs_.push_back(static_cast<int>(input));
    e.params_.operands[i - 1] = {nullptr, *kind_of(desc, request.outputs[0]), *element_type(desc.dtype)};
  }
  // The program names the bias among its inputs, but only where it uses it again would it be read.
  e.bias_input_ = -1;
  return e;
}

EpilogueParams Epilogue::bind(const KernelArgs& args) const {
  EpilogueParams params = params_;
  if (residual_ >= 0) params.residual = args.inputs[static_cast<size_t>(residual_)];
  for (size_t i = 0; i < operand_inputs_.size(); ++i) {
    params.operands[i].data = args.inputs[static_cast<size_t>(operand_inputs_[i])];
  }
  return params;
}

}  // namespace blade::backends::cuda
