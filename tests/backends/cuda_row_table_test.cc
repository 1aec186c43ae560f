// Tables of rows made from lists of variants: as many as the list is long, each with its own variant; without a card.
#include <gtest/gtest.h>

#include <span>

#include "backends/cuda/kernels/conv_variants.h"
#include "backends/cuda/row_table.h"

namespace blade::backends::cuda {
namespace {

// Says in its predictions and refusals which variant and which function was asked.
template <bool kProducts>
struct ListedTiles {
  static constexpr bool kTakesProducts = kProducts;
  static std::span<const int, 3> variants() {
    static constexpr int kList[] = {30, 10, 20};
    return kList;
  }
  static std::string label(int v) { return tile_label("tile", v, 64, 2, v == 20 ? 3 : 0); }
  static Support supports(const KernelRequest& request, int v) {
    return request.num_threads == v ? Support::yes() : Support::no("has no " + std::to_string(v) + " threads");
  }
  static double predict_us(const KernelRequest& request, int v) { return v + request.num_threads; }
  static Result<std::unique_ptr<Kernel>> create(const KernelRequest& /*request*/, PackCache& /*packs*/, int v,
                                                int64_t parts = 1) {
    return internal_error("variant " + std::to_string(v) + " in " + std::to_string(parts));
  }
  static Support is_sum(const KernelRequest& request) {
    return request.producer != nullptr ? Support::yes() : Support::no("is no sum");
  }
  static Support is_split(const KernelRequest& request) {
    return request.producer != nullptr ? Support::yes() : Support::no("is no split");
  }
};

std::vector<std::string> names_of(const std::vector<KernelEntry>& rows) {
  std::vector<std::string> names;
  for (const KernelEntry& row : rows) names.emplace_back(row.name);
  return names;
}

TEST(CudaRowTable, HasARowOfEachFormForEachVariant) {
  const auto& table = RowTable<ListedTiles<true>>::get();
  EXPECT_EQ(names_of(table.rows), (std::vector<std::string>{
                                      "cuda.conv.tile_30x64k2",
                                      "cuda.matmul.tile_30x64k2",
                                      "cuda.conv.tile_10x64k2",
                                      "cuda.matmul.tile_10x64k2",
                                      "cuda.conv.tile_20x64k2_split8",
                                      "cuda.matmul.tile_20x64k2_split8",
                                  }));
  EXPECT_EQ(names_of(table.sum_rows),
            (std::vector<std::string>{"cuda.conv_sum.tile_30x64k2", "cuda.conv_sum.tile_10x64k2",
                                      "cuda.conv_sum.tile_20x64k2_split8"}));
  EXPECT_EQ(names_of(table.split_rows),
            (std::vector<std::string>{"cuda.product_split.tile_30x64k2", "cuda.product_split.tile_10x64k2",
                                      "cuda.product_split.tile_20x64k2_split8"}));
  EXPECT_TRUE(table.cast_rows.empty());
  for (size_t i = 0; i < table.rows.size(); ++i) {
    EXPECT_EQ(table.rows[i].op, i % 2 == 0 ? ir::Op::kConv : ir::Op::kMatMul);
  }
  for (size_t i = 0; i < table.sum_rows.size(); ++i) {
    EXPECT_EQ(table.sum_rows[i].op, ir::Op::kConv);
    EXPECT_EQ(table.split_rows[i].op, ir::Op::kSplit);
  }
}

TEST(CudaRowTable, RowsThatTakeNoProductsAreOfConvolutionsAlone) {
  const auto& table = RowTable<ListedTiles<false>>::get();
  EXPECT_EQ(names_of(table.rows), (std::vector<std::string>{"cuda.conv.tile_30x64k2", "cuda.conv.tile_10x64k2",
                                                            "cuda.conv.tile_20x64k2_split8"}));
  EXPECT_TRUE(table.sum_rows.empty() && table.cast_rows.empty() && table.split_rows.empty());
}

TEST(CudaRowTable, EachRowAsksForItsOwnVariant) {
  const auto& table = RowTable<ListedTiles<true>>::get();
  constexpr int kVariants[] = {30, 10, 20};
  KernelRequest producer, alone, joined;
  producer.num_threads = alone.num_threads = joined.num_threads = 10;
  joined.producer = &producer;
  producer.num_threads = 20;
  joined.outputs.resize(3);
  PackCache packs;
  for (size_t i = 0; i < 3; ++i) {
    const int v = kVariants[i];
    const KernelEntry &row = table.rows[2 * i], &sum = table.sum_rows[i], &split = table.split_rows[i];
    EXPECT_EQ(row.supports(alone).ok, v == 10);
    EXPECT_EQ(row.predicted_us(alone), v + 10);
    EXPECT_EQ(row.create(alone, packs).status().message(), "variant " + std::to_string(v) + " in 1");
    EXPECT_EQ(sum.supports(alone).reason, "is no sum");
    EXPECT_EQ(sum.supports(joined).ok, v == 10);  // of the node itself
    EXPECT_EQ(split.supports(alone).reason, "is no split");
    EXPECT_EQ(split.supports(joined).ok, v == 20);  // of the producer
    EXPECT_EQ(split.predicted_us(joined), v + 20);
    EXPECT_EQ(split.create(joined, packs).status().message(), "variant " + std::to_string(v) + " in 3");
  }
}

// The lists of compiled tiles say how long they are: rows are made of all, and one too many does not compile.
static_assert(kCountOf<decltype(plain_variants)> % 4 == 0 && kCountOf<decltype(patch_variants)> % 4 == 0);
static_assert(kCountOf<decltype(pipeline_variants)> > 0 && kCountOf<decltype(mean_variants)> > 0);
static_assert(kCountOf<decltype(conv_variants_wgmma)> > 0 && kCountOf<decltype(conv_variants_mma_small)> > 0);
static_assert(kCountOf<decltype(conv_variants_float)> > 0 && kCountOf<decltype(conv_variants_mma_large)> > 0);

}  // namespace
}  // namespace blade::backends::cuda
