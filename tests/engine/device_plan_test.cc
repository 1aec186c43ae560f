// Plans for a device whose memory is the host's: what runs where, what is copied between, and that recordings repeat.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "backends/reference/common.h"
#include "engine/engine.h"
#include "engine/fake_device.h"

namespace blade::engine {
namespace {

using backends::KernelEntry;
using backends::KernelRequest;
using backends::Support;
using testing::FakeDevice;

Support yes(const KernelRequest& request) {
  return request.device != nullptr ? Support::yes() : Support::no("is asked for the host");
}

// Elementwise work only: the rest of a graph has to run on the host.
constexpr KernelEntry kFakeKernels[] = {{"fake.pointwise", ir::Op::kPointwise, yes, nullptr,
                                         backends::reference::create<backends::reference::run_pointwise>}};

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

// The engine of a graph on `device`, and its plan for inputs of 2x3.
void plan_on_device(ir::Graph graph, std::vector<std::string> disabled_passes, FakeDevice& device,
                    std::shared_ptr<Engine>* engine, std::shared_ptr<const Plan>* plan) {
  EngineOptions options;
  options.device = &device;
  Decisions decisions;
  decisions.disabled_passes = std::move(disabled_passes);
  auto made = Engine::create(std::move(graph), decisions, options);
  ASSERT_TRUE(made.ok()) << made.status().message();
  *engine = std::move(*made);
  const ir::Dims dims = {2, 3};
  auto planned = (*engine)->plan_for({&dims, 1});
  ASSERT_TRUE(planned.ok()) << planned.status().message();
  *plan = std::move(*planned);
}

TEST(DevicePlan, StepsWithoutAKernelRunOnTheHostAndSaySo) {
  FakeDevice device(kFakeKernels);
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const Plan> plan;
  ASSERT_NO_FATAL_FAILURE(plan_on_device(mixed_graph(), {}, device, &engine, &plan));
  EXPECT_GT(plan->host_arena_bytes, 0u);
  int on_host = 0;
  for (const Step& step : plan->steps) {
    EXPECT_EQ(step.on_host, step.op == ir::Op::kSoftmax) << step.node_name;
    on_host += step.on_host;
    if (step.node_name == "soft") {
      EXPECT_EQ(step.fetch, std::vector<int>{0});
    }
  }
  EXPECT_EQ(on_host, 2);
}

// Nothing of it lies in an arena.
TEST(DevicePlan, OutputsOfTheModelAreCopiedBetweenStepsToo) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const ir::Attrs relu = ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)};
  const ir::ValueId a = graph.add_node(ir::Op::kPointwise, "first", {x}, 1, relu).outputs[0];
  const ir::ValueId b = graph.add_node(ir::Op::kSoftmax, "soft", {a}, 1, ir::SoftmaxAttrs{}).outputs[0];
  const ir::ValueId c = graph.add_node(ir::Op::kPointwise, "last", {b}, 1, relu).outputs[0];
  graph.set_outputs({a, b, c}, {"first", "soft", "last"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  FakeDevice device(kFakeKernels);
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const Plan> plan;
  ASSERT_NO_FATAL_FAILURE(plan_on_device(std::move(graph), {}, device, &engine, &plan));
  for (const Step& step : plan->steps) {
    if (step.node_name != "soft") continue;
    EXPECT_TRUE(step.on_host);
    EXPECT_EQ(step.fetch, std::vector<int>{0});
    EXPECT_EQ(step.send, std::vector<int>{0});
  }
}

Result<std::unique_ptr<backends::Kernel>> create_nothing(const KernelRequest& request, backends::PackCache&) {
  EXPECT_NE(request.device, nullptr);
  return unavailable("the library has no algorithm");
}

struct PlannedStep {
  std::string kernel;
  bool on_host = false;
  std::vector<std::string> refused;
};

// The plan of relu(x) for a device of these rows, whose choice for it is stored as `chosen`.
PlannedStep planned_relu(std::span<const KernelEntry> rows, const std::string& chosen) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const ir::Attrs relu = ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)};
  graph.set_outputs({graph.add_node(ir::Op::kPointwise, "relu", {x}, 1, relu).outputs[0]}, {"relu"});
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  FakeDevice device(rows);
  EngineOptions options;
  options.device = &device;
  Decisions decisions;
  decisions.kernels["Pointwise f32[2,3] -> f32[2,3] program=relu,0"] = chosen;
  const auto engine = Engine::create(std::move(graph), decisions, options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  if (!engine.ok()) return {};
  const std::vector<float> got = run(**engine, {1, -2, 3, -4, 5, -6});
  EXPECT_EQ(got, (std::vector<float>{1, 0, 3, 0, 5, 0}));
  const ir::Dims dims = {2, 3};
  const auto plan = (*engine)->plan_for({&dims, 1});
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return {};
  const Step& step = (*plan)->steps.at(0);
  return {step.kernel_name, step.on_host, step.refused};
}

