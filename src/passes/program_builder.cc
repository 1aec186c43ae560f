// Numbers operands only when the program is complete: until then inputs and results are told apart by kind.
#include "passes/program_builder.h"

namespace blade::passes {

using ir::PointwiseInstr;
using ir::ValueId;

namespace {
constexpr size_t kMaxOperands = 30000;  // operand numbers are 16 bits wide
}

void ProgramBuilder::add_input(ValueId value) {
  if (refs_.try_emplace(value, Ref{true, static_cast<int>(inputs_.size())}).second) inputs_.push_back(value);
}

ProgramBuilder::Ref ProgramBuilder::ref(ValueId value) {
  add_input(value);
  return refs_.at(value);
}

void ProgramBuilder::append(const ir::Node& node) {
  append(node.get<ir::PointwiseAttrs>().program, node.inputs, node.outputs[0]);
}

void ProgramBuilder::append(const ir::PointwiseProgram& program, std::span<const ValueId> inputs, ValueId result) {
  const int first = static_cast<int>(code_.size());
  const auto resolve = [&](int16_t operand) {
    if (operand < 0) return Ref{};
    if (operand >= program.num_inputs) return Ref{false, first + operand - program.num_inputs};
    return ref(inputs[operand]);
  };
  for (const PointwiseInstr& instr : program.code) {
    code_.push_back({instr, resolve(instr.a), resolve(instr.b), resolve(instr.c)});
  }
  refs_[result] = Ref{false, static_cast<int>(code_.size()) - 1};
}

std::optional<ir::PointwiseProgram> ProgramBuilder::build() const {
  if (inputs_.size() + code_.size() > kMaxOperands) return std::nullopt;
  ir::PointwiseProgram program;
  program.num_inputs = static_cast<int16_t>(inputs_.size());
  const auto number = [&](int16_t operand, const Ref& ref) {
    if (operand < 0) return operand;
    return static_cast<int16_t>(ref.is_input ? ref.index : program.num_inputs + ref.index);
  };
  for (const Instr& entry : code_) {
    PointwiseInstr instr = entry.instr;
    instr.a = number(instr.a, entry.a);
    instr.b = number(instr.b, entry.b);
    instr.c = number(instr.c, entry.c);
    program.code.push_back(instr);
  }
  return program;
}

}  // namespace blade::passes
