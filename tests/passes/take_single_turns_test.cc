// TakeSingleTurns: loops that are replaced by their body, and loops that stay.
#include "passes/pass_test_util.h"

namespace blade::passes {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

struct Loop {
  int32_t first = 0, step = 1;
  std::optional<int32_t> limit = 1;  // nothing: an input of the graph
  bool limit_grows = false;          // with each turn
  bool passes_limit_on = false;      // as it is, not as a node's result
  bool limit_is_output = false;
  bool has_foreign = false;  // in the body: in a branch, where it is nested
  bool is_nested = false;
  bool has_invariant = false;  // reads relu(x) in place of x

  // for (i = first; i < limit; i += step) h = exp(h + x);
  ir::Graph build() const {
    ir::SubGraphsAttrs attrs;
    for (const bool is_body : {false, true}) {
      GraphBuilder b;
      const auto i = b.input("i", {}, ir::DType::kInt32), n = b.input("n", {}, ir::DType::kInt32);
      const auto h = b.input("h", {2, 8}), x = b.input("x", {2, 8});
      if (is_body) {
        const auto next = b.add(i, b.scalar<int32_t>(step));
        b.output(next).output(limit_grows       ? b.add(n, b.scalar<int32_t>(step))
                              : passes_limit_on ? n
                                                : b.op(Op::kIdentity, {n}));
        b.output(b.pointwise(P::kExp, {b.add(h, has_foreign ? foreign(b, x) : has_invariant ? b.relu(x) : x)}));
      } else {
        b.output(b.pointwise(P::kLess, {i, n}));
      }
      attrs.graphs.push_back(std::make_shared<const ir::Graph>(b.build()));
    }
    GraphBuilder b;
    const auto n = limit ? b.scalar<int32_t>(*limit) : b.input("n", {}, ir::DType::kInt32);
    const auto h = b.input("h", {2, 8}), x = b.input("x", {2, 8});
    const auto results = b.ops(Op::kWhile, {b.scalar<int32_t>(first), n, h, x}, 3, attrs, "loop");
    if (limit_is_output) b.output(results[1]);
    return b.output(results[2]).build();
  }

