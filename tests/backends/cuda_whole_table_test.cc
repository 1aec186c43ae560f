// Linked last, so that it runs behind the tests that note in exercised() which rows they reach.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

// A row that no case reaches is not tested.
TEST(CudaTable, WholeTableWasExercised) {
  if (!cuda_device().ok()) GTEST_SKIP() << "needs a GPU: " << cuda_device().status().message();
  if (exercised().empty()) GTEST_SKIP() << "needs the tests before it";
  std::vector<KernelEntry> all;
  for (const auto rows : {(*cuda_device())->kernels(), (*cuda_device())->fused_kernels()}) {
    all.insert(all.end(), rows.begin(), rows.end());
  }
  for (const KernelEntry& row : all) {
    const bool wrong_card =
        std::string(row.name).find("wgmma") != std::string::npos && (*cuda_device())->info().capability != 90;
    const bool splits =
        std::string(row.name).find("split") != std::string::npos && (*cuda_device())->info().capability < 90;
    const bool has_no_compiler = row.has(kCompiles) && !(*cuda_device())->can_compile().ok();
    if (!wrong_card && !splits && !has_no_compiler && !absent().contains(row.name)) {
      EXPECT_TRUE(exercised().contains(row.name)) << row.name;
    }
  }
}

}  // namespace
}  // namespace blade::backends
