// Element types, shapes and constant tensors.
#include "ir/types.h"

#include <gtest/gtest.h>

#include <cstring>

#include "support/graph_builder.h"

namespace blade::ir {
namespace {

TEST(Types, SizesAndNames) {
  EXPECT_EQ(dtype_size(DType::kBFloat16), 2u);
  EXPECT_EQ(dtype_size(DType::kOpaque), 0u);
  EXPECT_STREQ(dtype_name(DType::kFloat32), "float32");
  EXPECT_TRUE(is_integer(DType::kUInt8));
  EXPECT_FALSE(is_integer(DType::kBool));
  EXPECT_TRUE(is_floating(DType::kFloat16));
}

TEST(Types, Shapes) {
  const Shape shape({Dim(2), Dim::symbol(0)});
  EXPECT_FALSE(shape.is_static());
  EXPECT_FALSE(shape.element_count().has_value());
  EXPECT_EQ(shape.dim(-2), Dim(2));
  EXPECT_EQ(Shape::scalar().element_count(), 1);
  EXPECT_FALSE(Shape::unknown().is_static());
  EXPECT_NE(Shape::scalar(), Shape::unknown());
  const Dims huge{int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_FALSE(Shape::of(huge).element_count().has_value());
}

TEST(Types, AllocateChecksSizes) {
  EXPECT_FALSE(allocate_tensor(DType::kFloat32, {-1}).ok());
  EXPECT_FALSE(allocate_tensor(DType::kOpaque, {1}).ok());
  EXPECT_FALSE(allocate_tensor(DType::kFloat64, {int64_t{1} << 62}).ok());
  const auto empty = allocate_tensor(DType::kFloat32, {0, 5});
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ(empty->tensor->bytes, 0u);
}

TEST(Types, AlignedCopiesOnlyWhatIsNot) {
  const TensorPtr whole = blade::testing::tensor<uint8_t>({8}, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(aligned(whole)->get(), whole.get());
  Tensor part = *whole;
  part.data += 3;
  part.bytes = 4;
  part.dims = {4};
  const auto copy = aligned(std::make_shared<const Tensor>(part));
  ASSERT_TRUE(copy.ok());
  EXPECT_EQ(reinterpret_cast<uintptr_t>((*copy)->data) % 64, 0u);
  EXPECT_EQ(integer_values(**copy), (std::vector<int64_t>{3, 4, 5, 6}));
}

TEST(Types, IntegerValues) {
  EXPECT_EQ(integer_values(*blade::testing::tensor<int32_t>({2}, {-1, 5})), (std::vector<int64_t>{-1, 5}));
  EXPECT_FALSE(integer_values(*blade::testing::tensor<float>({1}, {1.f})).has_value());
  EXPECT_FALSE(integer_values(*blade::testing::tensor<uint64_t>({1}, {~uint64_t{0}})).has_value());
  EXPECT_EQ(integer_values(*make_scalar_i64(-7)), std::vector<int64_t>{-7});
}

}  // namespace
}  // namespace blade::ir
