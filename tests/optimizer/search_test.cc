// In which order a search for a device decides: what is measured later is measured with what was decided before.
#include "optimizer/search.h"

#include <gtest/gtest.h>

#include <random>

#include "backends/reference/common.h"
#include "engine/fake_device.h"
#include "optimizer/runners.h"
#include "support/graph_builder.h"

namespace blade::optimizer {
namespace {

using backends::KernelEntry;
using backends::KernelRequest;
using backends::Support;
using blade::testing::GraphBuilder;

// Element types of what the device was asked to plan, in order.
std::vector<ir::DType>& planned() {
  static std::vector<ir::DType> types;
  return types;
}

Support notes_type(const KernelRequest& request) {
  const ir::DType type = request.outputs[0].dtype;
  if (planned().empty() || planned().back() != type) planned().push_back(type);
  return Support::yes();
}

constexpr KernelEntry kKernels[] = {{"fake.matmul", ir::Op::kMatMul, notes_type, nullptr,
                                     backends::reference::create<backends::reference::run_matmul>}};

std::vector<float> random_values(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& v : values) v = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random);
  return values;
}

TEST(Search, PrecisionIsDecidedBeforePassesAreMeasured) {
  GraphBuilder b;
  const auto x = b.input("x", {4, 16});
  auto y = b.matmul(x, b.constant<float>({16, 8}, random_values(128, 1)));
  y = b.relu(b.add(y, b.constant<float>({8}, random_values(8, 2))));
  const ir::Graph graph = b.output(y, "y").build();
  engine::Partition partition;
  const auto order = graph.topological_order();
  ASSERT_TRUE(order.ok());
  engine::Region region;
  region.nodes = *order;
  region.inputs = graph.inputs();
  region.outputs = graph.outputs();
  partition.regions.push_back(region);

  const std::vector<Feed> feeds = {{{"x", blade::testing::tensor<float>({4, 16}, random_values(64, 3))}}};
  const auto plain = engine::Engine::create(graph.clone(), {}, {});
  ASSERT_TRUE(plain.ok()) << plain.status().message();
  const auto expected = make_engine_runner(*plain)->outputs(feeds[0]);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  engine::testing::FakeDevice device(kKernels);
  OptimizeOptions options;
  options.check_fp16_speed = false;  // kept whatever this machine's float16 takes
  options.time_limit_s = 1;
  const std::vector<std::vector<ir::TensorPtr>> answers = {*expected};
  const SearchInput input{graph, partition, feeds, answers, options, [](int, const char*) { return false; }, &device};
  planned().clear();
  const auto found = search_passes(input, {});
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->decisions.precision, "fp16");
  // Once in float16 and once in float32 to compare the two; all that is measured after that is in float16.
  EXPECT_EQ(planned(), (std::vector<ir::DType>{ir::DType::kFloat16, ir::DType::kFloat32, ir::DType::kFloat16}));
}

}  // namespace
}  // namespace blade::optimizer
