// Shapes of matrix multiplication and Einsum.
#include "ir/ops/einsum.h"

#include "infer_test_util.h"

namespace blade::testing {
namespace {

TEST(MatMul, PlainTransposedAndBatched) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 8}), y = b.input("y", {8, 4}), t = b.input("t", {4, 8});
  EXPECT_EQ(inferred(b, b.matmul(x, y)), "float32[x.0,4]");
  EXPECT_EQ(inferred(b, b.matmul(x, t, false, true)), "float32[x.0,4]");
  EXPECT_EQ(inferred(b, b.matmul(y, x, true, true)), "float32[4,x.0]");
}

TEST(MatMul, LeadingDimsBroadcast) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 1, 2, 3}), y = b.input("y", {7, 3, 5});
  EXPECT_EQ(inferred(b, b.matmul(x, y)), "float32[x.0,7,2,5]");
  EXPECT_EQ(inferred(b, b.matmul(b.input("e", {0, 2, 0}), b.input("f", {1, 0, 5}))), "float32[0,2,5]");
}

TEST(MatMul, Errors) {
  GraphBuilder b;
  b.matmul(b.input("x", {2, 3}), b.input("y", {4, 5}));
  EXPECT_INFER_ERROR(b, "the inner dim of the product to be 3 and 4");
  GraphBuilder c;
  c.matmul(c.input("x", {3}), c.input("y", {3, 5}));
  EXPECT_INFER_ERROR(c, "expected rank 2 or more");
}

TEST(MatMul, Epilogue) {
  GraphBuilder b;
  ir::MatMulAttrs a;
  a.epilogue = ir::PointwiseProgram::binary(P::kAdd);
  const auto x = b.input("x", {-1, 8}), y = b.input("y", {8, 4});
  EXPECT_EQ(inferred(b, b.op(Op::kMatMul, {x, y, b.input("bias", {4})}, a)), "float32[x.0,4]");
  b.op(Op::kMatMul, {x, y, b.input("bad", {5})}, a);
  EXPECT_INFER_ERROR(b, "last dim to be 5 and 4");
}

struct Einsum : ::testing::Test {
  GraphBuilder b;
  std::string shape(const std::string& equation, std::vector<ir::ValueId> inputs) {
    return inferred(b, b.op(Op::kEinsum, std::move(inputs), ir::EinsumAttrs{equation}));
  }
};

TEST_F(Einsum, Labels) {
  const auto x = b.input("x", {-1, 12, 7, 64}), y = b.input("y", {-1, 12, 9, 64});
  EXPECT_EQ(shape("bhqd,bhkd->bhqk", {x, y}), "float32[x.0,12,7,9]");
  EXPECT_EQ(shape("bhqd->bqhd", {x}), "float32[x.0,7,12,64]");
  EXPECT_EQ(shape("bhqd->", {x}), "float32[]");
}

TEST_F(Einsum, Ellipsis) {
  const auto x = b.input("x", {-1, 5, 3, 4}), y = b.input("y", {5, 4, 6}), w = b.input("w", {4, 6});
  EXPECT_EQ(shape("...ij,...jk->...ik", {x, y}), "float32[x.0,5,3,6]");
  EXPECT_EQ(shape("...j,jk->...k", {x, w}), "float32[x.0,5,3,6]");
  EXPECT_EQ(shape("...ij->...ji", {w}), "float32[6,4]");
}

TEST_F(Einsum, DiagonalAndUnknownRank) {
  EXPECT_EQ(shape("ii->i", {b.input("x", {4, 4})}), "float32[4]");
  const auto u = b.input_of_unknown_rank("u");
  EXPECT_EQ(shape("...j,jk->...k", {u, b.input("w", {4, 6})}), "float32<unknown>");
  EXPECT_NE(shape("ij,jk->ik", {u, b.input("v", {4, 6})}).find(",6]"), std::string::npos);
}

TEST_F(Einsum, Errors) {
  EXPECT_FALSE(ir::parse_einsum("ab,bc").ok());
  EXPECT_FALSE(ir::parse_einsum("a1->a").ok());
  EXPECT_FALSE(ir::parse_einsum("a......->a").ok());
  EXPECT_FALSE(ir::parse_einsum("ab->c").ok());
  EXPECT_FALSE(ir::parse_einsum("ab->aa").ok());
  EXPECT_TRUE(ir::parse_einsum(" ab , bc -> ac ").ok());
  EXPECT_NE(shape("ab,bc->ac", {b.input("x", {2, 3}), b.input("y", {4, 5})}).find("label b to be 3 and 4"),
            std::string::npos);
}

TEST_F(Einsum, RankMustMatch) {
  EXPECT_NE(shape("abc->a", {b.input("x", {2, 3})}).find("for a term of 3 labels, expected rank 3"), std::string::npos);
}

}  // namespace
}  // namespace blade::testing
