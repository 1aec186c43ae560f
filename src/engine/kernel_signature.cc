// The text that names a piece of work (op, attributes, operand types and dims): the key of stored kernel choices.
#include <charconv>
#include <type_traits>

#include "engine/plan.h"
#include "ir/text.h"

namespace blade::engine {
namespace {

std::string short_dtype(ir::DType dtype) {
  switch (dtype) {
    case ir::DType::kFloat32:
      return "f32";
    case ir::DType::kFloat64:
      return "f64";
    case ir::DType::kFloat16:
      return "f16";
    case ir::DType::kBFloat16:
      return "bf16";
    default:
      return ir::dtype_name(dtype);
  }
}

// The shortest text that reads back as the same number.
std::string number_text(double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  return std::string(text, end);
}

std::string program_text(const ir::PointwiseProgram& program) {
  std::string text;
  for (const ir::PointwiseInstr& instr : program.code) {
    if (!text.empty()) text += ';';
    text += ir::pointwise_name(instr.op);
    for (int operand : {instr.a, instr.b, instr.c}) {
      if (operand >= 0) text += ',' + std::to_string(operand);
    }
    if (instr.alpha != 0 || instr.beta != 0) text += ',' + number_text(instr.alpha) + ',' + number_text(instr.beta);
  }
  return text;
}

// Prints every attribute that is not empty.
struct Printer {
  std::string text;

  template <class T>
  void operator()(const char* name, T& value) {
    const std::string printed = print(value);
    if (!printed.empty()) text += ' ' + std::string(name) + '=' + printed;
  }
  static std::string print(const ir::PointwiseProgram& program) { return program_text(program); }
  static std::string print(const std::string& value) { return value; }
  static std::string print(const std::vector<ir::SubGraph>&) { return ""; }  // no kernel runs what holds graphs
  static std::string print(const std::vector<int64_t>& values) {
    std::string out;
    for (int64_t v : values) out += ir::concat(out.empty() ? "" : "x", v);
    return out;
  }
  template <class T>
  requires std::is_arithmetic_v<T>
  static std::string print(T value) {
    if constexpr (std::is_floating_point_v<T>) return number_text(value);
    return std::to_string(static_cast<int64_t>(value));
  }
  template <class T>
  requires std::is_enum_v<T>
  static std::string print(T value) { return std::to_string(static_cast<int64_t>(value)); }
};

std::string desc_text(const backends::TensorDesc& desc) {
  std::string text = short_dtype(desc.dtype) + '[';
  for (size_t i = 0; i < desc.dims.size(); ++i) text += ir::concat(i ? "," : "", desc.dims[i]);
  return text + ']';
}

}  // namespace

std::string kernel_signature(const backends::KernelRequest& request) {
  std::string text;
  if (request.producer != nullptr) {
    const size_t i = request.producer_input;
    text = kernel_signature(*request.producer) + " =>" + (i > 0 ? std::to_string(i) : "") + ' ';
  }
  text += ir::op_name(request.node->op);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    text += ' ' + desc_text(request.inputs[i]);
    if (i < request.constants.size() && request.constants[i] != nullptr) text += 'c';
  }
  text += " ->";
  for (const backends::TensorDesc& output : request.outputs) text += ' ' + desc_text(output);
  Printer printer;
  ir::Attrs attrs = request.node->attrs;
  std::visit([&](auto& a) { a.visit(printer); }, attrs);
  return text + printer.text;
}

}  // namespace blade::engine