TEST(DevicePlan, WhatARowCannotMakeTheNextOneDoes) {
  const KernelEntry rows[] = {{"fake.library", ir::Op::kPointwise, yes, nullptr, create_nothing}, kFakeKernels[0]};
  for (const char* chosen : {"fake.library", "fake.pointwise", "fake.absent"}) {
    const PlannedStep step = planned_relu(rows, chosen);
    EXPECT_EQ(step.kernel, "fake.pointwise") << chosen;
    EXPECT_FALSE(step.on_host);
  }
  const PlannedStep step = planned_relu(rows, "fake.library");
  ASSERT_FALSE(step.refused.empty());
  EXPECT_EQ(step.refused[0], "fake.library: the library has no algorithm");
}

TEST(DevicePlan, WhatARowCannotMakeIsSaidOnce) {
  const KernelEntry rows[] = {{"fake.silent", ir::Op::kPointwise, yes, nullptr, create_nothing}, kFakeKernels[0]};
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 3; ++i) planned_relu(rows, "fake.silent");
  const std::string said = ::testing::internal::GetCapturedStderr(), row = "fake.silent", why = "has no algorithm";
  const size_t at = said.find(row);
  ASSERT_NE(at, std::string::npos) << said;
  EXPECT_NE(said.find(why, at), std::string::npos) << said;
  EXPECT_EQ(said.find(row, at + 1), std::string::npos) << said;
}

TEST(DevicePlan, WhatNoRowCanMakeTheHostDoes) {
  const KernelEntry rows[] = {{"fake.library", ir::Op::kPointwise, yes, nullptr, create_nothing},
                              {"fake.other", ir::Op::kPointwise, yes, nullptr, create_nothing}};
  const PlannedStep step = planned_relu(rows, "fake.other");
  EXPECT_TRUE(step.on_host);
  ASSERT_GE(step.refused.size(), 2u);
  EXPECT_EQ(step.refused[0], "fake.other: the library has no algorithm");
  EXPECT_EQ(step.refused[1], "fake.library: the library has no algorithm");
}

// What a launch with the next two steps needs: nothing takes the place of what it reads and writes.
struct HoldingKernel final : backends::Kernel {
  int holds_operands() const override { return 2; }
  Status run(const backends::KernelArgs&) const override { return {}; }
};

Result<std::unique_ptr<backends::Kernel>> create_holding(const KernelRequest&, backends::PackCache&) {
  return std::unique_ptr<backends::Kernel>(std::make_unique<HoldingKernel>());
}

