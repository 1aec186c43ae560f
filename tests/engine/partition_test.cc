// Partitioning: no cycles between regions, source nodes undivided, named boundaries, and a reason for all that stays.
#include "engine/partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "engine/coverage.h"
#include "engine/test_graphs.h"

namespace blade::engine {
namespace {

using ir::PointwiseOp;
using testing::GraphMaker;
using testing::int_tensor;

const PartitionOptions kTiny = {1, 0};

std::set<std::string> names(const ir::Graph& graph, const Region& region) {
  std::set<std::string> out;
  for (ir::NodeId id : region.nodes) out.insert(graph.node(id).name);
  return out;
}

std::string reason_of(const Partition& partition, const std::string& node) {
  for (const LeftBehind& left : partition.left_behind) {
    if (left.node == node) return left.reason;
  }
  return "";
}

// What a Switch hands to its two branches.
std::vector<ir::ValueId> branches_of_switch(GraphMaker& m, const std::string& name, ir::ValueId data,
                                            ir::ValueId predicate) {
  const std::vector<ir::ValueId> branches =
      m.graph.add_node(ir::Op::kForeign, name, {data, predicate}, 2, ir::ForeignAttrs{"Switch", "control flow", false})
          .outputs;
  for (size_t i = 0; i < branches.size(); ++i) {
    m.graph.value(branches[i]).name = ir::concat(name, ":", i);
    m.graph.value(branches[i]).dtype = ir::DType::kFloat32;
  }
  return branches;
}

// Contracting each region to one node leaves no cycle; boundaries are named; every region can be extracted.
void expect_sound(const ir::Graph& graph, const Partition& partition) {
  std::map<ir::NodeId, int> region_of;
  std::map<int32_t, std::set<int>> regions_of_origin;
  for (size_t r = 0; r < partition.regions.size(); ++r) {
    for (ir::NodeId id : partition.regions[r].nodes) {
      EXPECT_TRUE(region_of.emplace(id, static_cast<int>(r)).second);
      EXPECT_NE(graph.node(id).op, ir::Op::kForeign);
    }
  }
  const int regions = static_cast<int>(partition.regions.size());
  const auto piece = [&](ir::NodeId id) { return region_of.count(id) ? region_of[id] : regions + id; };
  std::map<int, std::set<int>> successors;
  std::map<int, int> waiting;
  for (ir::NodeId id = 0; id < graph.num_node_slots(); ++id) {
    if (!graph.is_live(id)) continue;
    waiting.try_emplace(piece(id), 0);
    regions_of_origin[graph.node(id).origin].insert(region_of.count(id) ? region_of[id] : -1);
    for (ir::ValueId v : graph.node(id).inputs) {
      const ir::NodeId p = graph.value(v).producer;
      if (p != ir::kNone && piece(p) != piece(id) && successors[piece(p)].insert(piece(id)).second)
        ++waiting[piece(id)];
    }
  }
  std::vector<int> ready;
  for (const auto& [p, count] : waiting) {
    if (count == 0) ready.push_back(p);
  }
  size_t done = 0;
  for (; !ready.empty(); ++done) {
    const int p = ready.back();
    ready.pop_back();
    for (int s : successors[p]) {
      if (--waiting[s] == 0) ready.push_back(s);
    }
  }
  EXPECT_EQ(done, waiting.size()) << "a cycle between regions";
  for (const auto& [origin, where] : regions_of_origin) {
    if (origin == ir::kNone) continue;
    EXPECT_EQ(where.size(), 1u) << "origin " << origin << " is divided";
  }
  for (const Region& region : partition.regions) {
    for (ir::ValueId v : region.inputs) EXPECT_FALSE(boundary_name(graph, v).empty());
    for (ir::ValueId v : region.outputs) EXPECT_FALSE(boundary_name(graph, v).empty());
    EXPECT_FALSE(region.outputs.empty());
    auto extracted = extract_region(graph, region);
    ASSERT_TRUE(extracted.ok()) << extracted.status().message();
    EXPECT_EQ(extracted->inputs().size(), region.inputs.size());
    const Status status = ir::verify(*extracted);
    EXPECT_TRUE(status.ok()) << status.message();
  }
}

TEST(Partition, WithoutForeignNodesAllIsOneRegion) {
  const ir::Graph graph = testing::small_cnn();
  auto p = partition(graph);
  ASSERT_TRUE(p.ok());
  ASSERT_EQ(p->regions.size(), 1u);
  EXPECT_TRUE(p->left_behind.empty());
  EXPECT_EQ(p->regions[0].inputs, graph.inputs());
  EXPECT_EQ(p->regions[0].outputs, graph.outputs());
  EXPECT_GT(p->regions[0].flops, 1000);
  expect_sound(graph, *p);
}

// a -> foreign -> c and a -> b -> c: a, b may be together, c may not join them.
TEST(Partition, DiamondThroughAForeignNodeMakesNoCycle) {
  GraphMaker m;
  const auto a = m.unary(PointwiseOp::kExp, "a", m.input("x", {-1, 8}));
  const auto f = m.foreign("f", {a});
  const auto b = m.unary(PointwiseOp::kRelu, "b", a);
  const auto c =
      m.node(ir::Op::kPointwise, "c", {b, f}, ir::PointwiseAttrs{ir::PointwiseProgram::binary(PointwiseOp::kAdd)});
  m.graph.value(f).shape = ir::Shape::of(ir::Dims{4, 8});
  const ir::Graph graph = m.finish({c});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  ASSERT_EQ(p->regions.size(), 2u);
  EXPECT_EQ(names(graph, p->regions[0]), (std::set<std::string>{"a", "b"}));
  EXPECT_EQ(names(graph, p->regions[1]), (std::set<std::string>{"c"}));
  EXPECT_EQ(reason_of(*p, "f"), "op 'PyFunc' is not supported");
  ASSERT_EQ(p->left_behind.size(), 1u);
  EXPECT_EQ(p->left_behind[0].op, "PyFunc");
}

// A foreign node beside the chain that needs nothing from it does not cut the chain.
TEST(Partition, AForeignSideInputDoesNotDivide) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 8});
  const auto f = m.foreign("f", {m.input("side", {-1, 8})});
  auto y = m.unary(PointwiseOp::kExp, "a", x);
  y = m.unary(PointwiseOp::kRelu, "b", y);
  y = m.binary(PointwiseOp::kAdd, "c", y, f);
  y = m.unary(PointwiseOp::kTanh, "d", y);
  const ir::Graph graph = m.finish({y});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  ASSERT_EQ(p->regions.size(), 1u);
  EXPECT_EQ(p->regions[0].nodes.size(), 4u);
}

