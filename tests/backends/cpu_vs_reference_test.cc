// Every row of the CPU table against the reference kernels. What is narrow is in cpu_vs_reference_narrow_test.cc.
#include <gtest/gtest-spi.h>

#include "backends/check_table.h"
#include "backends/cpu/onednn/loader.h"

namespace blade::backends {
namespace {

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

TEST(CpuVsReference, Pointwise) { check_all(pointwise_cases()); }
TEST(CpuVsReference, Matrix) { check_all(matrix_cases()); }
TEST(CpuVsReference, Rows) { check_all(row_cases()); }
TEST(CpuVsReference, Movement) { check_all(movement_cases()); }
TEST(CpuVsReference, Selection) { check_all(selection_cases()); }
TEST(CpuVsReference, Segments) { check_all(segment_cases()); }

// Results as a request describes them, by shape inference where that tells their sizes.
std::vector<ir::TensorPtr> described_results(const Case& c) {
  CaseGraph made = make_graph(c);
  std::vector<ir::TensorPtr> results;
  if (!ir::infer_shapes(made.graph).ok()) return *run_reference(c);
  for (const ir::ValueId id : made.graph.node(made.node).outputs) {
    const ir::Value& value = made.graph.value(id);
    const auto dims = value.shape.static_dims();
    if (!dims) return *run_reference(c);
    auto described = std::make_shared<ir::Tensor>();
    described->dtype = value.dtype;
    described->dims = *dims;
    results.push_back(std::move(described));
  }
  return results;
}

void find_taken(const std::vector<Case>& cases, std::set<std::string>& taken) {
  for (const Case& c : cases) {
    const CaseGraph made = make_graph(c);
    const std::vector<ir::TensorPtr> results = described_results(c);
    for (const int threads : {1, 2, 3}) {
      const KernelRequest request = make_request(c, made.graph.node(made.node), results, threads);
      for (const KernelEntry& row : cpu_kernels()) {
        if (row.op == c.op && !taken.contains(row.name) && row.supports(request).ok) taken.insert(row.name);
      }
    }
  }
}

// A row that no case reaches is not tested.
TEST(CpuVsReference, EachRowTakesACase) {
  std::set<std::string> taken;
  for (const auto& cases :
       {pointwise_cases(), matrix_cases(), row_cases(), movement_cases(), selection_cases(), segment_cases()})
    find_taken(cases, taken);
  request_machine() = &machine_with_amx();
  find_taken(bfloat16_cases(), taken);
  request_machine() = &Machine::host();
  for (const KernelEntry& row : cpu_kernels()) {
    const std::string name = row.name;
    if (name.find("onednn") != std::string::npos && cpu::onednn_module().table == nullptr) continue;
    const bool matrix = row.op == ir::Op::kConv || row.op == ir::Op::kConvTranspose || row.op == ir::Op::kMatMul ||
                        row.op == ir::Op::kAttention;
    if (matrix && name.find("bf16") != std::string::npos && !Machine::host().avx512_bf16) continue;
    if (name.find("amx") != std::string::npos && amx_mode() == AmxMode::kMissing) continue;
    EXPECT_TRUE(taken.contains(row.name)) << row.name;
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
