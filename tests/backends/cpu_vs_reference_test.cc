// Every row of the CPU table against the reference kernel, on 1 to 3 threads, and in place where a row allows it.
#include <gtest/gtest-spi.h>

#include <set>

#include "backends/cpu/matrix/simd_targets.h"
#include "backends/cpu/onednn/loader.h"
#include "backends/cpu_cases.h"
#include "hwy/targets.h"
#include "support/amx_emulator.h"

namespace blade::backends {
namespace {

std::set<std::string>& exercised() {
  static std::set<std::string> names;
  return names;
}

// Winograd in bfloat16 rounds transformed pixels and weights, too, which all tiles but those of 2x2 outputs of 3x3 taps
// amplify, and an epilogue that scales does so again: single errors may be as large as results, their mean may not
// (largest of all cases 0.009 and, of the rows that are not fine, 0.037, where a clip leaves small results).
Case as_exact_as(const KernelEntry& row, Case c) {
  const std::string name = row.name;
  if (name.find("winograd") == std::string::npos || name.find("bf16") == std::string::npos) return c;
  const bool fine = name == "cpu.conv.winograd23_bf16";
  c.tolerance *= fine ? 8 : 48;
  c.mean_tolerance = fine ? 0.015 : 0.05;
  return c;
}

TEST(CpuVsReference, WinogradBf16MustBeCloseOnAverage) {
  const ir::TensorPtr want = random_floats({64});
  const std::vector<std::byte> zeros(want->bytes);
  for (const KernelEntry& row : cpu_kernels()) {
    const Case c = as_exact_as(row, {row.name, row.op, {}, {}, 1, 1, 0x1p-5});
    if (c.tolerance == 0x1p-5) continue;
    ASSERT_GT(c.mean_tolerance, 0) << row.name;
    EXPECT_NONFATAL_FAILURE(expect_close_on_average(*want, zeros.data(), c.mean_tolerance, c.name), "on average");
  }
}

void check_all(const std::vector<Case>& cases, int max_threads = 3) {
  for (const Case& c : cases) {
    const auto want = run_reference(c);
    ASSERT_TRUE(want.ok()) << c.name << ": " << want.status().message();
    for (const KernelEntry& row : cpu_kernels()) {
      if (row.op != c.op) continue;
      for (int threads = 1; threads <= max_threads; ++threads) {
        if (check_row(row, as_exact_as(row, c), *want, threads)) exercised().insert(row.name);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

ir::TensorPtr rounded(const ir::TensorPtr& from) {
  auto made = ir::allocate_tensor(ir::DType::kBFloat16, from->dims);
  EXPECT_TRUE(made.ok());
  auto* to = reinterpret_cast<BFloat16*>(made->data);
  for (int64_t i = 0; i < from->element_count(); ++i) to[i] = BFloat16(static_cast<float>(element(*from, i)));
  return made->tensor;
}

// The cases of some ops with their data in bfloat16; what constants an epilogue has stay float32.
std::vector<Case> in_bfloat16(std::vector<Case> cases, const std::set<ir::Op>& ops) {
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
const Machine& machine_with_amx() {
  static const Machine machine = [] {
    Machine m = Machine::host();
    m.amx_tile = m.amx_bf16 = amx_mode() != AmxMode::kMissing;
    return m;
  }();
  return machine;
}

TEST(CpuVsReference, BFloat16) {
  std::printf("%s.\n", describe_amx(amx_mode()));
  request_machine() = &machine_with_amx();
  check_all(in_bfloat16(matrix_cases(), {ir::Op::kConv, ir::Op::kConvTranspose, ir::Op::kMatMul}));
  check_all(in_bfloat16(attention_cases(), {ir::Op::kAttention}));
  check_all(in_bfloat16(row_cases(), {ir::Op::kPool, ir::Op::kResize, ir::Op::kReduce}));
}

TEST(CpuVsReference, Pointwise) { check_all(pointwise_cases()); }
TEST(CpuVsReference, Matrix) { check_all(matrix_cases()); }
TEST(CpuVsReference, Rows) { check_all(row_cases()); }
TEST(CpuVsReference, Movement) { check_all(movement_cases()); }
TEST(CpuVsReference, Selection) { check_all(selection_cases()); }
TEST(CpuVsReference, Segments) { check_all(segment_cases()); }

// The vector code of the instruction sets below the machine's own.
TEST(CpuVsReference, LesserInstructionSets) {
  for (int64_t targets : {int64_t{HWY_AVX2 | HWY_SCALAR | HWY_EMU128}, int64_t{HWY_SCALAR | HWY_EMU128}}) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    check_all(pointwise_cases(), 1);
    check_all(row_cases(), 1);
    check_all(in_bfloat16(row_cases(), {ir::Op::kPool, ir::Op::kReduce}), 1);
    check_all(attention_cases(), 1);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

// Runs last: a row that no case reaches is not tested.
TEST(CpuVsReference, WholeTableWasExercised) {
  if (exercised().empty()) GTEST_SKIP() << "needs the tests before it";
  for (const KernelEntry& row : cpu_kernels()) {
    const std::string name = row.name;
    if (name.find("onednn") != std::string::npos && cpu::onednn_module().table == nullptr) continue;
    const bool matrix = row.op == ir::Op::kConv || row.op == ir::Op::kConvTranspose || row.op == ir::Op::kMatMul ||
                        row.op == ir::Op::kAttention;
    if (matrix && name.find("bf16") != std::string::npos && !Machine::host().avx512_bf16) continue;
    if (name.find("amx") != std::string::npos && amx_mode() == AmxMode::kMissing) continue;
    EXPECT_TRUE(exercised().contains(row.name)) << row.name;
  }
}

// Tasks at the same time have scratch of their own, so its size tells how many there may be.
TEST(CpuKernels, FftsAreSharedByNoMoreThreadsThanTheirWorkIsWorth) {
  const auto scratch_bytes = [](ir::DType dtype, int32_t length, int threads) -> size_t {
    const Case c{"fft",
                 ir::Op::kFft,
                 ir::FftAttrs{ir::FftKind::kReal},
                 {random_tensor(dtype, {64, length}), ints({1}, {length})},
                 1,
                 2};
    const auto want = run_reference(c);
    EXPECT_TRUE(want.ok());
    const CaseGraph made = make_graph(c);
    const KernelRequest request = make_request(c, made.graph.node(made.node), *want, threads);
    for (const KernelEntry& row : cpu_kernels()) {
      if (row.op != c.op || !row.supports(request).ok) continue;
      PackCache packs;
      return (*row.create(request, packs))->scratch_bytes();
    }
    ADD_FAILURE() << "no row takes it";
    return 0;
  };
  for (const ir::DType dtype : {ir::DType::kFloat32, ir::DType::kFloat64}) {
    EXPECT_EQ(scratch_bytes(dtype, 4, 4), scratch_bytes(dtype, 4, 1)) << ir::dtype_name(dtype);
    EXPECT_EQ(scratch_bytes(dtype, 512, 4), 4 * scratch_bytes(dtype, 512, 1)) << ir::dtype_name(dtype);
  }
}

TEST(CpuKernels, IndexOutOfRangeIsASentence) {
  const Case c{"pick", ir::Op::kGather, ir::GatherAttrs{0, 0}, {random_floats({3, 2}), ints({1}, {2})}, 3, 1, 0};
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok());
  const CaseGraph made = make_graph(c);
  for (const KernelEntry& row : cpu_kernels()) {
    if (row.op != ir::Op::kGather) continue;
    PackCache packs;
    const auto kernel = row.create(make_request(c, made.graph.node(made.node), *want, 1), packs);
    ASSERT_TRUE(kernel.ok());
    const int32_t index = 3;
    float out[2];
    const void* in[] = {c.inputs[0]->data, &index};
    void* outputs[] = {out};
    ThreadPool pool(1);
    const Status status = (*kernel)->run({in, outputs, nullptr, &pool});
    EXPECT_EQ(status.message(), "Node 'pick' (Gather): index 3 is not in [0, 3).");
  }
}

TEST(CpuKernels, IntegerDivisionByZeroIsASentence) {
  const Case c{"ratio",
               ir::Op::kPointwise,
               ir::PointwiseAttrs{ir::PointwiseProgram::binary(ir::PointwiseOp::kFloorDiv)},
               {ints({2}, {1, 2}), ints({2}, {1, 0})},
               3,
               1,
               0};
  const std::vector<ir::TensorPtr> want = {ints({2}, {0, 0})};
  const CaseGraph made = make_graph(c);
  for (const KernelEntry& row : cpu_kernels()) {
    const KernelRequest request = make_request(c, made.graph.node(made.node), want, 1);
    if (row.op != c.op || !row.supports(request).ok) continue;
    PackCache packs;
    const auto kernel = row.create(request, packs);
    int32_t out[2];
    const void* in[] = {c.inputs[0]->data, c.inputs[1]->data};
    void* outputs[] = {out};
    ThreadPool pool(1);
    const Status status = (*kernel)->run({in, outputs, nullptr, &pool});
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace blade::backends
