// Counts every allocation of the process: the second and later runs of a shape make none.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "engine/control_flow_graphs.h"
#include "engine/test_graphs.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

[[maybe_unused]] void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define BLADE_SANITIZER_OWNS_MALLOC 1
#else
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t size) {
  count();
  return __libc_malloc(size);
}
void* calloc(size_t n, size_t size) {
  count();
  return __libc_calloc(n, size);
}
void* realloc(void* p, size_t size) {
  count();
  return __libc_realloc(p, size);
}
void* memalign(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void** out, size_t alignment, size_t size) {
  count();
  *out = __libc_memalign(alignment, size);
  return *out == nullptr ? 12 : 0;
}
}
#endif

namespace blade::engine {
namespace {

class Fixed final : public OutputSink {
 public:
  explicit Fixed(size_t floats) : values(floats) {}
  void* allocate(int, ir::DType, const ir::Dims&) override { return values.data(); }
  std::vector<float> values;
};

int allocations_of_runs(Engine& engine, const std::vector<TensorRef>& inputs, OutputSink& sink, int runs) {
  bool ok = true;
  allocations = 0;
  counting = true;
  for (int i = 0; i < runs; ++i) ok = engine.run(inputs, sink).ok() && ok;
  counting = false;
  EXPECT_TRUE(ok);
  return allocations;
}

class NoAllocation : public ::testing::Test {
  void SetUp() override {
#ifdef BLADE_SANITIZER_OWNS_MALLOC
    GTEST_SKIP() << "the sanitizer's malloc cannot be counted";
#endif
  }
};

TEST_F(NoAllocation, TheCounterCounts) {
  allocations = 0;
  counting = true;
  auto* number = new std::vector<int>(100);
  counting = false;
  EXPECT_GE(allocations.load(), 1);
  delete number;
}

TEST_F(NoAllocation, SecondAndLaterRunsOfAShapeAllocateNothing) {
  for (int threads : {1, 2}) {
    EngineOptions options;
    options.num_threads = threads;
    auto engine = Engine::create(testing::small_cnn(), Decisions(), options);
    ASSERT_TRUE(engine.ok()) << engine.status().message();
    std::mt19937 rng(1);
    const ir::TensorPtr four = testing::random_tensor(rng, {4, 8, 8, 3}),
                        two = testing::random_tensor(rng, {2, 8, 8, 3});
    const std::vector<TensorRef> a = testing::refs({four}), b = testing::refs({two});
    Fixed sink(4 * 10);
    EXPECT_GT(allocations_of_runs(**engine, a, sink, 1), 0);
    EXPECT_EQ(allocations_of_runs(**engine, a, sink, 20), 0) << threads << " threads";
    allocations_of_runs(**engine, b, sink, 1);
    EXPECT_EQ(allocations_of_runs(**engine, b, sink, 5), 0) << "another shape";
    EXPECT_EQ(allocations_of_runs(**engine, a, sink, 5), 0) << "the first shape again";
  }
}

TEST_F(NoAllocation, LoopsAndListsAllocateNothingOnceWarm) {
  EngineOptions options;
  options.num_threads = 1;
  auto engine = Engine::create(testing::list_loop(6), Decisions(), options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  std::mt19937 rng(1);
  const auto list = testing::random_tensor(rng, {6, 3}), x = testing::random_tensor(rng, {3});
  const auto five = testing::int_scalar(5), two = testing::int_scalar(2);
  Fixed sink(6 * 3);
  allocations_of_runs(**engine, testing::refs({list, x, five}), sink, 2);
  EXPECT_EQ(allocations_of_runs(**engine, testing::refs({list, x, five}), sink, 10), 0);
  EXPECT_EQ(allocations_of_runs(**engine, testing::refs({list, x, two}), sink, 10), 0) << "fewer iterations";
}

}  // namespace
}  // namespace blade::engine
