// Tuning on the CPU: it ends in time, its choices hold, and what it measured once it takes from the cache.
#include "optimizer/cpu_search.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "backends/machine.h"
#include "engine/kernel_choice.h"
#include "optimizer/choice_cache.h"
#include "optimizer/host_work.h"
#include "optimizer/runners.h"
#include "optimizer/search.h"
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

constexpr const char* kTooBusy = "the machine was too busy to tell, so that nothing is remembered";

class CpuSearch : public ::testing::Test {
 protected:
  void SetUp() override {
    build({1, 16, 16, 32}, 4);
    feed(16);
    folder_ = fs::path(::testing::TempDir()) / ("cpu_search_" + std::to_string(getpid()));
    options_.cache_dir = folder_.string();
    options_.num_threads = 1;  // tests run beside others: two threads would find the machine busy
    options_.time_limit_s = 10;
  }
  void TearDown() override { fs::remove_all(folder_); }

  void build(const std::vector<int64_t>& dims, uint32_t layers) {
    GraphBuilder b;
    auto y = b.input("x", dims);
    for (uint32_t layer = 0; layer < layers; ++layer)
      y = b.relu(b.conv(y, b.constant<float>({3, 3, 32, 32}, tuning_values(9 * 32 * 32, layer))));
    graph_ = b.output(y, "y").build();
    engine::Region region;
    region.nodes = *graph_.topological_order();
    region.inputs = graph_.inputs();
    region.outputs = graph_.outputs();
    partition_.regions = {region};
    feeds_.clear();
    expected_.clear();
  }
  // Another feed, of this height and width.
  void feed(int64_t size) {
    const std::vector<float> values = tuning_values(static_cast<size_t>(size * size * 32), 9);
    feeds_.push_back({{"x", blade::testing::tensor<float>({1, size, size, 32}, values)}});
    const auto plain = engine::Engine::create(graph_.clone(), {}, {});
    ASSERT_TRUE(plain.ok()) << plain.status().message();
    expected_.push_back(*make_engine_runner(*plain)->outputs(feeds_.back()));
  }

  OptimizationStep tune(engine::Decisions& decisions) {
    const SearchInput input{graph_, partition_, feeds_, expected_, options_, progress_};
    OptimizationStep step{"tuning", StepStatus::kPassed, {}, {}, "", 0};
    const Status status = tune_on_cpu(input, decisions, step, probe_);
    EXPECT_TRUE(status.ok()) << status.message();
    return step;
  }

  ir::Graph graph_;
  engine::Partition partition_;
  std::vector<Feed> feeds_;
  std::vector<std::vector<ir::TensorPtr>> expected_;
  OptimizeOptions options_;
  BusyProbe probe_ = is_busy;
  std::function<bool(int, const char*)> progress_ = [](int, const char*) { return false; };
  fs::path folder_;

  fs::path cache_file() const { return folder_ / "kernel_choices.json"; }
  // Of the work that the cache knows with an output of this height and width; 0 for none.
  double cached_static_us(int64_t size) const {
    std::ifstream file(cache_file());
    const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    const std::string output = "-> f32[1," + std::to_string(size) + "," + std::to_string(size) + ",32]";
    if (!json.contains("machines")) return 0;
    for (const auto& [machine, works] : json["machines"].items()) {
      for (const auto& [signature, entry] : works.items()) {
        if (signature.starts_with("Conv") && signature.find(output) != std::string::npos) return entry["static_us"];
      }
    }
    return 0;
  }
};

TEST_F(CpuSearch, ChoosesOnceAndRemembers) {
  engine::Decisions first, second;
  const OptimizationStep measured = tune(first);
  ASSERT_TRUE(measured.pre_run_ms) << measured.message;
  EXPECT_EQ(measured.changes, static_cast<int>(first.kernels.size()));
  EXPECT_EQ(first.figures.size(), first.kernels.size());
  if (!fs::exists(cache_file())) GTEST_SKIP() << kTooBusy;
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

class CpuSearchOnABusyMachine : public CpuSearch {
 protected:
  void SetUp() override {
    CpuSearch::SetUp();
    options_.time_limit_s = 200;
    build({1, -1, -1, 32}, 2);
    feed(8);
  }
  // Puts another choice than the static one into the cache for the works of the first feed: those choices.
  std::map<std::string, std::string> know_first_feed() {
    const SearchInput input{graph_, partition_, feeds_, expected_, options_, progress_};
    const auto plan = (*region_engine(input, {}))->trial_plan(shapes_of(feeds_[0]), {});
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    ChoiceCache cache(options_.cache_dir, engine::machine_signature(nullptr, options_.num_threads));
    std::map<std::string, std::string> known;
    for (const engine::Step& step : (*plan)->steps) {
      std::vector<std::string> rows;
      std::copy_if(step.alternatives.begin(), step.alternatives.end(), std::back_inserter(rows),
                   [](const std::string& one) { return one.find(' ') == std::string::npos; });
      const auto other = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row != step.choice; });
      if (step.alternatives.size() < 2 || other == rows.end()) continue;
      known[step.signature] = *other;
      cache.put(step.signature, rows, {*other, {step.choice, 100, 50}});
    }
    cache.write();
    EXPECT_FALSE(known.empty());
    return known;
  }
};

