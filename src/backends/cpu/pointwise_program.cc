// Register assignment by liveness, and the loop over blocks.
#include "backends/cpu/pointwise_program.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "backends/cpu/matrix/convert.h"
#include "base/half.h"

namespace blade::backends::cpu {
namespace {

constexpr int64_t kRegisterFloats = 4096;  // all registers together: half of the smallest L1
constexpr int kMaxRegisters = 64;
constexpr int64_t kMaxBlock = 512;

bool convertible(ir::DType dtype) {
  return dtype == ir::DType::kFloat32 || dtype == ir::DType::kFloat16 || dtype == ir::DType::kBFloat16 ||
         dtype == ir::DType::kBool;
}

void load(ir::DType dtype, const void* from, int64_t begin, int64_t count, float* to) {
  switch (dtype) {
    case ir::DType::kFloat32:
      std::memcpy(to, static_cast<const float*>(from) + begin, static_cast<size_t>(count) * sizeof(float));
      return;
    case ir::DType::kFloat16:
      for (int64_t i = 0; i < count; ++i) to[i] = float16_to_float(static_cast<const uint16_t*>(from)[begin + i]);
      return;
    case ir::DType::kBFloat16:
      widen(static_cast<const BFloat16*>(from) + begin, to, count);
      return;
    default:
      for (int64_t i = 0; i < count; ++i) to[i] = static_cast<const uint8_t*>(from)[begin + i] != 0 ? 1.0f : 0.0f;
  }
}

void store(ir::DType dtype, const float* from, void* to, int64_t begin, int64_t count) {
  switch (dtype) {
    case ir::DType::kFloat32:
      std::memcpy(static_cast<float*>(to) + begin, from, static_cast<size_t>(count) * sizeof(float));
      return;
    case ir::DType::kFloat16:
      for (int64_t i = 0; i < count; ++i) static_cast<uint16_t*>(to)[begin + i] = float_to_float16(from[i]);
      return;
    case ir::DType::kBFloat16:
      narrow(from, static_cast<BFloat16*>(to) + begin, count);
      return;
    default:
      for (int64_t i = 0; i < count; ++i) static_cast<uint8_t*>(to)[begin + i] = from[i] != 0 ? 1 : 0;
  }
}

// Registers that the program needs at once: inputs keep theirs, results share. Returns the register of each value.
std::vector<int> registers_of(const ir::PointwiseProgram& program, int& count) {
  const int values = program.num_inputs + static_cast<int>(program.code.size());
  std::vector<int> last_use(static_cast<size_t>(values), -1);
  for (size_t i = 0; i < program.code.size(); ++i) {
    for (int operand : {program.code[i].a, program.code[i].b, program.code[i].c}) {
      if (operand >= 0) last_use[operand] = static_cast<int>(i);
    }
  }
  std::vector<int> registers(static_cast<size_t>(values));
  std::vector<int> free;
  count = program.num_inputs;
  for (int i = 0; i < program.num_inputs; ++i) registers[i] = i;
  for (size_t i = 0; i < program.code.size(); ++i) {
    if (free.empty()) free.push_back(count++);
    registers[program.num_inputs + i] = free.back();
    free.pop_back();
    // Operands whose last reader this is give their registers to the steps after it.
    for (int value = program.num_inputs; value < program.num_inputs + static_cast<int>(i); ++value) {
      if (last_use[value] == static_cast<int>(i)) free.push_back(registers[value]);
    }
  }
  return registers;
}

}  // namespace

Support ProgramF32::supports(const ir::PointwiseProgram& program, std::span<const ir::DType> inputs, ir::DType output) {
  if (program.empty()) return Support::no("the program is empty");
  for (ir::DType dtype : inputs) {
    if (!convertible(dtype))
      return Support::no(std::string("has an operand of type ") + ir::dtype_name(dtype) + ", needs float32");
  }
  if (!convertible(output))
    return Support::no(std::string("has a result of type ") + ir::dtype_name(output) + ", needs float32");
  for (const ir::PointwiseInstr& instr : program.code) {
    if (block_function(instr.op) == nullptr) {
      return Support::no(std::string("instruction ") + ir::pointwise_name(instr.op) + " works on integers only");
    }
  }
  int registers = 0;
  registers_of(program, registers);
  if (registers > kMaxRegisters) {
    return Support::no("needs " + std::to_string(registers) + " live values, has room for " +
                       std::to_string(kMaxRegisters));
  }
  return Support::yes();
}

ProgramF32::ProgramF32(const ir::PointwiseProgram& program, std::span<const ir::DType> inputs, ir::DType output)
    : input_dtypes_(inputs.begin(), inputs.end()), output_dtype_(output) {
  registers_ = registers_of(program, num_registers_);
  int value = program.num_inputs;
  for (const ir::PointwiseInstr& instr : program.code) {
    steps_.push_back({block_function(instr.op), instr.a, instr.b, instr.c, value++, instr.alpha, instr.beta});
    cost_ += 0.5 * block_cost(instr.op);
  }
  block_ = std::min(kMaxBlock, kRegisterFloats / num_registers_ / kBlockMultiple * kBlockMultiple);
}

void ProgramF32::run(const Source* sources, void* out, int64_t count) const {
  alignas(64) float buffer[kRegisterFloats];
  std::array<const float*, 2 * kMaxRegisters> values;  // of inputs only; results are in their registers
  const int inputs = num_inputs();
  auto register_of = [&](int value) { return buffer + registers_[value] * block_; };
  for (int i = 0; i < inputs; ++i) {
    values[i] = register_of(i);
    if (!sources[i].repeats) continue;
    float element = 0;
    load(input_dtypes_[i], sources[i].data, 0, 1, &element);
    std::fill_n(register_of(i), std::min(block_, (count + kBlockMultiple - 1) / kBlockMultiple * kBlockMultiple),
                element);
  }
  for (int64_t begin = 0; begin < count; begin += block_) {
    const int64_t length = std::min(block_, count - begin);
    const int64_t padded = (length + kBlockMultiple - 1) / kBlockMultiple * kBlockMultiple;
    for (int i = 0; i < inputs; ++i) {
      if (sources[i].repeats) continue;
      if (input_dtypes_[i] == ir::DType::kFloat32 && padded == length) {
        values[i] = static_cast<const float*>(sources[i].data) + begin;
        continue;
      }
      float* to = register_of(i);
      load(input_dtypes_[i], sources[i].data, begin, length, to);
      std::fill(to + length, to + padded, 0.0f);
      values[i] = to;
    }
    const bool direct = output_dtype_ == ir::DType::kFloat32 && padded == length;
    float* to = direct ? static_cast<float*>(out) + begin : register_of(steps_.back().out);
    run_steps(values.data(), buffer, to, padded);
    if (!direct) store(output_dtype_, register_of(steps_.back().out), out, begin, length);
  }
}

// The whole program over one block; `values`: where each input is, `to`: where the result goes.
void ProgramF32::run_steps(const float* const* values, float* buffer, float* to, int64_t count) const {
  auto register_of = [&](int value) { return buffer + registers_[value] * block_; };
  auto value_of = [&](int value) -> const float* {
    return value < 0 ? nullptr : value < num_inputs() ? values[value] : register_of(value);
  };
  for (const Step& step : steps_) {
    float* result = &step == &steps_.back() ? to : register_of(step.out);
    step.function({value_of(step.a), value_of(step.b), value_of(step.c), result, count, step.alpha, step.beta});
  }
}

void ProgramF32::run_rows(const RowSource* sources, float* out, int64_t out_stride, int64_t rows,
                          int64_t columns) const {
  const int inputs = num_inputs();
  const auto row_of = [&](int i, int64_t r) {
    const auto offset = static_cast<size_t>(r * sources[i].row_stride) * ir::dtype_size(input_dtypes_[i]);
    return static_cast<const std::byte*>(sources[i].data) + offset;
  };
  // One instruction over rows of whole vectors (an activation on a tile) is done where they lie.
  if (steps_.size() == 1 && inputs == 1 && !sources[0].repeats && input_dtypes_[0] == ir::DType::kFloat32 &&
      columns % kBlockMultiple == 0) {
    for (int64_t r = 0; r < rows; ++r) {
      const auto* row = reinterpret_cast<const float*>(row_of(0, r));
      run_steps(&row, nullptr, out + r * out_stride, columns);
    }
    return;
  }
  const int64_t rows_at_once = std::min(rows, block_ / std::max<int64_t>(1, columns));
  const bool dense = std::all_of(sources, sources + inputs,
                                 [&](const RowSource& s) { return s.repeats || s.row_stride == columns || rows == 1; });
  if (rows_at_once < 2 || (dense && (out_stride == columns || rows == 1))) {
    const int64_t step = dense && out_stride == columns ? rows : 1;
    for (int64_t r = 0; r < rows; r += step) {
      std::array<Source, kMaxRegisters> flat;
      for (int i = 0; i < inputs; ++i) flat[i] = {row_of(i, r), sources[i].repeats};
      run(flat.data(), out + r * out_stride, step * columns);
    }
    return;
  }
  alignas(64) float buffer[kRegisterFloats];
  std::array<const float*, kMaxRegisters> values;
  const auto bytes = static_cast<size_t>(columns) * sizeof(float);
  const auto padded = [](int64_t count) { return (count + kBlockMultiple - 1) / kBlockMultiple * kBlockMultiple; };
  for (int i = 0; i < inputs; ++i) {
    float* to = buffer + registers_[i] * block_;
    values[i] = to;
    if (!sources[i].repeats) continue;
    float element = 0;
    load(input_dtypes_[i], sources[i].data, 0, 1, &element);
    std::fill_n(to, padded(rows_at_once * columns), element);
  }
  float* result = buffer + registers_[steps_.back().out] * block_;
  for (int64_t r = 0; r < rows; r += rows_at_once) {
    const int64_t count = std::min(rows_at_once, rows - r);
    for (int i = 0; i < inputs; ++i) {
      if (sources[i].repeats || (sources[i].row_stride == 0 && r != 0)) continue;
      float* to = buffer + registers_[i] * block_;
      for (int64_t k = 0; k < count; ++k) load(input_dtypes_[i], row_of(i, r + k), 0, columns, to + k * columns);
      std::fill(to + count * columns, to + padded(count * columns), 0.0f);
    }
    run_steps(values.data(), buffer, result, padded(count * columns));
    for (int64_t k = 0; k < count; ++k) std::memcpy(out + (r + k) * out_stride, result + k * columns, bytes);
  }
}

}  // namespace blade::backends::cpu