 private:
  ir::ValueId foreign(GraphBuilder& b, ir::ValueId x) const {
    if (!is_nested) {
      const auto y = b.op(Op::kForeign, {x}, ir::ForeignAttrs{"PyFunc", "not supported", false});
      b.graph().value(y).dtype = ir::DType::kFloat32;
      return y;
    }
    ir::SubGraphsAttrs branches;
    Loop plain = *this;
    plain.is_nested = false;
    for (const bool is_foreign : {false, true}) {
      GraphBuilder inner;
      const auto v = inner.input("v", {2, 8});
      inner.output(is_foreign ? plain.foreign(inner, v) : inner.relu(v));
      branches.graphs.push_back(std::make_shared<const ir::Graph>(inner.build()));
    }
    return b.ops(Op::kIf, {b.scalar(true), x}, 1, branches)[0];
  }
};

bool is_replaced(const Loop& loop) {
  ir::Graph graph = loop.build();
  const Pass& pass = find_pass("TakeSingleTurns");
  const auto result = pass.run(graph, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  expect_sound(graph);
  EXPECT_EQ(result->changes, count(graph, Op::kWhile) == 0 ? 1 : 0);
  if (count(graph, Op::kWhile) == 0) {
    EXPECT_EQ(count(graph, Op::kPointwise), 2) << ir::to_string(graph);  // the counting is gone
  }
  return result->changes == 1;
}

TEST(TakeSingleTurns, OneTurn) {
  EXPECT_TRUE(is_replaced({}));
  EXPECT_TRUE(is_replaced({.first = 3, .step = 4, .limit = 7}));
}
TEST(TakeSingleTurns, NoneOrMore) {
  EXPECT_FALSE(is_replaced({.limit = 0}));
  EXPECT_FALSE(is_replaced({.limit = 2}));
  EXPECT_FALSE(is_replaced({.limit_grows = true}));
}
// The second of an op's results tells, which is none.
TEST(TakeSingleTurns, CountedByTheSecondResultOfAnOp) {
  GraphBuilder b;
  ir::SubGraphsAttrs attrs;
  for (const bool is_body : {false, true}) {
    GraphBuilder inner;
    const auto i = inner.input("i", {2}, ir::DType::kInt32), y = inner.input("y", {2, 8});
    if (is_body) {
      inner.output(inner.add(i, inner.ints({9, 1}))).output(inner.pointwise(P::kExp, {y}));
    } else {
      const auto both = inner.ops(Op::kUnpack, {i}, 2, ir::UnpackAttrs{0});
      inner.output(inner.pointwise(P::kLess, {both[1], inner.scalar<int32_t>(6)}));
    }
    attrs.graphs.push_back(std::make_shared<const ir::Graph>(inner.build()));
  }
  const auto y = b.input("y", {2, 8});
  ir::Graph graph = b.output(b.ops(Op::kWhile, {b.ints({0, 0}), y}, 2, attrs, "loop")[1]).build();
  const auto result = find_pass("TakeSingleTurns").run(graph, {});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->changes, 0);
}
TEST(TakeSingleTurns, NobodyKnowsHowMany) { EXPECT_FALSE(is_replaced({.limit = std::nullopt})); }
TEST(TakeSingleTurns, AResultOfTheGraphStaysANodesResult) {
  for (const bool passes_on : {false, true}) {
    ir::Graph graph = Loop{.passes_limit_on = passes_on, .limit_is_output = true}.build();
    EXPECT_TRUE(find_pass("TakeSingleTurns").run(graph, {}).ok());
    expect_sound(graph);
    for (const ir::ValueId v : graph.outputs()) EXPECT_NE(graph.value(v).producer, ir::kNone);
  }
  EXPECT_TRUE(is_replaced({.passes_limit_on = true}));
}
TEST(TakeSingleTurns, ResultsOfTheGraphStayApart) {
  ir::SubGraphsAttrs attrs;
  for (const bool is_body : {false, true}) {
    GraphBuilder b;
    const auto i = b.input("i", {}, ir::DType::kInt32), x = b.input("x", {2, 8});
    b.input("y", {2, 8});
    if (is_body) {
      const auto made = b.pointwise(P::kExp, {x});
      b.output(b.add(i, b.scalar<int32_t>(1))).output(made).output(made);
    } else {
      b.output(b.pointwise(P::kLess, {i, b.scalar<int32_t>(1)}));
    }
    attrs.graphs.push_back(std::make_shared<const ir::Graph>(b.build()));
  }
  for (const bool both : {false, true}) {
    GraphBuilder b;
    const auto x = b.input("x", {2, 8});
    const auto results = b.ops(Op::kWhile, {b.scalar<int32_t>(0), x, x}, 3, attrs, "loop");
    if (both) b.output(results[1]);
    ir::Graph graph = b.output(results[2]).build();
    const auto result = find_pass("TakeSingleTurns").run(graph, {});
    ASSERT_TRUE(result.ok()) << result.status().message();
    EXPECT_EQ(result->changes, both ? 0 : 1);
  }
}
TEST(TakeSingleTurns, WhatStaysInTensorFlowKeepsItsLoop) {
  EXPECT_FALSE(is_replaced({.has_foreign = true}));
  EXPECT_FALSE(is_replaced({.has_foreign = true, .is_nested = true}));
}
// Its body reads what the preamble makes.
TEST(TakeSingleTurns, HoistedLoopsStay) {
  ir::Graph graph = Loop{.has_invariant = true}.build();
  const auto hoisted = find_pass("HoistInvariants").run(graph, {});
  ASSERT_TRUE(hoisted.ok()) << hoisted.status().message();
  ASSERT_EQ(only(graph, Op::kWhile).get<ir::SubGraphsAttrs>().graphs.size(), 3u);
  const auto result = find_pass("TakeSingleTurns").run(graph, {});
  ASSERT_TRUE(result.ok()) << result.status().message();
  expect_sound(graph);
  EXPECT_EQ(result->changes, 0);
  EXPECT_EQ(count(graph, Op::kWhile), 1);
}
TEST(TakeSingleTurns, PassesThatAreLeftOutStayOut) {
  const std::vector<std::string> left_out = {"CommonSubexpressions"};
  for (const bool disabled : {false, true}) {
    GraphBuilder b;
    const auto x = b.input("x", {2, 8});
    ir::SubGraphsAttrs attrs;
    for (const bool is_body : {false, true}) {
      GraphBuilder inner;
      const auto i = inner.input("i", {}, ir::DType::kInt32), y = inner.input("y", {2, 8});
      if (is_body) {
        inner.output(inner.add(i, inner.scalar<int32_t>(1))).output(inner.pointwise(P::kExp, {y}));
      } else {
        inner.output(inner.pointwise(P::kLess, {i, inner.scalar<int32_t>(1)}));
      }
      attrs.graphs.push_back(std::make_shared<const ir::Graph>(inner.build()));
    }
    const auto turned = b.ops(Op::kWhile, {b.scalar<int32_t>(0), x}, 2, attrs, "loop");
    ir::Graph graph = b.output(b.op(Op::kConcat, {turned[1], b.pointwise(P::kExp, {x})}, ir::AxisAttrs{1})).build();
    const auto reports = run_pipeline(graph, false, disabled ? left_out : std::vector<std::string>());
    ASSERT_TRUE(reports.ok()) << reports.status().message();
    EXPECT_EQ(count(graph, Op::kWhile), 0);
    EXPECT_EQ(count(graph, Op::kPointwise), disabled ? 2 : 1) << ir::to_string(graph);
  }
}
TEST(TakeSingleTurns, LargeValuesAreNotComputedToTell) {
  GraphBuilder b;
  ir::SubGraphsAttrs attrs;
  for (const bool is_body : {false, true}) {
    GraphBuilder inner;
    const auto i = inner.input("i", {}, ir::DType::kInt32);
    inner.input("y", {1 << 20, 1 << 20});
    if (is_body) {
      const auto dims = inner.constant<int32_t>({2}, {1 << 20, 1 << 20});
      inner.output(inner.add(i, inner.scalar<int32_t>(1))).output(inner.op(Op::kFill, {dims, inner.scalar(1.0f)}));
    } else {
      inner.output(inner.pointwise(P::kLess, {i, inner.scalar<int32_t>(1)}));
    }
    attrs.graphs.push_back(std::make_shared<const ir::Graph>(inner.build()));
  }
  const auto y = b.input("y", {1 << 20, 1 << 20});
  ir::Graph graph = b.output(b.ops(Op::kWhile, {b.scalar<int32_t>(0), y}, 2, attrs, "loop")[1]).build();
  const auto result = find_pass("TakeSingleTurns").run(graph, {});
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_EQ(result->changes, 1);
}

}  // namespace
}  // namespace blade::passes
