// What is computed once for all iterations of a loop, and what stays inside.
#include "passes/pass_test_util.h"

namespace blade::passes {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// Operands of the loops: the variables i and h [2, 8], then x [2, 8] and n, which stay.
struct Operands {
  explicit Operands(GraphBuilder& b)
      : i(b.input("i", {}, ir::DType::kInt32)),
        h(b.input("h", {2, 8})),
        x(b.input("x", {2, 8})),
        n(b.input("n", {}, ir::DType::kInt32)) {}
  ir::ValueId i, h, x, n;
};

using MakeValue = std::function<ir::ValueId(GraphBuilder&, const Operands&)>;

ir::ValueId less(GraphBuilder& b, const Operands& in) { return b.pointwise(P::kLess, {in.i, in.n}); }

ir::ValueId sum(GraphBuilder& b, ir::ValueId v) {
  return b.op(Op::kReduce, {v}, ir::ReduceAttrs{ir::ReduceKind::kSum, {0, 1}, false});
}

ir::Graph loop(ir::SubGraphsAttrs parts) {
  GraphBuilder b;
  const Operands in(b);
  const auto results = b.ops(Op::kWhile, {in.i, in.h, in.x, in.n}, 2, std::move(parts), "loop");
  return b.output(results[1]).build();
}

// while (condition) { i += 1; h = next; }
ir::Graph loop(const MakeValue& next, const MakeValue& condition = less) {
  ir::SubGraphsAttrs attrs;
  {
    GraphBuilder b;
    const Operands in(b);
    attrs.graphs.push_back(std::make_shared<const ir::Graph>(b.output(condition(b, in)).build()));
  }
  {
    GraphBuilder b;
    const Operands in(b);
    const auto h = next(b, in);
    attrs.graphs.push_back(
        std::make_shared<const ir::Graph>(b.output(b.add(in.i, b.scalar<int32_t>(1))).output(h).build()));
  }
  return loop(std::move(attrs));
}

struct Hoisted {
  ir::Graph graph;
  int changes = 0;
  const ir::Graph& part(size_t i) const { return *only(graph, Op::kWhile).get<ir::SubGraphsAttrs>().graphs.at(i); }
  size_t parts() const { return only(graph, Op::kWhile).get<ir::SubGraphsAttrs>().graphs.size(); }
};

Hoisted hoist(ir::Graph graph) {
  const Pass& pass = find_pass("HoistInvariants");
  auto result = pass.run(graph, {});
  EXPECT_TRUE(result.ok()) << result.status().message();
  expect_sound(graph);
  auto again = pass.run(graph, {});
  EXPECT_TRUE(again.ok() && again->changes == 0) << ir::to_string(graph);
  return {std::move(graph), result.ok() ? result->changes : -1};
}

ir::ValueId product(GraphBuilder& b, ir::ValueId x) {
  return b.pointwise(P::kExp, {b.matmul(x, b.constant<float>({8, 8}, ramp(64)))});
}

TEST(HoistInvariants, WhatDependsOnFixedOperandsIsComputedOnce) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) { return b.add(in.h, product(b, in.x)); }));
  EXPECT_EQ(made.changes, 1);
  ASSERT_EQ(made.parts(), 3u);
  EXPECT_EQ(count(made.part(1), Op::kMatMul), 0);
  EXPECT_EQ(made.part(1).inputs().size(), 5u);
  EXPECT_EQ(count(made.part(2), Op::kMatMul), 1);
  EXPECT_EQ(made.part(2).inputs().size(), 4u);
  EXPECT_EQ(made.part(2).outputs().size(), 1u);
}

TEST(HoistInvariants, WhatDependsOnVariablesStays) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) { return product(b, b.add(in.h, in.x)); }));
  EXPECT_EQ(made.changes, 0);
  EXPECT_EQ(made.parts(), 2u);
}

TEST(HoistInvariants, WhatStaysInTensorFlowIsComputedEachTime) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto y = b.op(Op::kForeign, {product(b, in.x)}, ir::ForeignAttrs{"RandomNormal", "not supported", true});
    b.graph().value(y).dtype = ir::DType::kFloat32;
    return b.add(in.h, b.relu(y));
  }));
  EXPECT_EQ(made.changes, 1);
  EXPECT_EQ(count(made.part(1), Op::kForeign), 1);
  EXPECT_EQ(count(made.part(1), P::kRelu), 1);
}

TEST(HoistInvariants, ShapesStayWhereInferenceFollowsThem) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    return b.op(Op::kReshape, {b.relu(in.h), b.shape_of(in.x)});
  }));
  EXPECT_EQ(made.changes, 0);
}

