// Which products of the same rows become one.
#include <gtest/gtest.h>

#include "pass_test_util.h"

namespace blade::testing {
namespace {

passes::PassOptions on_gpu() {
  passes::PassOptions options;
  options.on_device = true;
  options.narrow_type = ir::DType::kFloat16;
  return options;
}

using Id = GraphBuilder::Id;

struct Products : ::testing::Test {
  GraphBuilder b;
  Id x = b.input("x", {-1, 4});

  Id product(Id of, int64_t columns, bool by_channel = false) {
    return b.matmul(of, b.constant<float>(by_channel ? ir::Dims{columns, 4} : ir::Dims{4, columns}, ramp(4 * columns)),
                    false, by_channel);
  }
  // Products after the pass, of `count` before.
  int left_of(const std::vector<Id>& products, const passes::PassOptions& options = on_gpu()) {
    for (const Id one : products) b.output(b.relu(one));
    const Applied applied = apply_pass("JoinProducts", b.build(), 2e-6, options);
    EXPECT_EQ(applied.result.changes, count(applied.graph, Op::kSplit));
    return count(applied.graph, Op::kMatMul);
  }
};

TEST_F(Products, OfTheSameRowsAreOne) { EXPECT_EQ(left_of({product(x, 128), product(x, 128), product(x, 128)}), 1); }
TEST_F(Products, WithWeightsByChannel) { EXPECT_EQ(left_of({product(x, 128, true), product(x, 128, true)}), 1); }
TEST_F(Products, MoreThanAKernelStoresAreTwo) {
  EXPECT_EQ(left_of({product(x, 128), product(x, 128), product(x, 128), product(x, 128), product(x, 128)}), 2);
}
TEST_F(Products, OfOtherRowsStay) { EXPECT_EQ(left_of({product(x, 128), product(b.relu(x), 128)}), 2); }
TEST_F(Products, OfOtherWidthsStay) { EXPECT_EQ(left_of({product(x, 128), product(x, 256)}), 2); }
TEST_F(Products, OfOtherLayoutsStay) { EXPECT_EQ(left_of({product(x, 128), product(x, 128, true)}), 2); }
TEST_F(Products, OfColumnsThatNoTileDividesStay) { EXPECT_EQ(left_of({product(x, 96), product(x, 96)}), 2); }
TEST_F(Products, StayOnACpu) { EXPECT_EQ(left_of({product(x, 128), product(x, 128)}, {}), 2); }

}  // namespace
}  // namespace blade::testing
