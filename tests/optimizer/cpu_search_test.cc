// Tuning on the CPU: it ends in time, its choices hold, and what it measured once it takes from the cache.
#include "optimizer/cpu_search.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "optimizer/runners.h"
#include "support/graph_builder.h"

namespace blade::optimizer {
namespace {

using blade::testing::GraphBuilder;
namespace fs = std::filesystem;

std::vector<float> tuning_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = std::uniform_real_distribution<float>(-0.3f, 0.3f)(random);
  return values;
}

class CpuSearch : public ::testing::Test {
 protected:
  void SetUp() override {
    GraphBuilder b;
    auto y = b.input("x", {1, 16, 16, 32});
    for (uint32_t layer = 0; layer < 4; ++layer)
      y = b.relu(b.conv(y, b.constant<float>({3, 3, 32, 32}, tuning_values(9 * 32 * 32, layer))));
    graph_ = b.output(y, "y").build();
    engine::Region region;
    region.nodes = *graph_.topological_order();
    region.inputs = graph_.inputs();
    region.outputs = graph_.outputs();
    partition_.regions.push_back(region);
    feeds_ = {{{"x", blade::testing::tensor<float>({1, 16, 16, 32}, tuning_values(16 * 16 * 32, 9))}}};
    const auto plain = engine::Engine::create(graph_.clone(), {}, {});
    ASSERT_TRUE(plain.ok()) << plain.status().message();
    expected_ = {*make_engine_runner(*plain)->outputs(feeds_[0])};
    folder_ = fs::path(::testing::TempDir()) / ("cpu_search_" + std::to_string(getpid()));
    options_.cache_dir = folder_.string();
    options_.num_threads = 1;  // tests run beside others: two threads would find the machine busy
    options_.time_limit_s = 10;
  }
  void TearDown() override { fs::remove_all(folder_); }

  OptimizationStep tune(engine::Decisions& decisions) {
    const SearchInput input{graph_, partition_, feeds_, expected_, options_, [](int, const char*) { return false; }};
    OptimizationStep step{"tuning", StepStatus::kPassed, {}, {}, "", 0};
    const Status status = tune_on_cpu(input, decisions, step);
    EXPECT_TRUE(status.ok()) << status.message();
    return step;
  }

  ir::Graph graph_;
  engine::Partition partition_;
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;
  OptimizeOptions options_;
  fs::path folder_;
};

TEST_F(CpuSearch, ChoosesOnceAndRemembers) {
  engine::Decisions first, second;
  const OptimizationStep measured = tune(first);
  ASSERT_TRUE(measured.pre_run_ms) << measured.message;
  EXPECT_EQ(measured.changes, static_cast<int>(first.kernels.size()));
  EXPECT_EQ(first.figures.size(), first.kernels.size());
  EXPECT_TRUE(fs::exists(folder_ / "kernel_choices.json"));
  const OptimizationStep remembered = tune(second);
  EXPECT_FALSE(remembered.pre_run_ms);  // nothing was timed
  EXPECT_NE(remembered.message.find("known from earlier runs"), std::string::npos) << remembered.message;
  EXPECT_EQ(second.kernels, first.kernels);
}

TEST_F(CpuSearch, EndsInTime) {
  options_.cache_dir = "off";
  options_.time_limit_s = 0.1;  // of which tuning has a share; plans are made and run once in any case
  engine::Decisions decisions;
  const auto start = std::chrono::steady_clock::now();
  tune(decisions);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(CpuSearch, ChoicesThatBreakTheAnswersGo) {
  options_.cache_dir = "off";
  options_.accuracy.rtol = options_.accuracy.atol = 0;
  expected_[0][0] = feeds_[0][0].tensor;  // what no kernel computes
  engine::Decisions decisions;
  const OptimizationStep step = tune(decisions);
  EXPECT_TRUE(decisions.kernels.empty());
  EXPECT_EQ(step.changes, 0);
}

}  // namespace
}  // namespace blade::optimizer
