// Concrete input dims: static shapes everywhere, computed integers become constants, wrong dims are sentences.
#include "infer_test_util.h"

namespace blade::testing {
namespace {

using ir::Dims;

TEST(Specialize, FoldsShapeComputations) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, -1, 8});
  const auto shape = b.shape_of(x);
  const auto n =
      b.op(Op::kStridedSlice, {shape, b.ints({0}), b.ints({1}), b.ints({1})}, ir::StridedSliceAttrs{0, 0, 0, 0, 1});
  const auto target = b.op(Op::kPack, {n, b.scalar<int32_t>(-1)});
  const ir::Graph g = b.output(b.op(Op::kReshape, {x, target}), "y").output(shape, "shape").build();
  const auto fixed = ir::specialize(g, {{2, 5, 8}});
  ASSERT_TRUE(fixed.ok()) << fixed.status().message();
  EXPECT_TRUE(ir::verify(*fixed).ok());
  EXPECT_EQ(fixed->value(fixed->outputs()[0]).shape, ir::Shape::of(Dims{2, 40}));
  EXPECT_EQ(fixed->topological_order()->size(), 1u) << to_string(*fixed);
  const ir::Value& folded = fixed->value(fixed->outputs()[1]);
  ASSERT_TRUE(folded.is_constant());
  EXPECT_EQ(folded.dtype, DType::kInt32);
  EXPECT_EQ(ir::integer_values(*folded.constant), (std::vector<int64_t>{2, 5, 8}));
  EXPECT_EQ(fixed->output_names()[1], "shape");
  EXPECT_FALSE(g.value(g.outputs()[0]).shape.is_static()) << "the original stays as it was";
}

TEST(Specialize, ZeroBatch) {
  GraphBuilder b;
  const ir::Graph g = b.output(b.relu(b.input("x", {-1, 3}))).build();
  const auto fixed = ir::specialize(g, {{0, 3}});
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ(fixed->value(fixed->outputs()[0]).shape.element_count(), 0);
}

TEST(Specialize, UnknownRankTakesAny) {
  GraphBuilder b;
  const ir::Graph g = b.output(b.relu(b.input_of_unknown_rank("x"))).build();
  EXPECT_EQ(ir::specialize(g, {{2, 3}})->value(1).shape, ir::Shape::of(Dims{2, 3}));
}

TEST(Specialize, ErrorsNameTheInput) {
  GraphBuilder b;
  const ir::Graph g = b.output(b.relu(b.input("image", {-1, 3}))).build();
  const auto message = [&](std::vector<Dims> dims) { return ir::specialize(g, dims).status().message(); };
  EXPECT_EQ(message({{1, 4}}), "Input 'image' was given shape [1,4], expected [?,3]: dim 1 must be 3.");
  EXPECT_EQ(message({{1}}), "Input 'image' was given shape [1], expected [?,3] (rank 2).");
  EXPECT_NE(message({{-1, 3}}).find("a dim of -1"), std::string::npos);
  EXPECT_NE(message({}).find("0 input shapes were given, expected 1"), std::string::npos);
}

TEST(Specialize, OneSymbolOneValue) {
  GraphBuilder b;
  const ir::Dim n = b.symbol("batch");
  const auto x = b.input_of_shape("x", ir::Shape({n})), y = b.input_of_shape("y", ir::Shape({n}));
  const ir::Graph g = b.output(b.add(x, y)).build();
  EXPECT_TRUE(ir::specialize(g, {{2}, {2}}).ok());
  EXPECT_NE(ir::specialize(g, {{2}, {3}}).status().message().find("dim 0 is 3, and 2 where the same size stands"),
            std::string::npos);
}

TEST(Specialize, ForeignShapesFollow) {
  GraphBuilder b;
  const auto x = b.input("x", {-1, 3});
  const auto y = b.op(Op::kForeign, {x}, ir::ForeignAttrs{"Custom", "", false});
  b.graph().value(y).dtype = DType::kFloat32;
  b.graph().value(y).shape = ir::Shape({b.graph().value(x).shape.dim(0), b.symbol("rows")});
  const ir::Graph g = b.output(y).build();
  const auto fixed = ir::specialize(g, {{4, 3}});
  ASSERT_TRUE(fixed.ok());
  EXPECT_EQ(fixed->value(y).shape.dim(0), ir::Dim(4));
  EXPECT_FALSE(fixed->value(y).shape.dim(1).is_known());
}

// Sizes that only fail for some dims fail then, by the node's name.
TEST(Specialize, ReportsNodesThatDoNotFit) {
  GraphBuilder b;
  const auto x = b.input("x", {-1});
  const ir::Graph g = b.output(b.op(Op::kReshape, {x, b.ints({-1, 4})}, ir::EmptyAttrs{}, "rows")).build();
  EXPECT_TRUE(ir::specialize(g, {{8}}).ok());
  EXPECT_NE(ir::specialize(g, {{7}}).status().message().find("'rows'"), std::string::npos);
}

}  // namespace
}  // namespace blade::testing