TEST(DevicePlan, OperandsKeepTheirPlaceForStepsOfTheSameLaunch) {
  ir::Graph graph;
  ir::ValueId value = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  for (int i = 0; i < 8; ++i) {
    value = graph.add_node(ir::Op::kSoftmax, "soft" + std::to_string(i), {value}, 1, ir::SoftmaxAttrs{}).outputs[0];
  }
  graph.set_outputs({value}, {"last"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  const KernelEntry rows[] = {{"fake.holding", ir::Op::kSoftmax, yes, nullptr, create_holding}};
  FakeDevice device(rows);
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const Plan> plan;
  ASSERT_NO_FATAL_FAILURE(plan_on_device(std::move(graph), {}, device, &engine, &plan));
  const std::vector<Step>& steps = plan->steps;
  ASSERT_EQ(steps.size(), 8u);
  for (size_t s = 0; s < steps.size(); ++s) {
    for (size_t behind = s + 1; behind < std::min(s + 3, steps.size()); ++behind) {
      const Location& made = steps[behind].outputs[0];
      if (made.kind != Location::Kind::kArena) continue;
      for (const Location& held : {steps[s].inputs[0], steps[s].outputs[0]}) {
        EXPECT_FALSE(held.kind == Location::Kind::kArena && held.offset == made.offset) << s << " " << behind;
      }
    }
  }
}

TEST(DevicePlan, AnswersAreTheHosts) {
  FakeDevice device(kFakeKernels);
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
  FakeDevice device(kFakeKernels);
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

// The answers of a file were checked on the kind of machine that it was optimized for.
TEST(DevicePlan, ComputesInTheNarrowTypeOfAFileForDevicesAlone) {
  const auto product_type = [](const char* optimized_for, const char* precision) {
    ir::Graph graph;
    const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 16}));
    const std::vector<float> values(16 * 16, 0.5f);
    const ir::ValueId w =
        graph.add_constant(ir::make_tensor<float>(ir::DType::kFloat32, {16, 16}, std::span<const float>(values)));
    graph.set_outputs({graph.add_node(ir::Op::kMatMul, "product", {x, w}, 1, ir::MatMulAttrs{}).outputs[0]}, {"y"});
    EXPECT_TRUE(ir::infer_shapes(graph).ok());
    FakeDevice device(kFakeKernels);
    EngineOptions options;
    options.device = &device;
    Decisions decisions;
    decisions.device = optimized_for;
    decisions.precision = precision;
    const auto engine = Engine::create(std::move(graph), decisions, options);
    EXPECT_TRUE(engine.ok()) << engine.status().message();
    if (!engine.ok()) return ir::DType::kInvalid;
    const ir::Graph& made = (*engine)->graph();
    for (ir::NodeId id = 0; id < made.num_node_slots(); ++id) {
      if (made.is_live(id) && made.node(id).op == ir::Op::kMatMul) return made.value(made.node(id).outputs[0]).dtype;
    }
    return ir::DType::kInvalid;
  };
  EXPECT_EQ(product_type("cpu", "bf16"), ir::DType::kFloat32);
  EXPECT_EQ(product_type("cpu", "fp16"), ir::DType::kFloat32);
  EXPECT_EQ(product_type("gpu", "bf16"), ir::DType::kBFloat16);
  EXPECT_EQ(product_type("gpu", "fp16"), ir::DType::kFloat16);
}

// The same without `disabled_pass`, of two steps.
void make_two_steps(ir::Graph graph, const char* disabled_pass, FakeDevice& device, std::shared_ptr<Engine>* engine,
                    std::shared_ptr<const Plan>* plan) {
  ASSERT_NO_FATAL_FAILURE(plan_on_device(std::move(graph), {disabled_pass}, device, engine, plan));
  ASSERT_EQ((*plan)->steps.size(), 2u);
}

// y = x + relu(-x) through a row that takes both nodes: reads the producer's input, then the node's own.
class AddRelu final : public backends::Kernel {
 public:
  explicit AddRelu(int64_t count) : count_(count) {}
  Status run(const backends::KernelArgs& args) const override {
    const auto *negated = static_cast<const float*>(args.inputs[0]), *x = static_cast<const float*>(args.inputs[1]);
    auto* y = static_cast<float*>(args.outputs[0]);
    for (int64_t i = 0; i < count_; ++i) y[i] = x[i] + std::max(0.0f, negated[i]);
    return {};
  }

 private:
  int64_t count_;
};

Support takes_add_relu(const KernelRequest& request) {
  if (request.producer == nullptr || request.producer_input != 1) return Support::no("adds no producer");
  const auto& program = request.producer->node->get<ir::PointwiseAttrs>().program;
  return program.code[0].op == ir::PointwiseOp::kRelu ? Support::yes() : Support::no("adds no relu");
}