TEST(Partition, NodesOfOneSourceNodeStayTogether) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 8});
  const auto a = m.unary(PointwiseOp::kExp, "a", x);
  // "gelu" lowered to two nodes with an unnamed value between, of which one is foreign.
  ir::Node& part = m.graph.add_node(ir::Op::kPointwise, "gelu/part", {a}, 1,
                                    ir::PointwiseAttrs{ir::PointwiseProgram::unary(PointwiseOp::kErf)});
  part.origin = 77;
  const ir::ValueId hidden = part.outputs[0];
  ir::Node& main = m.graph.add_node(ir::Op::kForeign, "gelu", {hidden}, 1,
                                    ir::ForeignAttrs{"Gelu", "half of it is not supported", false});
  main.origin = 77;
  const ir::ValueId out = main.outputs[0];
  m.graph.value(out).name = "gelu:0";
  m.graph.value(out).dtype = ir::DType::kFloat32;
  const auto z = m.unary(PointwiseOp::kRelu, "z", out);
  const ir::Graph graph = m.finish({z});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  EXPECT_EQ(p->regions.size(), 2u);
  ASSERT_EQ(p->left_behind.size(), 1u);
  EXPECT_EQ(p->left_behind[0].node, "gelu");
  EXPECT_EQ(p->left_behind[0].reason, "half of it is not supported");
}

TEST(Partition, SmallRegionsAreDissolvedWithTheReason) {
  GraphMaker m;
  auto y = m.foreign("f1", {m.input("x", {-1, 8})});
  y = m.unary(PointwiseOp::kRelu, "lonely", y);
  y = m.foreign("f2", {y});
  const ir::Graph graph = m.finish({y});
  auto p = partition(graph);
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p->regions.empty());
  EXPECT_EQ(reason_of(*p, "lonely"), "region of 1 node is too small to pay its hand-over");
  EXPECT_EQ(p->left_behind.size(), 3u);
}

