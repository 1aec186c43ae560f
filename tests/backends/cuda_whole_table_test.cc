// Linked last, so that it runs behind the tests that note in exercised() which rows they reach.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

// What takes long to compile and is seldom chosen; docs/cuda.md says so, too.
constexpr std::string_view kFamiliesOfTiles[] = {"cuda.conv", "cuda.matmul", "cuda.conv_sum", "cuda.product_cast",
                                                 "cuda.product_split"};
constexpr std::string_view kTilesWithoutBFloat16[] = {
    "mma_32x64k2",   "mma_64x32k2",   "mma_64x32k4",    "mma_128x32k1",   "mma_128x64k1",
    "wgmma_64x32k2", "wgmma_64x64k2", "wgmma_128x64k1", "wgmma_256x64k1", "wgmma_256x128k1"};
constexpr std::string_view kOthersWithoutBFloat16[] = {"cuda.attention.rows32", "cuda.attention.rows128",
                                                       "cuda.depthwise_product.mma_32x32k4",
                                                       "cuda.depthwise_product.mma_64x64k1"};

bool is_without_bfloat16(std::string_view row) {
  if (std::ranges::count(kOthersWithoutBFloat16, row) > 0) return true;
  const size_t dot = row.rfind('.');
  const std::string_view family = row.substr(0, dot), tile = row.substr(dot + 1, row.find("_split", dot) - dot - 1);
  return std::ranges::count(kFamiliesOfTiles, family) > 0 && std::ranges::count(kTilesWithoutBFloat16, tile) > 0;
}

TEST(CudaTable, TilesWithoutBFloat16) {
  EXPECT_TRUE(is_without_bfloat16("cuda.conv.mma_32x64k2"));
  EXPECT_TRUE(is_without_bfloat16("cuda.product_split.wgmma_64x32k2_split4"));
  EXPECT_TRUE(is_without_bfloat16("cuda.attention.rows32"));
  EXPECT_FALSE(is_without_bfloat16("cuda.depthwise_product.mma_32x64k2"));
  EXPECT_FALSE(is_without_bfloat16("cuda.conv_mean.wgmma_64x32k2"));
  EXPECT_FALSE(is_without_bfloat16("cuda.conv.wgmma_128x128k1"));
}

// A row that no case reaches is not tested, nor is one in bfloat16 that only cases in float16 reach.
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
    if (wrong_card || splits || has_no_compiler || absent().contains(row.name)) continue;
    EXPECT_TRUE(std::any_of(exercised().begin(), exercised().end(), [&](const Form& f) { return f.first == row.name; }))
        << row.name;
    if (!exercised().contains({row.name, ir::DType::kFloat16})) continue;
    EXPECT_NE(exercised().contains({row.name, ir::DType::kBFloat16}), is_without_bfloat16(row.name)) << row.name;
  }
}

}  // namespace
}  // namespace blade::backends