constexpr KernelEntry kFakePairs[] = {
    {"fake.add_relu", ir::Op::kPointwise, takes_add_relu, nullptr,
     [](const KernelRequest& request, backends::PackCache&) -> Result<std::unique_ptr<backends::Kernel>> {
       return std::unique_ptr<backends::Kernel>(std::make_unique<AddRelu>(request.outputs[0].element_count()));
     }}};

TEST(DevicePlan, ADeviceMayComputeTwoNodesInOneStep) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const auto unary = [&](ir::PointwiseOp op, const char* name, ir::ValueId input) {
    return graph.add_node(ir::Op::kPointwise, name, {input}, 1, ir::PointwiseAttrs{ir::PointwiseProgram::unary(op)})
        .outputs[0];
  };
  const ir::ValueId relu = unary(ir::PointwiseOp::kRelu, "relu", unary(ir::PointwiseOp::kNeg, "negated", x));
  const ir::ValueId sum = graph
                              .add_node(ir::Op::kPointwise, "sum", {x, relu}, 1,
                                        ir::PointwiseAttrs{ir::PointwiseProgram::binary(ir::PointwiseOp::kAdd)})
                              .outputs[0];
  graph.set_outputs({sum}, {"sum"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  FakeDevice device(kFakeKernels, kFakePairs);
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const Plan> plan;
  ASSERT_NO_FATAL_FAILURE(make_two_steps(std::move(graph), "FusePointwise", device, &engine, &plan));
  EXPECT_STREQ(plan->steps[1].kernel_name, "fake.add_relu");
  EXPECT_EQ(run(*engine, {1, -2, 3, 0.25f, 5, -6}), (std::vector<float>{1, 0, 3, 0.25f, 5, 0}));
}

void check_cast_in_copy(ir::DType type) {
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const ir::ValueId half = graph.add_node(ir::Op::kCast, "half", {x}, 1, ir::CastAttrs{type}).outputs[0];
  const ir::ValueId relu = graph
                               .add_node(ir::Op::kPointwise, "relu", {half}, 1,
                                         ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)})
                               .outputs[0];
  const ir::ValueId y = graph.add_node(ir::Op::kCast, "wide", {relu}, 1, ir::CastAttrs{ir::DType::kFloat32}).outputs[0];
  graph.set_outputs({y}, {"y"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  FakeDevice device(kFakeKernels);
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const Plan> plan;
  ASSERT_NO_FATAL_FAILURE(make_two_steps(std::move(graph), "WidenHalves", device, &engine, &plan));
  EXPECT_EQ(plan->input_types, std::vector<ir::DType>{type});
  EXPECT_EQ(run(*engine, {1, -2, 3.0004f, 0.25f, 5, -6}), (std::vector<float>{1, 0, 3, 0.25f, 5, 0}));
}
TEST(DevicePlan, AnInputIsCastToFloat16WhileItIsCopied) { check_cast_in_copy(ir::DType::kFloat16); }
TEST(DevicePlan, AnInputIsCastToBFloat16WhileItIsCopied) { check_cast_in_copy(ir::DType::kBFloat16); }

// y = -relu(-x) as three nodes, each a step that calls itself small.
ir::Graph chain_graph() {
  ir::Graph graph;
  ir::ValueId v = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const std::pair<ir::PointwiseOp, const char*> nodes[] = {
      {ir::PointwiseOp::kNeg, "first"}, {ir::PointwiseOp::kRelu, "second"}, {ir::PointwiseOp::kNeg, "third"}};
  for (const auto& [op, name] : nodes) {
    v = graph.add_node(ir::Op::kPointwise, name, {v}, 1, ir::PointwiseAttrs{ir::PointwiseProgram::unary(op)})
            .outputs[0];
  }
  graph.set_outputs({v}, {"y"});
  EXPECT_TRUE(ir::infer_shapes(graph).ok());
  return graph;
}

class SmallKernel final : public backends::Kernel {
 public:
  explicit SmallKernel(std::unique_ptr<backends::Kernel> kernel) : kernel_(std::move(kernel)) {}
  bool can_join() const override { return true; }
  Status run(const backends::KernelArgs& args) const override { return kernel_->run(args); }

 private:
  std::unique_ptr<backends::Kernel> kernel_;
};

constexpr KernelEntry kSmallKernels[] = {
    {"fake.small", ir::Op::kPointwise, yes, nullptr,
     [](const KernelRequest& request, backends::PackCache& packs) -> Result<std::unique_ptr<backends::Kernel>> {
       BLADE_ASSIGN_OR_RETURN(auto kernel, kFakeKernels[0].create(request, packs));
       return std::unique_ptr<backends::Kernel>(std::make_unique<SmallKernel>(std::move(kernel)));
     }}};

std::shared_ptr<Engine> chain_engine(FakeDevice& device, size_t memory_limit = 0) {
  EngineOptions options;
  options.device = &device;
  options.device_memory_limit = memory_limit;
  Decisions decisions;
  decisions.disabled_passes = {"FusePointwise"};
  auto engine = Engine::create(chain_graph(), decisions, options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return *engine;
}

TEST(DevicePlan, NeighbouringSmallStepsAreOneLaunch) {
  FakeDevice device(kSmallKernels);
  for (const auto& [most, launches] : {std::pair<size_t, int>{3, 1}, {2, 1}, {1, 0}}) {
    device.most_joined = most;
    const auto engine = chain_engine(device);
    const int before = testing::FakeJoined::launches;
    EXPECT_EQ(run(*engine, {1, -2, 3, 0.25f, 5, -6}), (std::vector<float>{0, -2, 0, 0, 0, -6})) << most;
    EXPECT_EQ(testing::FakeJoined::launches - before, launches) << most;
  }
}

TEST(DevicePlan, RunsOnTheCallersMemory) {
  FakeDevice device(kSmallKernels);
  const auto engine = chain_engine(device);
  alignas(16) const float x[] = {1, -2, 3, 0.25f, 5, -6};
  alignas(16) float y[6] = {};
  class Place final : public OutputSink {
   public:
    explicit Place(void* at) : at_(at) {}
    void* allocate(int, ir::DType, const ir::Dims&) override { return at_; }

   private:
    void* at_;
  } place(y);
  const TensorRef ref = {ir::DType::kFloat32, {2, 3}, x};
  const Status status = engine->run_on_device({&ref, 1}, place, nullptr);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(std::vector<float>(y, y + 6), (std::vector<float>{0, -2, 0, 0, 0, -6}));
  const TensorRef odd = {ir::DType::kFloat32, {2, 3}, x + 1};
  EXPECT_EQ(engine->run_on_device({&odd, 1}, place, nullptr).code(), StatusCode::kInvalidArgument);

  EngineOptions options;
  const auto on_host = Engine::create(chain_graph(), {}, options);
  EXPECT_EQ((*on_host)->run_on_device({&ref, 1}, place, nullptr).code(), StatusCode::kFailedPrecondition);
  FakeDevice few(kFakeKernels);
  options.device = &few;
  const auto mixed = Engine::create(mixed_graph(), {}, options);
  const Status refused = (*mixed)->run_on_device({&ref, 1}, place, nullptr);
  EXPECT_EQ(refused.code(), StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.message().find("runs on the host"), std::string::npos) << refused.message();
}

TEST(DevicePlan, MemoryIsBounded) {
  FakeDevice device(kSmallKernels);
  const std::vector<float> x(6, 1.0f);
  const TensorRef ref = {ir::DType::kFloat32, {2, 3}, x.data()};
  KeptOutput kept;
  const Status status = chain_engine(device, 64)->run({&ref, 1}, kept);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find("of the 64 that it may"), std::string::npos) << status.message();
  const auto engine = chain_engine(device, 4096);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(engine->run({&ref, 1}, kept).ok());
  device.table_bytes = 4096;  // of what steps were joined into
  EXPECT_EQ(chain_engine(device, 4096)->run({&ref, 1}, kept).code(), StatusCode::kResourceExhausted);
}

// Where(x > 0): its size is found on the host, behind work on the device.
TEST(DevicePlan, SizesAreFoundOnTheHost) {
  const auto make = [] {
    ir::Graph graph;
    const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
    const ir::ValueId relu = graph
                                 .add_node(ir::Op::kPointwise, "relu", {x}, 1,
                                           ir::PointwiseAttrs{ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu)})
                                 .outputs[0];
    const ir::ValueId where = graph.add_node(ir::Op::kWhere, "where", {relu}, 1, ir::Attrs()).outputs[0];
    const ir::ValueId cast =
        graph.add_node(ir::Op::kCast, "cast", {where}, 1, ir::CastAttrs{ir::DType::kFloat32}).outputs[0];
    graph.set_outputs({cast}, {"y"});
    EXPECT_TRUE(ir::infer_shapes(graph).ok());
    return graph;
  };
  FakeDevice device(kFakeKernels);
  EngineOptions options;
  const auto on_host = Engine::create(make(), {}, options);
  options.device = &device;
  const auto on_device = Engine::create(make(), {}, options);
  ASSERT_TRUE(on_host.ok() && on_device.ok());
  for (const std::vector<float>& x : {std::vector<float>{1, -2, 3, 0.25f, 5, -6}, {-1, -1, 0, 0, 7, 0}}) {
    const std::vector<float> want = run(**on_host, x);
    EXPECT_EQ(run(**on_device, x), want);
    EXPECT_FALSE(want.empty());
  }
}

