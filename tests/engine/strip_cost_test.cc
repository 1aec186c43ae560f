// What strips are predicted to bring to chains of made-up steps: which cache they are to stay in, and for how long.
#include "engine/strip_cost.h"

#include <gtest/gtest.h>

namespace blade::engine {
namespace {

using backends::KernelEntry;
using backends::KernelRequest;

double hundred_us(const KernelRequest&) { return 100; }

constexpr KernelEntry kOnTiles = {"cpu.test.tiles", ir::Op::kConv, nullptr, hundred_us,
                                  nullptr,          nullptr,       nullptr, backends::kOnTiles};
constexpr KernelEntry kOnVectors = {"cpu.test.not_amx_bf16", ir::Op::kConv, nullptr, hundred_us, nullptr};

// 1x1 convolutions in bfloat16 one behind the other, of 64 and 256 channels by turns.
struct Chain {
  std::vector<ir::Node> nodes;
  std::vector<std::shared_ptr<const StripStep>> steps;
  std::vector<StripRows> rows;

  Chain(const KernelEntry& entry, int64_t images, int64_t size, int count) : nodes(static_cast<size_t>(count)) {
    const auto desc = [&](int k) {
      return backends::TensorDesc{ir::DType::kBFloat16, {images, size, size, k % 2 == 0 ? 64 : 256}};
    };
    for (int k = 0; k < count; ++k) {
      ir::Node& node = nodes[static_cast<size_t>(k)];
      node.op = ir::Op::kConv;
      auto step = std::make_shared<StripStep>();
      KernelRequest request;
      request.node = &node;
      request.inputs = {desc(k)};
      request.outputs = {desc(k + 1)};
      step->requests = {request};
      step->entry = &entry;
      step->inputs = {k};
      step->output = k + 1;
      step->windows = {RowWindow()};
      step->input_descs = request.inputs;
      step->is_constant = {0};
      steps.push_back(std::move(step));
      rows.push_back({size, 1, 1, {}});
      if (k > 0) rows.back().reads = {{k - 1, RowWindow()}};
    }
  }

  Chain(Chain&&) = default;  // requests point at the nodes, which a move leaves where they are
  Chain(const Chain&) = delete;

  // Constants of the first step, as bfloat16.
  Chain with_weights(int64_t count) && {
    auto step = std::make_shared<StripStep>(*steps[0]);
    step->inputs.push_back(-1);
    step->windows.push_back({1, 1, 0, 1, /*all=*/true});
    step->input_descs.push_back({ir::DType::kBFloat16, {count}});
    step->is_constant.push_back(1);
    steps[0] = std::move(step);
    return std::move(*this);
  }

  std::optional<StripGain> gain(const backends::Machine& machine, int threads) const {
    return StripCostModel(machine, threads).gain(*strip_candidate(steps, rows));
  }
};

backends::Machine machine() {
  backends::Machine machine;
  machine.l2_bytes = size_t{2} << 20;
  machine.l3_bytes = size_t{256} << 20;
  machine.core_far_bytes_per_us = 27e3;
  machine.far_bytes_per_us = 54e3;
  return machine;
}

// What lies between the steps, 13 MB in all and 1.6 MB an image, leaves L2 and not the last cache.
TEST(StripCost, RowsOnTilesWantL2WhateverTheirName) {
  const auto on_tiles = Chain(kOnTiles, 8, 56, 4).gain(machine(), 2);
  ASSERT_TRUE(on_tiles.has_value());
  EXPECT_TRUE(on_tiles->by_images);
  EXPECT_LT(on_tiles->strip * 56 * (64 + 256) * 2, 2 << 20);
  EXPECT_FALSE(Chain(kOnVectors, 8, 56, 4).gain(machine(), 2).has_value());
}

TEST(StripCost, PartsOfOneImageGainNothingOnTiles) {
  EXPECT_FALSE(Chain(kOnTiles, 1, 160, 4).gain(machine(), 2).has_value());
  EXPECT_TRUE(Chain(kOnTiles, 2, 160, 4).gain(machine(), 2).has_value());
}

TEST(StripCost, WeightsAreReadAgainWhereL2HasNoRoomForThem) {
  const auto stay = Chain(kOnTiles, 8, 56, 4).with_weights(620'000).gain(machine(), 2);
  ASSERT_TRUE(stay.has_value());
  const Chain leave = Chain(kOnTiles, 8, 56, 4).with_weights(680'000);
  EXPECT_FALSE(leave.gain(machine(), 2).has_value());
  backends::Machine near = machine();  // where what lies behind L2 is as near as L2
  near.core_far_bytes_per_us = 60e3;
  EXPECT_TRUE(leave.gain(near, 2).has_value());
}

TEST(StripCost, OtherRowsWantWhatTheLastCacheHolds) {
  backends::Machine small = machine();
  small.l3_bytes = size_t{8} << 20;
  const auto gain = Chain(kOnVectors, 1, 224, 4).gain(small, 2);  // 26 MB between two steps
  ASSERT_TRUE(gain.has_value());
  EXPECT_TRUE(gain->by_parts);
  EXPECT_LT(gain->strip, 112);
  EXPECT_FALSE(Chain(kOnVectors, 1, 224, 4).gain(machine(), 2).has_value());
}

// Every row named so multiplies on tiles, and no other does.
TEST(StripCost, NamesOfRowsTellTheirUnit) {
  int on_tiles = 0;
  for (const auto table : {backends::cpu_kernels(), backends::cpu_fused_kernels()}) {
    for (const KernelEntry& row : table) {
      const bool named = std::string_view(row.name).find("_amx_") != std::string_view::npos;
      EXPECT_EQ(row.has(backends::kOnTiles), named) << row.name;
      on_tiles += named ? 1 : 0;
    }
  }
  EXPECT_GE(on_tiles, 10);
}

}  // namespace
}  // namespace blade::engine
