// Rows of the CPU table in bfloat16, and on narrower instruction sets than the machine's own, against the reference
// kernels: beside cpu_vs_reference_test, so that the two run at the same time.
#include "backends/check_table.h"
#include "hwy/targets.h"

namespace blade::backends {
namespace {

TEST(CpuVsReference, BFloat16) {
  std::printf("%s.\n", describe_amx(amx_mode()));
  request_machine() = &machine_with_amx();
  check_all(bfloat16_cases());
  request_machine() = &Machine::host();
}

std::vector<Case> grouped_convolutions() {
  std::vector<Case> cases = matrix_cases();
  std::erase_if(cases,
                [](const Case& c) { return c.op != ir::Op::kConv || std::get<ir::ConvAttrs>(c.attrs).groups == 1; });
  return cases;
}

// The vector code of the instruction sets below the machine's own.
TEST(CpuVsReference, LesserInstructionSets) {
  for (int64_t targets : {int64_t{HWY_AVX2 | HWY_SCALAR | HWY_EMU128}, int64_t{HWY_SCALAR | HWY_EMU128}}) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check_all(pointwise_cases(), 1);
    check_all(row_cases(), 1);
    check_all(in_bfloat16(row_cases(), {ir::Op::kPool, ir::Op::kReduce}), 1);
    check_all(attention_cases(), 1);
    check_all(grouped_convolutions(), 1);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace
}  // namespace blade::backends