// softmax(q k^T) v is one step where the device has a row for it.
TEST(DevicePlan, AttentionIsOneStep) {
  constexpr KernelEntry kAttention[] = {{"fake.attention", ir::Op::kAttention, yes, nullptr,
                                         backends::reference::create<backends::reference::run_attention>}};
  ir::Graph graph;
  const ir::ValueId x = graph.add_input("x:0", ir::DType::kFloat32, ir::Shape::of(std::vector<int64_t>{2, 3}));
  const auto add = [&](ir::Op op, const char* name, std::vector<ir::ValueId> inputs, ir::Attrs attrs) {
    return graph.add_node(op, name, std::move(inputs), 1, std::move(attrs)).outputs[0];
  };
  const ir::ValueId row =
      add(ir::Op::kReshape, "row",
          {x, graph.add_constant(ir::make_tensor<int32_t>(ir::DType::kInt32, {3}, std::vector<int32_t>{1, 2, 3}))},
          ir::Attrs());
  ir::MatMulAttrs by_rows;
  by_rows.transpose_b = true;
  const ir::ValueId scores = add(ir::Op::kMatMul, "scores", {row, row}, by_rows);
  const ir::ValueId weights = add(ir::Op::kSoftmax, "weights", {scores}, ir::SoftmaxAttrs{});
  graph.set_outputs({add(ir::Op::kMatMul, "y", {weights, row}, ir::MatMulAttrs{})}, {"y"});
  ASSERT_TRUE(ir::infer_shapes(graph).ok());
  FakeDevice device(kAttention);
  EngineOptions options;
  const auto on_host = Engine::create(graph.clone(), {}, options);
  options.device = &device;
  const auto engine = Engine::create(std::move(graph), {}, options);
  ASSERT_TRUE(on_host.ok() && engine.ok());
  const ir::Dims dims = {2, 3};
  const auto plan = (*engine)->plan_for({&dims, 1});
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  int computing = 0;
  for (const Step& step : (*plan)->steps) {
    if (step.op != ir::Op::kAttention) continue;
    EXPECT_FALSE(step.on_host);
    ++computing;
  }
  EXPECT_EQ(computing, 1);
  const std::vector<float> values = {1, -2, 3, 0.25f, 5, -6};
  const std::vector<float> want = run(**on_host, values), got = run(**engine, values);
  ASSERT_EQ(want.size(), got.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(want[i], got[i], 1e-5) << i;
}

TEST(DevicePlan, UnknownDevicesAreNamed) {
  const auto device = device_by_name("tpu");
  EXPECT_EQ(device.status().message(), "device is 'tpu'; expected 'cpu', 'gpu' or 'auto'");
  EXPECT_TRUE(device_by_name("CPU").ok());
  EXPECT_TRUE(device_by_name("auto").ok());
}

}  // namespace
}  // namespace blade::engine
