// Which integer outputs floats decide.
#include "optimizer/rounding_outputs.h"

#include <gtest/gtest.h>

#include "support/graph_builder.h"

namespace blade::optimizer {
namespace {

using ir::Op;
using testing::GraphBuilder;

TEST(RoundingOutputsTest, AreThoseThatFloatsBecome) {
  GraphBuilder b;
  const auto x = b.input("x", {2, 8}), n = b.input("n", {2, 8}, ir::DType::kInt32);
  const auto cast = [&](GraphBuilder::Id of, ir::DType to) { return b.op(Op::kCast, {of}, ir::CastAttrs{to}); };
  const auto image = cast(cast(x, ir::DType::kInt32), ir::DType::kUInt8);
  const auto above = b.pointwise(ir::PointwiseOp::kGreater, {x, b.scalar(0.5f)});
  b.output(b.op(Op::kTranspose, {image}, ir::PermAttrs{{1, 0}}));
  b.output(cast(n, ir::DType::kUInt8));
  b.output(cast(above, ir::DType::kInt32));
  b.output(x);
  b.output(b.pointwise(ir::PointwiseOp::kIsNan, {x}));
  b.output(cast(x, ir::DType::kBool));
  const ir::Graph graph = b.build();
  const auto found = rounding_outputs(graph);
  ASSERT_EQ(found.size(), 3u);
  const auto& names = graph.output_names();
  EXPECT_EQ(found.at(names[0]).share, 0.01);
  EXPECT_EQ(found.at(names[2]).share, 0.001);
  EXPECT_EQ(found.at(names[5]).share, 0.001);
}

}  // namespace
}  // namespace blade::optimizer
