// Derived weights: their pages go when no run reads them, come back as they were, and nothing else is taken for them.
#include "engine/derived_constants.h"

#include <gtest/gtest.h>

#include "engine/test_graphs.h"

namespace blade::engine {
namespace {

using testing::GraphMaker;
using testing::random_tensor;

constexpr int64_t kRows = 200, kColumns = 100;  // 80 000 bytes

// x * w as imported, and as a pass left it: with another weight.
struct Case {
  ir::Graph source, graph;
  ir::ValueId weight = 0;
};

Case make_case(uint32_t seed) {
  std::mt19937 rng(seed);
  GraphMaker m;
  Case c;
  c.weight = m.constant(random_tensor(rng, {kRows, kColumns}));
  const auto y = m.node(ir::Op::kMatMul, "dense", {m.input("x", {-1, kRows}), c.weight}, ir::MatMulAttrs{});
  c.source = m.finish({y});
  c.graph = c.source.clone();
  c.graph.value(c.weight).constant = random_tensor(rng, {kRows, kColumns});
  return c;
}

std::vector<float> values(const ir::Graph& graph, ir::ValueId id) {
  const auto span = graph.value(id).constant->as<float>();
  return {span.begin(), span.end()};
}

TEST(DerivedConstants, GoAndComeBack) {
  Case c = make_case(1);
  const ir::Graph fresh = c.graph.clone();
  const std::vector<float> want = values(c.graph, c.weight);
  DerivedConstants derived(c.graph, c.source);
  EXPECT_GE(derived.bytes(), want.size() * 4);
  EXPECT_EQ(values(c.graph, c.weight), want);
  const std::byte* address = c.graph.value(c.weight).constant->data;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(address) % 64, 0u);
  derived.release(Plan());
  EXPECT_TRUE(derived.is_released());
  EXPECT_GE(derived.released_bytes(), want.size() * 4);
  ASSERT_TRUE(derived.restore(fresh));
  EXPECT_FALSE(derived.is_released());
  EXPECT_EQ(c.graph.value(c.weight).constant->data, address);
  EXPECT_EQ(values(c.graph, c.weight), want);
}

TEST(DerivedConstants, WhatRunsReadStays) {
  Case c = make_case(2);
  const std::vector<float> want = values(c.graph, c.weight);
  DerivedConstants derived(c.graph, c.source);
  Plan plan;
  plan.constants.push_back(c.graph.value(c.weight).constant);
  derived.release(plan);
  EXPECT_FALSE(derived.is_released());
  EXPECT_EQ(values(c.graph, c.weight), want);
}

TEST(DerivedConstants, TheFilesOwnWeightsAreNotCopied) {
  Case c = make_case(3);
  ir::Graph same = c.source.clone();
  DerivedConstants derived(same, c.source);
  EXPECT_EQ(derived.bytes(), 0u);
  EXPECT_EQ(same.value(c.weight).constant, c.source.value(c.weight).constant);
}

TEST(DerivedConstants, WeightsAtOddAddressesAreCopied) {
  Case c = make_case(4);
  std::vector<std::byte> file(kRows * kColumns * 4 + 64);
  const size_t odd = 1 + (64 - reinterpret_cast<uintptr_t>(file.data()) % 64) % 64;
  auto tensor = std::make_shared<ir::Tensor>(*c.source.value(c.weight).constant);
  std::memcpy(file.data() + odd, tensor->data, tensor->bytes);
  tensor->data = file.data() + odd;
  const std::vector<float> want = values(c.source, c.weight);
  c.source.value(c.weight).constant = tensor;
  ir::Graph graph = c.source.clone();
  DerivedConstants derived(graph, c.source);
  EXPECT_GT(derived.bytes(), 0u);
  EXPECT_EQ(values(graph, c.weight), want);
}

TEST(DerivedConstants, AnotherGraphIsNotTakenForTheSame) {
  Case c = make_case(5);
  const ir::Graph other = make_case(6).graph.clone();
  DerivedConstants derived(c.graph, c.source);
  derived.release(Plan());
  EXPECT_FALSE(derived.restore(other));
  for (const ir::Dims& dims : {ir::Dims{kColumns, kRows}, ir::Dims{kRows + 1, kColumns}}) {
    ir::Graph reshaped = c.source.clone();
    std::mt19937 rng(5);
    reshaped.value(c.weight).constant = random_tensor(rng, dims);
    EXPECT_FALSE(derived.restore(reshaped));
  }
  EXPECT_FALSE(derived.restore(ir::Graph()));
  EXPECT_TRUE(derived.is_released());
}

}  // namespace
}  // namespace blade::engine
