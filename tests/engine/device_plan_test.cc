// Plans for a device whose memory is the host's: what runs where, what is copied between, and that recordings repeat.
#include <gtest/gtest.h>

#include <cstring>

#include "backends/reference/common.h"
#include "engine/engine.h"
#include "test_graphs.h"

namespace blade::engine {
namespace {

using backends::DeviceBuffer;
using backends::KernelEntry;
using backends::KernelRequest;
using backends::Support;

struct FakeRecording final : backends::DeviceRecording {};

// Runs everything at once; counts what the engine asks of it.
class FakeQueue final : public backends::DeviceQueue {
 public:
  void* handle() const override { return const_cast<FakeQueue*>(this); }
  Status copy_to_device(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status copy_to_host(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status copy_on_device(std::byte* to, const std::byte* from, size_t bytes) override { return copy(to, from, bytes); }
  Status wait() override { return {}; }
  Status begin_recording() override { return {}; }
  Result<std::unique_ptr<backends::DeviceRecording>> end_recording() override {
    ++recordings;
    return std::unique_ptr<backends::DeviceRecording>(std::make_unique<FakeRecording>());
  }
  Status play(const backends::DeviceRecording&) override { return {}; }
  Status mark(int) override { return {}; }
  Result<double> microseconds_between(int, int) override { return 1.0; }

  static inline int recordings = 0;

 private:
  static Status copy(std::byte* to, const std::byte* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return {};
  }
};

Support yes(const KernelRequest& request) {
  return request.device != nullptr ? Support::yes() : Support::no("is asked for the host");
}

// Elementwise work only: the rest of a graph has to run on the host.
constexpr KernelEntry kFakeKernels[] = {{"fake.pointwise", ir::Op::kPointwise, yes, nullptr,
                                         backends::reference::create<backends::reference::run_pointwise>}};

class FakeDevice final : public backends::Device {
 public:
  FakeDevice() {
    info_.name = "fake";
    info_.architecture = "none";
  }
  const backends::DeviceInfo& info() const override { return info_; }
  std::span<const KernelEntry> kernels() const override { return kFakeKernels; }
  Result<DeviceBuffer> allocate(size_t bytes) override {
    return DeviceBuffer(new std::byte[bytes], bytes, [](std::byte* p) { delete[] p; });
  }
  Result<DeviceBuffer> allocate_pinned(size_t bytes) override { return allocate(bytes); }
  Result<DeviceBuffer> upload(const std::byte* from, size_t bytes) override {
    BLADE_ASSIGN_OR_RETURN(DeviceBuffer buffer, allocate(bytes));
    if (bytes > 0) std::memcpy(buffer.data(), from, bytes);
    return buffer;
  }
  Result<std::unique_ptr<backends::DeviceQueue>> create_queue() override {
    return std::unique_ptr<backends::DeviceQueue>(std::make_unique<FakeQueue>());
  }

 private:
  backends::DeviceInfo info_;
};

class KeptOutput final : public OutputSink {
 public:
  void* allocate(int, ir::DType, const ir::Dims& dims) override {
    int64_t count = 1;
    for (int64_t d : dims) count *= d;
    values.assign(static_cast<size_t>(count), 0.0f);
    return values.data();
  }
  std::vector<float> values;
};

// relu(x) -> softmax -> + c -> softmax: host steps between device steps, a constant on the device.
ir::Graph mixed_graph() {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const float values[] = {0.5f, -1.0f, 2.0f};
  const ir::ValueId c =
      graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {3}, std::span<const float>(values)));
  const auto add = [&](ir::Op op, const char* name, std::vector<ir::ValueId> inputs, ir::Attrs attrs) {
    return graph.add_node(op, name, std::move(inputs), 1, std::move(attrs)).outputs[0];
  };
  const ir::ValueId a =
      add(ir::Op::kPointwise, "relu", {x}, ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)});
  const ir::ValueId b = add(ir::Op::kSoftmax, "soft", {a}, ir::SoftmaxAttrs{});
  const ir::ValueId d =
      add(ir::Op::kPointwise, "add", {b, c}, ir::PointwiseAttrs{ir::PointwiseProgram::binary(ir::PointwiseOp::kAdd)});
  const ir::ValueId e = add(ir::Op::kSoftmax, "last", {d}, ir::SoftmaxAttrs{});
  graph.set_outputs({e}, {"last"});
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  return graph;
}

std::vector<float> run(Engine& engine, const std::vector<float>& x) {
  KeptOutput kept;
  const TensorRef ref = {ir::DType::kFloat32, {2, 3}, x.data()};
  const Status status = engine.run({&ref, 1}, kept);
  EXPECT_TRUE(status.ok()) << status.message();
  return kept.values;
}

TEST(DevicePlan, StepsWithoutAKernelRunOnTheHostAndSaySo) {
  FakeDevice device;
  EngineOptions options;
  options.device = &device;
  const auto engine = Engine::create(mixed_graph(), {}, options);
  ASSERT_TRUE(engine.ok()) << engine.status().message();
  const ir::Dims dims = {2, 3};
  const auto plan = (*engine)->plan_for({&dims, 1});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_GT((*plan)->host_arena_bytes, 0u);
  int on_host = 0;
  for (const Step& step : (*plan)->steps) {
    EXPECT_EQ(step.on_host, step.op == ir::Op::kSoftmax) << step.node_name;
    on_host += step.on_host;
    if (step.node_name == "soft") {
      EXPECT_EQ(step.fetch, std::vector<int>{0});
    }
  }
  EXPECT_EQ(on_host, 2);
}

TEST(DevicePlan, AnswersAreTheHosts) {
  FakeDevice device;
  EngineOptions options;
  const auto on_host = Engine::create(mixed_graph(), {}, options);
  options.device = &device;
  const auto on_device = Engine::create(mixed_graph(), {}, options);
  ASSERT_TRUE(on_host.ok() && on_device.ok());
  const std::vector<float> x = {1, -2, 3, 0.25f, 5, -6};
  const std::vector<float> want = run(**on_host, x), got = run(**on_device, x);
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(want[i], got[i], 1e-6) << i;
}

TEST(DevicePlan, DeviceTimeNeedsADeviceThroughout) {
  FakeDevice device;
  EngineOptions options;
  std::vector<double> times;
  const std::vector<float> x(6, 1.0f);
  const TensorRef ref = {ir::DType::kFloat32, {2, 3}, x.data()};
  const auto on_host = Engine::create(mixed_graph(), {}, options);
  EXPECT_EQ((*on_host)->device_times({&ref, 1}, 3, &times).code(), StatusCode::kFailedPrecondition);
  options.device = &device;
  const auto on_device = Engine::create(mixed_graph(), {}, options);
  EXPECT_EQ((*on_device)->device_times({&ref, 1}, 3, &times).code(), StatusCode::kFailedPrecondition);
}

TEST(DevicePlan, UnknownDevicesAreNamed) {
  const auto device = device_by_name("tpu");
  EXPECT_EQ(device.status().message(), "device is 'tpu'; expected 'cpu', 'gpu' or 'auto'");
  EXPECT_TRUE(device_by_name("CPU").ok());
  EXPECT_TRUE(device_by_name("auto").ok());
}

}  // namespace
}  // namespace blade::engine