TEST(Partition, ShapeArithmeticJoinsItsNeighbours) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 4, 6});
  const auto shape = m.node(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{});
  const auto batch = m.node(ir::Op::kSlice, "batch", {shape, m.constant(int_tensor({0})), m.constant(int_tensor({1}))});
  const auto target = m.node(ir::Op::kConcat, "target", {batch, m.constant(int_tensor({24}))}, ir::AxisAttrs{0});
  const auto y = m.node(ir::Op::kReshape, "flat", {m.unary(PointwiseOp::kExp, "exp", x), target});
  const ir::Graph graph = m.finish({m.unary(PointwiseOp::kRelu, "relu", y)});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  ASSERT_EQ(p->regions.size(), 1u);
  EXPECT_EQ(p->regions[0].nodes.size(), 6u);
  EXPECT_EQ(p->regions[0].inputs, graph.inputs());
}

TEST(Partition, ShapesThatDependOnDataAreTakenIn) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 24});
  const auto size = m.foreign("size", {x}, "PyFunc", ir::DType::kInt32);
  m.graph.value(size).shape = ir::Shape::of(ir::Dims{2});
  auto y = m.node(ir::Op::kReshape, "flat", {m.unary(PointwiseOp::kExp, "exp", x), size});
  y = m.unary(PointwiseOp::kRelu, "relu", y);
  const ir::Graph graph = m.finish({y});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  EXPECT_EQ(reason_of(*p, "flat"), "");
  EXPECT_EQ(p->regions.size(), 1u);
}

TEST(Partition, OpaqueTensorsNeverEnter) {
  GraphMaker m;
  const auto text = m.foreign("text", {m.input("x", {-1, 8})}, "AsString", ir::DType::kOpaque);
  const auto copy = m.node(ir::Op::kIdentity, "copy", {text}, ir::IdentityAttrs{});
  const ir::Graph graph = m.finish({copy});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  EXPECT_TRUE(p->regions.empty());
  EXPECT_NE(reason_of(*p, "copy").find("only the source framework knows"), std::string::npos);
}

// A branch of a conditional is dead when it is not taken: it must not take what stands outside with it.
TEST(Partition, BranchesOfAConditionalKeepToThemselves) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 8});
  const auto pred = m.input("pred", {}, ir::DType::kBool);
  const auto outside = m.unary(PointwiseOp::kExp, "outside", x);
  const auto arms = branches_of_switch(m, "switch", outside, pred);
  // The true arm also reads a tensor from outside directly.
  const auto yes = m.binary(PointwiseOp::kAdd, "yes", arms[1], outside);
  const auto no = m.unary(PointwiseOp::kRelu, "no", arms[0]);
  const auto merged = m.foreign("merge", {no, yes}, "Merge");
  const auto after = m.binary(PointwiseOp::kMul, "after", merged, outside);
  const ir::Graph graph = m.finish({after});
  auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  for (const Region& region : p->regions) {
    const auto in = names(graph, region);
    EXPECT_EQ(in.size(), 1u) << *in.begin();
  }
  EXPECT_EQ(p->regions.size(), 4u);
}

// What an arm alone reads may be read behind the merge, too: it must not die with the arm. Behind the merge all is
// alive.
TEST(Partition, WhatStandsOutsideJoinsWhatIsBehindTheMergeAndNoArm) {
  GraphMaker m;
  const auto pred = m.input("pred", {}, ir::DType::kBool);
  const auto side = m.unary(PointwiseOp::kTanh, "side", m.input("y", {-1, 8}));
  const auto arms = branches_of_switch(m, "switch", m.input("x", {-1, 8}), pred);
  const auto yes = m.binary(PointwiseOp::kAdd, "yes", arms[1], side);
  const auto no = m.unary(PointwiseOp::kRelu, "no", arms[0]);
  const auto after = m.binary(PointwiseOp::kMul, "after", m.foreign("merge", {no, yes}, "Merge"),
                              m.unary(PointwiseOp::kExp, "late", m.input("z", {-1, 8})));
  const ir::Graph graph = m.finish({m.binary(PointwiseOp::kSub, "last", after, side)});
  const auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  expect_sound(graph, *p);
  std::set<std::set<std::string>> regions;
  for (const Region& region : p->regions) regions.insert(names(graph, region));
  EXPECT_TRUE(regions.contains({"yes"}));
  EXPECT_TRUE(regions.contains({"no"}));
  EXPECT_TRUE(regions.contains({"late", "after", "last"}));
}