TEST_F(CpuSearchOnABusyMachine, WhatTheCacheKnowsStays) {
  const auto known = know_first_feed();
  feed(16);
  probe_ = [](ThreadPool&) { return true; };
  engine::Decisions decisions;
  const OptimizationStep step = tune(decisions);
  for (const auto& [signature, choice] : known) EXPECT_EQ(decisions.kernels[signature], choice) << signature;
  EXPECT_EQ(step.changes, static_cast<int>(known.size()));
  EXPECT_EQ(step.status, StepStatus::kEffective);
  EXPECT_FALSE(step.pre_run_ms);  // nothing was timed
  EXPECT_NE(step.message.find("known from earlier runs; other processes take"), std::string::npos) << step.message;
}

TEST_F(CpuSearchOnABusyMachine, WhatEarlierFeedsDecidedStays) {
  feed(16);
  feed(24);
  probe_ = [probes = 0](ThreadPool&) mutable { return ++probes == 4; };  // two a feed: behind the second
  engine::Decisions decisions;
  const OptimizationStep step = tune(decisions);
  EXPECT_NE(step.message.find("what was not measured before"), std::string::npos) << step.message;
  EXPECT_TRUE(step.pre_run_ms);  // of the first feed
  for (const int64_t dropped : {16, 24}) EXPECT_EQ(cached_static_us(dropped), 0) << dropped;
  for (const auto& [signature, choice] : decisions.kernels)
    EXPECT_NE(signature.find("[1,8,8,32]"), std::string::npos) << signature;
  if (cached_static_us(8) == 0) GTEST_SKIP() << kTooBusy;
}

// What a feed decided stays, with the times of its own shapes.
TEST_F(CpuSearch, EachFeedDecidesForItsOwnShapes) {
  options_.time_limit_s = 200;  // every trial in time
  for (const auto& sizes : {std::pair(8, 40), std::pair(40, 8)}) {
    fs::remove_all(folder_);
    build({1, -1, -1, 32}, 2);
    feed(sizes.first);
    feed(sizes.second);
    engine::Decisions decisions;
    const OptimizationStep step = tune(decisions);
    ASSERT_TRUE(step.pre_run_ms) << step.message;
    const double small = cached_static_us(8), large = cached_static_us(40);
    if (small == 0 || large == 0) GTEST_SKIP() << kTooBusy;
    EXPECT_GT(large, 4 * small);  // 25 times the work
  }
}

TEST_F(CpuSearch, WhatWasNotMeasuredIsNotRemembered) {
  options_.time_limit_s = 1e-6;
  engine::Decisions decisions;
  tune(decisions);
  EXPECT_FALSE(fs::exists(cache_file()));
  options_.time_limit_s = 10;
  for (int calls : {1, 3, 6}) {
    progress_ = [calls](int, const char*) mutable { return --calls <= 0; };
    tune(decisions);
    EXPECT_FALSE(fs::exists(cache_file())) << calls;
  }
}

TEST_F(CpuSearch, ChoicesThatBreakTheAnswersGo) {
  options_.accuracy.rtol = options_.accuracy.atol = 0;
  expected_[0][0] = feeds_[0][0].tensor;  // what no kernel computes
  engine::Decisions decisions;
  const OptimizationStep step = tune(decisions);
  EXPECT_TRUE(decisions.kernels.empty());
  EXPECT_EQ(step.changes, 0);
  EXPECT_EQ(step.pre_run_ms, step.post_run_ms);  // of what is left
  EXPECT_FALSE(fs::exists(cache_file()));
}

// A convolution that F(4x4, 3x3) takes.
class CpuSearchInBfloat16 : public CpuSearch {
 protected:
  void SetUp() override {
    if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
    CpuSearch::SetUp();
    build({1, 16, 16, 32}, 2);  // the last also casts
    std::vector<float> values(16 * 16 * 32, 0);
    values.front() = 1;  // nearly nothing, of which nearly nothing is lost
    values.back() = -1;
    feeds_.push_back({{"x", blade::testing::tensor<float>({1, 16, 16, 32}, values)}});
    expected_.push_back(answers(feeds_[0], {}));
    decisions_.precision = "bf16";
    options_.precision = "bf16";
    options_.accuracy.rtol = 0;
    find_step();
  }

