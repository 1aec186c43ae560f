// Runs cases on every row of the CPU table that takes them, and compares with the reference kernels.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "backends/cpu_cases.h"
#include "support/amx_emulator.h"

namespace blade::backends {

// Winograd in bfloat16 rounds transformed pixels and weights, too, which all tiles but those of 2x2 outputs of 3x3 taps
// amplify, and an epilogue that scales does so again: single errors may be as large as results, their mean may not
// (largest of all cases 0.009 and, of the rows that are not fine, 0.037, where a clip leaves small results).
inline Case as_exact_as(const KernelEntry& row, Case c) {
  const std::string name = row.name;
  if (name.find("winograd") == std::string::npos || name.find("bf16") == std::string::npos) return c;
  const bool fine = name == "cpu.conv.winograd23_bf16";
  c.tolerance *= fine ? 8 : 48;
  c.mean_tolerance = fine ? 0.015 : 0.05;
  return c;
}

// On 1 to `max_threads` threads, and in place where a row allows it.
inline void check_all(const std::vector<Case>& cases, int max_threads = 3) {
  for (const Case& c : cases) {
    const auto want = run_reference(c);
    ASSERT_TRUE(want.ok()) << c.name << ": " << want.status().message();
    for (const KernelEntry& row : cpu_kernels()) {
      if (row.op != c.op) continue;
      for (int threads = 1; threads <= max_threads; ++threads) {
        check_row(row, as_exact_as(row, c), *want, threads);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

inline ir::TensorPtr rounded(const ir::TensorPtr& from) {
  auto made = ir::allocate_tensor(ir::DType::kBFloat16, from->dims);
  EXPECT_TRUE(made.ok());
  auto* to = reinterpret_cast<BFloat16*>(made->data);
  for (int64_t i = 0; i < from->element_count(); ++i) to[i] = BFloat16(static_cast<float>(element(*from, i)));
  return made->tensor;
}

// The cases of some ops with their data in bfloat16; what constants an epilogue has stay float32.
inline std::vector<Case> in_bfloat16(std::vector<Case> cases, const std::set<ir::Op>& ops) {
  std::erase_if(cases, [&](const Case& c) { return !ops.contains(c.op) || c.inputs[0]->dtype != ir::DType::kFloat32; });
  for (Case& c : cases) {
    const bool matrix = c.op == ir::Op::kConv || c.op == ir::Op::kConvTranspose || c.op == ir::Op::kMatMul;
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      if (c.op == ir::Op::kAttention && i >= 3) break;  // masks stay float32
      const bool data =
          i == 0 || (matrix && i == 1) || ((c.variable_inputs >> i) & 1) != 0 || c.op == ir::Op::kPointwise;
      if (data && c.inputs[i]->dtype == ir::DType::kFloat32) c.inputs[i] = rounded(c.inputs[i]);
    }
    c.name += "_bf16";
    c.tolerance = 0x1p-5;  // the reference rounds after every step of an epilogue
  }
  return cases;
}

// This machine, with AMX where that can be emulated.
inline const Machine& machine_with_amx() {
  static const Machine machine = [] {
    Machine m = Machine::host();
    m.amx_tile = m.amx_bf16 = amx_mode() != AmxMode::kMissing;
    return m;
  }();
  return machine;
}

inline std::vector<Case> bfloat16_cases() {
  std::vector<Case> cases;
  const auto add = [&](const std::vector<Case>& some) { cases.insert(cases.end(), some.begin(), some.end()); };
  add(in_bfloat16(matrix_cases(), {ir::Op::kConv, ir::Op::kConvTranspose, ir::Op::kMatMul}));
  add(in_bfloat16(attention_cases(), {ir::Op::kAttention}));
  add(in_bfloat16(row_cases(), {ir::Op::kPool, ir::Op::kResize, ir::Op::kReduce}));
  return cases;
}

}  // namespace blade::backends