TEST(Partition, ViewsAndQuestionsAboutShapesAreNoWork) {
  const auto regions = [](const PartitionOptions& options) {
    GraphMaker m;
    const auto x = m.foreign("f", {m.input("x", {10, 100})});
    m.graph.value(x).shape = ir::Shape::of(ir::Dims{10, 100});
    const auto y = m.node(ir::Op::kIdentity, "view", {m.unary(PointwiseOp::kExp, "exp", x)}, ir::IdentityAttrs{});
    const auto shape = m.node(ir::Op::kShapeOf, "shape", {y}, ir::ShapeOfAttrs{});
    return partition(m.finish({m.foreign("g", {y}), m.foreign("h", {shape})}), options)->regions.size();
  };
  EXPECT_EQ(regions({.min_nodes = 1, .min_flops = 1e9}), 1u);
  EXPECT_EQ(regions({.min_nodes = 2, .min_flops = 1e9}), 0u);
  EXPECT_EQ(regions({.min_nodes = 2, .min_flops = 100}), 1u);  // much of it in one node
}

TEST(Partition, OnlyShapeArithmeticIsLeft) {
  // `make` adds nodes on a shape of three numbers.
  const auto reason = [](const PartitionOptions& options, const auto& make) {
    GraphMaker m;
    const auto x = m.foreign("f", {m.input("x", {-1, 4, 6})});
    m.graph.value(x).shape = m.graph.value(m.graph.inputs()[0]).shape;
    const auto shape = m.node(ir::Op::kShapeOf, "shape", {x}, ir::ShapeOfAttrs{});
    const ir::ValueId y = make(m, shape);
    const ir::Graph graph = m.finish({m.foreign("g", {y})});
    return reason_of(*partition(graph, options), "shape");
  };
  const auto total = [](GraphMaker& m, ir::ValueId shape) {
    return m.node(ir::Op::kReduce, "total", {shape}, ir::ReduceAttrs{ir::ReduceKind::kProd, {0}, true});
  };
  const auto spread = [](GraphMaker& m, ir::ValueId v) {
    return m.node(ir::Op::kBroadcastTo, "spread", {v, m.constant(int_tensor({100, 3}))});
  };
  const PartitionOptions large = {.min_nodes = 1, .min_flops = 1e9};
  EXPECT_EQ(reason(large, total), "region of only shape arithmetic on integers: nothing to make faster");
  EXPECT_EQ(reason(kTiny, total), "");
  const auto to_float = [&](GraphMaker& m, ir::ValueId shape) {
    return m.node(ir::Op::kCast, "cast", {total(m, shape)}, ir::CastAttrs{ir::DType::kFloat32});
  };
  EXPECT_EQ(reason(large, to_float), "");
  EXPECT_EQ(reason(large, spread), "");  // many integers
  const auto there_and_back = [&](GraphMaker& m, ir::ValueId shape) {
    return m.node(ir::Op::kReduce, "sum", {spread(m, shape)}, ir::ReduceAttrs{ir::ReduceKind::kSum, {0, 1}, false});
  };
  EXPECT_EQ(reason(large, there_and_back), "");
  const auto of_many_integers = [&](GraphMaker& m, ir::ValueId shape) {
    const auto many = m.foreign("many", {}, "PyFunc", ir::DType::kInt32);
    m.graph.value(many).shape = ir::Shape::of(ir::Dims{1000});
    return m.binary(PointwiseOp::kAdd, "both", total(m, shape),
                    m.node(ir::Op::kReduce, "sum", {many}, ir::ReduceAttrs{ir::ReduceKind::kSum, {0}, true}));
  };
  EXPECT_EQ(reason(large, of_many_integers), "");
  const auto as_many_as_a_run_tells = [&](GraphMaker& m, ir::ValueId shape) {
    return m.node(ir::Op::kWhere, "where",
                  {m.binary(PointwiseOp::kLess, "less", shape, m.constant(int_tensor({5, 5, 5})))});
  };
  EXPECT_EQ(reason(large, as_many_as_a_run_tells), "");
}

TEST(Partition, WhatMustRunBeforeIsListedOnce) {
  GraphMaker m;
  const auto f = m.foreign("f", {m.input("x", {-1, 8})});
  const auto a = m.unary(PointwiseOp::kExp, "a", m.input("y", {-1, 8})), b = m.unary(PointwiseOp::kTanh, "b", a);
  const ir::NodeId before = m.graph.value(f).producer, first = m.graph.value(a).producer;
  m.graph.node(first).control_inputs = {before};
  m.graph.node(m.graph.value(b).producer).control_inputs = {before, first};
  const ir::Graph graph = m.finish({b, f});
  const auto p = partition(graph, kTiny);
  ASSERT_TRUE(p.ok());
  ASSERT_EQ(p->regions.size(), 1u);
  EXPECT_EQ(p->regions[0].control_inputs, std::vector<ir::NodeId>{before});
}

