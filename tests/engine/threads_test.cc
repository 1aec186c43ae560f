// Many threads on one engine: each run has memory of its own, plans are made once, answers are always the same.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "engine/test_graphs.h"

namespace blade::engine {
namespace {

using testing::random_tensor;

// Output memory without GoogleTest in it: threads only count what went wrong.
class Memory final : public OutputSink {
 public:
  void* allocate(int, ir::DType, const ir::Dims& dims) override {
    values.resize(static_cast<size_t>(dims[0] * dims[1]));
    return values.data();
  }
  std::vector<float> values;
};

TEST(EngineThreads, RunsAtOnceGiveTheSameBits) {
  EngineOptions options;
  options.num_threads = 2;
  options.max_cached_plans = 2;  // three shapes: plans are evicted while others run them
  auto engine = Engine::create(testing::small_cnn(), Decisions(), options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::mt19937 rng(1);
  std::vector<ir::TensorPtr> inputs;
  std::vector<std::vector<float>> want;
  for (int64_t batch : {1, 2, 5}) {
    inputs.push_back(random_tensor(rng, {batch, 8, 8, 3}));
    Memory memory;
    const Status status = (*engine)->run(testing::refs({inputs.back()}), memory);
    ASSERT_TRUE(status.ok()) << status.message();
    want.push_back(memory.values);
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 40; ++i) {
        const size_t k = static_cast<size_t>(t + i) % inputs.size();
        Memory memory;
        const TensorRef ref = {inputs[k]->dtype, inputs[k]->dims, inputs[k]->data};
        if (!(*engine)->run({&ref, 1}, memory).ok() || memory.values != want[k]) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE((*engine)->arenas_created(), 12u);
  EXPECT_LE((*engine)->plans_cached(), 2u);
}

TEST(EngineThreads, APlanIsMadeOnce) {
  auto engine = Engine::create(testing::small_cnn(), Decisions(), {});
  ASSERT_TRUE(engine.ok());
  std::vector<std::shared_ptr<const Plan>> plans(4);
  std::vector<std::thread> threads;
  for (auto& plan : plans) {
    threads.emplace_back([&] { plan = *(*engine)->plan_for(std::vector<ir::Dims>{{2, 8, 8, 3}}); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& plan : plans) EXPECT_EQ(plan, plans[0]);
}

}  // namespace
}  // namespace blade::engine