  std::vector<ir::TensorPtr> answers(const Feed& feed, const engine::Decisions& decisions) {
    return *make_engine_runner(engine_with(decisions))->outputs(feed);
  }
  double largest_error(const Feed& feed, const engine::Decisions& decisions) {
    const ir::TensorPtr want = answers(feed, {})[0], got = answers(feed, decisions)[0];
    double largest = 0;
    for (int64_t i = 0; i < want->element_count(); ++i)
      largest = std::max(largest, std::fabs(double{reinterpret_cast<const float*>(want->data)[i]} -
                                            reinterpret_cast<const float*>(got->data)[i]));
    return largest;
  }
  engine::Decisions coarse() const {
    engine::Decisions decisions = decisions_;
    decisions.kernels[signature_] = kCoarse;
    return decisions;
  }
  ChoiceCache cache() const { return {options_.cache_dir, engine::machine_signature(nullptr, options_.num_threads)}; }
  // What tuning makes of a coarse row that the cache knows as the faster one, with this tolerance. It knows all other
  // work, too, so that nothing is timed.
  engine::Decisions keep_coarse(double tolerance) {
    ChoiceCache known = cache();
    for (const auto& [signature, work] : others_) known.put(signature, work.second, {work.first, {work.first, 50, 50}});
    known.put(signature_, rows_, {kCoarse, {static_choice_, 100, 50}});
    known.write();
    options_.accuracy.atol = tolerance / 20;  // it counts twenty times
    engine::Decisions decisions = decisions_;
    message_ = tune(decisions).message;
    return decisions;
  }

  bool keeps_coarse(double tolerance) {
    const engine::Decisions kept = keep_coarse(tolerance);
    return kept.kernels.contains(signature_) && kept.kernels.at(signature_) == kCoarse;
  }

  static constexpr const char* kCoarse = "cpu.conv.winograd43_bf16";
  engine::Decisions decisions_;
  std::string signature_, static_choice_, message_;
  std::vector<std::string> rows_;
  std::map<std::string, std::pair<std::string, std::vector<std::string>>> others_;  // work: static choice, rows

 private:
  std::shared_ptr<engine::Engine> engine_with(const engine::Decisions& decisions) {
    const SearchInput input{graph_, partition_, feeds_, expected_, options_, progress_};
    return *region_engine(input, decisions);
  }
  void find_step() {
    const auto plan = engine_with(decisions_)->trial_plan(shapes_of(feeds_[0]), decisions_);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    for (const engine::Step& step : (*plan)->steps) {
      const auto& all = step.alternatives;
      std::vector<std::string> rows;
      std::copy_if(all.begin(), all.end(), std::back_inserter(rows),
                   [](const std::string& one) { return one.find(' ') == std::string::npos; });
      others_[step.signature] = {step.choice, rows};
      if (std::find(all.begin(), all.end(), kCoarse) == all.end()) continue;
      signature_ = step.signature;
      static_choice_ = step.choice;
      rows_ = std::move(rows);
    }
    for (const engine::PossiblePair& pair : (*plan)->possible_pairs)
      others_[pair.signature] = {engine::kApart, pair.alternatives};
    ASSERT_FALSE(rows_.empty());
    ASSERT_NE(static_choice_, kCoarse);
  }
};

TEST_F(CpuSearchInBfloat16, CoarseRowsMustHoldOnVariedDataToo) {
  const auto varied = vary_feed(feeds_[0], 0);
  ASSERT_TRUE(varied.ok());
  const double most = largest_error(*varied, coarse());
  const double least = std::max(largest_error(*varied, decisions_), largest_error(feeds_[0], coarse()));
  ASSERT_GT(most, 1.3 * least);
  EXPECT_TRUE(keeps_coarse(4 * most)) << message_;
  const double all_but_varied = std::sqrt(least * most), given_only = largest_error(feeds_[0], coarse());
  for (const double tolerance : {all_but_varied, given_only}) EXPECT_FALSE(keeps_coarse(tolerance)) << tolerance;
}

// The cache knows all work as it is without coarse rows: with one among the candidates it would have to be measured.
TEST_F(CpuSearchInBfloat16, UnaskedTriesNoCoarseRow) {
  options_.precision = "auto";
  options_.accuracy.atol = 1;
  ChoiceCache known = cache();
  for (auto& [signature, work] : others_) {
    auto& [choice, rows] = work;
    std::erase_if(rows, [&](const std::string& row) { return row != choice && is_narrow_winograd(row); });
    known.put(signature, rows, {choice, {choice, 50, 50}});
  }
  ASSERT_LT(others_[signature_].second.size(), rows_.size());
  known.write();
  engine::Decisions decisions = decisions_;
  const std::string message = tune(decisions).message, all = message.substr(0, message.find(' '));
  EXPECT_TRUE(message.starts_with(all + " of " + all + " pieces of work were known")) << message;
  EXPECT_TRUE(decisions.kernels.empty());
}

}  // namespace
}  // namespace blade::optimizer