ir::Graph random_graph(std::mt19937& rng, int nodes, int foreign_percent) {
  GraphMaker m;
  std::vector<ir::ValueId> values = {m.input("x", {-1, 8}), m.input("y", {-1, 8})};
  const auto pick = [&] { return values[values.size() - 1 - rng() % std::min<size_t>(values.size(), 12)]; };
  for (int i = 0; i < nodes; ++i) {
    const std::string name = ir::concat("n", i);
    if (static_cast<int>(rng() % 100) < foreign_percent) {
      values.push_back(m.foreign(name, {pick(), pick()}));
    } else if (foreign_percent > 0 && rng() % 12 == 0) {
      const ir::ValueId data = pick(), predicate = pick();
      for (const ir::ValueId arm : branches_of_switch(m, name, data, predicate)) values.push_back(arm);
    } else if (rng() % 6 == 0) {
      // One source node lowered to two nodes.
      ir::Node& first = m.graph.add_node(ir::Op::kPointwise, name + "/part", {pick()}, 1,
                                         ir::PointwiseAttrs{ir::PointwiseProgram::unary(PointwiseOp::kTanh)});
      first.origin = 100000 + i;
      const ir::ValueId hidden = first.outputs[0];
      ir::Node& second = m.graph.add_node(ir::Op::kPointwise, name, {hidden, pick()}, 1,
                                          ir::PointwiseAttrs{ir::PointwiseProgram::binary(PointwiseOp::kAdd)});
      second.origin = 100000 + i;
      m.graph.value(second.outputs[0]).name = name + ":0";
      values.push_back(second.outputs[0]);
    } else if (rng() % 2 == 0) {
      values.push_back(m.unary(PointwiseOp::kRelu, name, pick()));
    } else {
      values.push_back(m.binary(PointwiseOp::kAdd, name, pick(), pick()));
    }
  }
  return m.finish({values.back(), values[values.size() - 2]});
}

TEST(Coverage, SaysWhatStaysBehindCosts) {
  GraphMaker m;
  const auto x = m.input("x", {-1, 100});
  const auto a = m.unary(PointwiseOp::kRelu, "a", x);
  const auto f = m.foreign("f", {a});
  m.graph.value(f).dtype = ir::DType::kFloat32;
  m.graph.value(f).shape = m.graph.value(x).shape;
  const ir::Graph graph = m.finish({m.unary(PointwiseOp::kRelu, "b", f)});
  const auto divided = partition(graph, kTiny);
  ASSERT_TRUE(divided.ok());
  const Coverage all = measure_coverage(graph, *divided, {{10, 100}});
  EXPECT_EQ(all.flops_left, 0);
  EXPECT_EQ(all.boundary_bytes, 2 * 10 * 100 * 4);  // a to f, f to b
  ASSERT_EQ(all.left_flops.size(), 1u);
  EXPECT_FALSE(all.left_flops[0].has_value());  // only TensorFlow knows
  const auto none = partition(graph, {.min_nodes = 9, .min_flops = 1e9});
  const Coverage left = measure_coverage(graph, *none, {{10, 100}});
  EXPECT_EQ(left.flops_left, left.flops);
  EXPECT_EQ(left.boundary_bytes, 0);
  EXPECT_EQ(none->left_behind.size(), 3u);
}

TEST(Partition, RandomGraphsAreSound) {
  std::mt19937 rng(17);
  for (int round = 0; round < 150; ++round) {
    const ir::Graph graph = random_graph(rng, 5 + static_cast<int>(rng() % 60), static_cast<int>(rng() % 40));
    auto p = partition(graph, kTiny);
    ASSERT_TRUE(p.ok()) << p.status().message();
    expect_sound(graph, *p);
    size_t inside = 0;
    for (const Region& region : p->regions) inside += region.nodes.size();
    EXPECT_TRUE(inside > 0 || !p->left_behind.empty());
  }
}

TEST(Partition, ThousandsOfNodesTakeNoTime) {
  std::mt19937 rng(19);
  for (int foreign_percent : {1, 10, 50}) {
    const ir::Graph graph = random_graph(rng, 3000, foreign_percent);
    const auto start = std::chrono::steady_clock::now();
    auto p = partition(graph, kTiny);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(p.ok());
    expect_sound(graph, *p);
    EXPECT_LT(took.count(), 5.0);  // well under one second in a release build
    ::testing::Test::RecordProperty(ir::concat("partition_ms_", foreign_percent),
                                    static_cast<int>(took.count() * 1000));
  }
}

}  // namespace
}  // namespace blade::engine