TEST(HoistInvariants, NumbersThatMayBeSizesStay) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto dims = b.op(Op::kPack, {b.add(in.n, in.n), b.scalar<int32_t>(8)}, ir::AxisAttrs{0});
    return b.op(Op::kReshape, {b.relu(in.h), dims});
  }));
  EXPECT_EQ(made.changes, 0);
}

// Nothing tells which they are before a run.
TEST(HoistInvariants, NumbersFromATableThatMayBeSizesStay) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto dims = b.op(Op::kGather, {b.constant<int32_t>({2, 2}, {2, 8, 8, 2}), in.n}, ir::GatherAttrs{0, 0});
    return b.op(Op::kReshape, {b.relu(in.h), dims});
  }));
  EXPECT_EQ(made.changes, 0);
}

TEST(HoistInvariants, NumbersOfUnknownRankStay) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto dims = b.op(Op::kRange, {b.scalar<int32_t>(1), in.n, b.scalar<int32_t>(1)});
    const auto rows = b.pointwise(P::kNeg, {b.op(Op::kReshape, {b.ints({0, -1}), dims})});
    return b.op(Op::kReshape, {b.op(Op::kGather, {in.h, rows}, ir::GatherAttrs{0, 0}), b.ints({2, 8})});
  }));
  EXPECT_EQ(made.changes, 1) << "the range, which is a vector of any length";
  EXPECT_EQ(count(made.part(1), P::kNeg), 1);
}

TEST(HoistInvariants, HoistedLoopsKeepTheirPreamble) {
  for (const bool more_in_body : {false, true}) {
    ir::SubGraphsAttrs attrs;
    for (const auto& part : {"condition", "body", "preamble"}) {
      GraphBuilder b;
      const Operands in(b);
      if (part == std::string_view("condition")) {
        const auto limit = more_in_body ? b.scalar(1.0f) : sum(b, b.relu(in.x));
        b.output(b.pointwise(P::kLess, {sum(b, in.h), limit}));
      } else if (part == std::string_view("body")) {
        const auto kept = b.add(in.h, b.input("kept", {2, 8}));
        b.output(b.add(in.i, b.scalar<int32_t>(1))).output(more_in_body ? b.add(kept, product(b, in.x)) : kept);
      } else {
        b.output(b.pointwise(P::kTanh, {in.x}));
      }
      attrs.graphs.push_back(std::make_shared<const ir::Graph>(b.build()));
    }
    const Hoisted made = hoist(loop(std::move(attrs)));
    EXPECT_EQ(made.changes, 0);
    ASSERT_EQ(made.parts(), 3u);
    EXPECT_EQ(count(made.part(2), P::kTanh), 1);
  }
}

TEST(HoistInvariants, LargeCopiesOfSmallTensorsStay) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto tiled = b.op(Op::kTile, {product(b, in.x), b.ints({100000, 1})});
    const auto sum =
        b.op(Op::kReduce, {b.add(tiled, b.op(Op::kReduce, {in.h}, ir::ReduceAttrs{ir::ReduceKind::kSum, {0}, true}))},
             ir::ReduceAttrs{ir::ReduceKind::kSum, {0}, true});
    return b.add(in.h, sum);
  }));
  EXPECT_EQ(made.changes, 1);
  ASSERT_EQ(made.parts(), 3u);
  EXPECT_EQ(count(made.part(1), Op::kTile), 1) << "three megabytes from 64 bytes";
  EXPECT_EQ(count(made.part(2), Op::kMatMul), 1);
}

TEST(HoistInvariants, ReadBothInsideAndOutsideIsKeptOnce) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) {
    const auto shared = product(b, in.x);
    return b.add(b.mul(in.h, shared), b.pointwise(P::kTanh, {shared}));
  }));
  EXPECT_EQ(made.changes, 2);
  ASSERT_EQ(made.parts(), 3u);
  EXPECT_EQ(count(made.part(2), Op::kMatMul), 1);
  EXPECT_EQ(count(made.part(1), Op::kMatMul), 0);
}

TEST(HoistInvariants, ConditionsAreAlwaysComputedAndSoMayBeBefore) {
  const Hoisted made = hoist(loop([](GraphBuilder& b, const Operands& in) { return b.add(in.h, in.x); },
                                  [](GraphBuilder& b, const Operands& in) {
                                    return b.pointwise(P::kLess, {sum(b, in.h), sum(b, b.relu(in.x))});
                                  }));
  EXPECT_EQ(made.changes, 1);
  EXPECT_EQ(count(made.graph, Op::kReduce), 1);
  EXPECT_EQ(count(made.part(0), Op::kReduce), 1);
  EXPECT_EQ(only(made.graph, Op::kWhile).inputs.size(), 5u);
}

}  // namespace
}  // namespace blade::passes
