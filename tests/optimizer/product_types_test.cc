// Which types a model's own products are of.
#include "optimizer/product_types.h"

#include <gtest/gtest.h>

#include "support/graph_builder.h"

namespace blade::optimizer {
namespace {

TEST(ProductTypesTest, CountsWhatOutputsNeed) {
  testing::GraphBuilder b;
  const auto x = b.input("x", {4, 4}), brain = b.input("brain", {4, 4}, ir::DType::kBFloat16);
  b.output(b.matmul(x, x));
  b.output(b.matmul(b.matmul(brain, brain), brain));
  b.matmul(x, b.matmul(x, x));
  const ProductTypes types = product_types(b.build());
  EXPECT_EQ(types.all, 3);
  EXPECT_EQ(types.bfloat16, 2);
  EXPECT_EQ(types.float16, 0);
}

}  // namespace
}  // namespace blade::optimizer
