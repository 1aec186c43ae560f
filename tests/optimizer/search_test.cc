// In which order a search for a device decides (what is measured later is measured with what was decided before), and
// what it stores.
#include "optimizer/search.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>
#include <tuple>

#include "backends/reference/common.h"
#include "engine/fake_device.h"
#include "optimizer/gpu_search.h"
#include "optimizer/input_moments.h"
#include "optimizer/precision_search.h"
#include "optimizer/runners.h"
#include "optimizer/varied_answers.h"
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

// Matrix products with epilogues, of ever other widths, as one region.
struct MatmulModel {
  explicit MatmulModel(const std::vector<int64_t>& widths = {16, 8}) {
    GraphBuilder b;
    auto y = b.input("x", {4, widths[0]});
    for (size_t i = 1; i < widths.size(); ++i) {
      const auto count = static_cast<size_t>(widths[i - 1] * widths[i]);
      y = b.matmul(y, b.constant<float>({widths[i - 1], widths[i]}, random_values(count, 1)));
      y = b.relu(b.add(y, b.constant<float>({widths[i]}, random_values(static_cast<size_t>(widths[i]), 2))));
    }
    set_graph(b.output(y, "y").build());
    options.time_limit_s = 1;
  }
  void set_graph(ir::Graph made) {
    graph = std::move(made);
    engine::Region region;
    region.nodes = *graph.topological_order();
    region.inputs = graph.inputs();
    region.outputs = graph.outputs();
    partition.regions = {region};
    const auto plain = engine::Engine::create(graph.clone(), {}, {});
    if (plain.ok()) answers = {*make_engine_runner(*plain)->outputs(feeds[0])};
  }
  SearchInput input(backends::Device* device) const {
    return {graph, partition, feeds, answers, options, [](int, const char*) { return false; }, device};
  }

  // Kernel tuning on a device with these rows.
  Result<OptimizationStep> tune(std::span<const KernelEntry> kernels, engine::Decisions& decisions) const {
    engine::testing::FakeDevice device(kernels);
    OptimizationStep step{"tuning", StepStatus::kPassed, {}, {}, "", 0};
    BLADE_RETURN_IF_ERROR(tune_on_gpu(input(&device), decisions, step));
    return step;
  }

  ir::Graph graph;
  engine::Partition partition;
  std::vector<Feed> feeds = {{{"x", blade::testing::tensor<float>({4, 16}, random_values(64, 3))}}};
  std::vector<std::vector<ir::TensorPtr>> answers;
  OptimizeOptions options;
};

TEST(Search, PrecisionIsDecidedBeforePassesAreMeasured) {
  MatmulModel model;
  engine::testing::FakeDevice device(kKernels);
  model.options.check_fp16_speed = false;  // kept whatever this machine's float16 takes
  planned().clear();
  engine::Decisions for_gpu;
  for_gpu.device = "gpu";
  const auto found = search_passes(model.input(&device), for_gpu);
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->decisions.precision, "fp16");
  // Once in float16 and once in float32 to compare the two; all that is measured after that is in float16.
  EXPECT_EQ(planned(), (std::vector<ir::DType>{ir::DType::kFloat16, ir::DType::kFloat32, ir::DType::kFloat16}));
}

// A product and a scale, which a pass folds into its weights.
MatmulModel model_to_fold() {
  MatmulModel model;
  GraphBuilder b;
  const auto y = b.matmul(b.input("x", {4, 16}), b.constant<float>({16, 8}, random_values(128, 1)));
  model.set_graph(b.output(b.mul(y, b.constant<float>({8}, random_values(8, 2))), "y").build());
  model.options.precision = "fp32";
  return model;
}

OptimizationStep step_of(const SearchResult& found, const std::string& pass) {
  const auto step = std::ranges::find(found.steps, pass, &OptimizationStep::name);
  EXPECT_NE(step, found.steps.end());
  return step != found.steps.end() ? *step : OptimizationStep();
}

TEST(Search, PassesAreMeasuredWhileThereIsTime) {
  MatmulModel model = model_to_fold();
  for (const double seconds : {1.0, 0.0}) {
    model.options.time_limit_s = seconds;
    const auto found = search_passes(model.input(nullptr), {});
    ASSERT_TRUE(found.ok()) << found.status().message();
    const OptimizationStep step = step_of(*found, "FoldBatchNorm");
    EXPECT_EQ(step.pre_run_ms.has_value(), seconds > 0);
    EXPECT_EQ(step.message.starts_with("kept unmeasured"), seconds == 0) << step.message;
    EXPECT_FALSE(step_of(*found, "FoldPad").pre_run_ms);  // which changes nothing here
  }
}

// The expected answers are, to the bit, those without one of the passes.
TEST(Search, APassWithoutWhichAloneTheAnswersHoldIsRolledBack) {
  MatmulModel model = model_to_fold();
  engine::Decisions without;
  without.disabled_passes = {"FoldBatchNorm"};
  const auto engine = engine::Engine::create(model.graph.clone(), without, {});
  ASSERT_TRUE(engine.ok());
  model.answers = {*make_engine_runner(*engine)->outputs(model.feeds[0])};
  model.options.accuracy.rtol = model.options.accuracy.atol = 0;
  for (const bool check_speed : {true, false}) {
    model.options.check_speed = check_speed;
    const auto found = search_passes(model.input(nullptr), {});
    ASSERT_TRUE(found.ok()) << found.status().message();
    const OptimizationStep step = step_of(*found, "FoldBatchNorm");
    EXPECT_EQ(step.status, check_speed ? StepStatus::kRolledBack : StepStatus::kEffective);
    EXPECT_EQ(step.message, check_speed ? "the answers hold only without it" : "");
    EXPECT_EQ(found->decisions.disabled_passes, check_speed ? without.disabled_passes : std::vector<std::string>());
  }
}

// A GPU narrows to the type that the user asks for, and to the one that the model computes in.
TEST(Search, BFloat16OnAGpuIsAskedForByTheUserOrTheModel) {
  engine::testing::FakeDevice device(kKernels);
  const auto decided = [&](const std::string& asked, bool model_in_bfloat16) {
    MatmulModel model;
    model.options.device = "gpu";
    model.options.check_fp16_speed = false;
    model.options.gpu_precision = asked;
    model.options.model_in_bfloat16 = model_in_bfloat16;
    engine::Decisions decisions;
    decisions.device = "gpu";
    OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
    EXPECT_TRUE(search_precision(model.input(&device), decisions, step).ok());
    return decisions.precision + ": " + step.message;
  };
  EXPECT_EQ(decided("auto", false), "fp16: products are in fp16");
  EXPECT_EQ(decided("auto", true), "bf16: products are in bf16, as most of them are in the model itself");
  EXPECT_EQ(decided("bf16", false), "bf16: products are in bf16, which was asked for");
  EXPECT_EQ(decided("fp16", true), "fp16: products are in fp16, which was asked for");
  EXPECT_EQ(decided("fp32", true), "fp32: config.gpu_config.precision is 'fp32'");
}

TEST(Search, APrecisionThatFindsNothingToNarrowSaysSo) {
  GraphBuilder b;
  engine::testing::FakeDevice device(kKernels);
  MatmulModel model;
  model.set_graph(b.output(b.pointwise(ir::PointwiseOp::kRelu, {b.input("x", {4, 16})}), "y").build());
  model.options.gpu_precision = "bf16";
  engine::Decisions decisions;
  decisions.device = "gpu";
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(model.input(&device), decisions, step).ok());
  EXPECT_EQ(decisions.precision, "fp32");
  EXPECT_EQ(step.message, "no product of the model can be in bf16");
}

// Of two products one takes differences of large weights, which bfloat16 loses.
TEST(Search, ANodeThatNeedsFloat32IsFoundInTimeOrNotAtAll) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  GraphBuilder b;
  const auto x = b.input("x", {4, 16});
  std::vector<float> large(16 * 16, 1000.3f);
  for (size_t i = 0; i < large.size(); i += 32) std::fill_n(large.begin() + static_cast<ptrdiff_t>(i), 16, -1000.0f);
  b.output(b.matmul(x, b.constant<float>({16, 16}, random_values(256, 5))), "easy");
  MatmulModel model;
  model.feeds = {{{"x", blade::testing::tensor<float>({4, 16}, std::vector<float>(64, 0.5f))}}};
  model.set_graph(b.output(b.matmul(x, b.constant<float>({16, 16}, large)), "hard").build());
  model.options.precision = "bf16";
  const std::string hard = model.graph.node(model.graph.value(model.graph.outputs()[1]).producer).name;
  for (const bool has_time : {true, false}) {
    model.options.time_limit_s = has_time ? 60 : 0;
    engine::Decisions decisions;
    OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
    ASSERT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
    EXPECT_EQ(decisions.precision, has_time ? "bf16" : "fp32") << step.message;
    EXPECT_EQ(decisions.keep_float32, has_time ? std::vector<std::string>{hard} : std::vector<std::string>());
  }
}

// Products that are exact in bfloat16, and others by numbers that it rounds, whose sums are large for the test data
// alone.
MatmulModel model_of_hard_products(int easy, int hard) {
  GraphBuilder b;
  const auto x = b.input("x", {4, 16}), sign = b.pointwise(ir::PointwiseOp::kSign, {x});
  std::vector<float> exact(256), rounded(256), rows(64);
  for (size_t i = 0; i < 256; ++i) {
    exact[i] = static_cast<float>(i * 37 % 16);
    rounded[i] = i / 16 % 2 == 0 ? 1000.3f : -1000.0f;
  }
  for (size_t i = 0; i < 64; ++i) rows[i] = i % 2 == 0 ? 0.5f : -0.5f;
  for (int i = 0; i < easy; ++i)
    b.output(b.matmul(sign, b.constant<float>({16, 16}, exact)), "easy" + std::to_string(i));
  for (int i = 0; i < hard; ++i)
    b.output(b.matmul(x, b.constant<float>({16, 16}, rounded)), "hard" + std::to_string(i));
  MatmulModel model;
  model.feeds = {{{"x", blade::testing::tensor<float>({4, 16}, rows)}}};
  model.set_graph(b.build());
  model.options.precision = "bf16";
  model.options.accuracy.rtol = 2e-5;    // it counts twenty times
  model.options.time_limit_s = 60 * 60;  // all data like them, however slow this machine is
  return model;
}

TEST(Search, Bfloat16IsJudgedByDataLikeTheTestDataToo) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  const auto search = [](const MatmulModel& model) {
    engine::Decisions decisions;
    OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
    EXPECT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
    EXPECT_EQ(decisions.precision, "bf16") << step.message;
    return std::pair(decisions.keep_float32.size(), step.message);
  };
  auto [spared, message] = search(model_of_hard_products(2, 0));
  EXPECT_EQ(spared, 0u);
  EXPECT_EQ(message, "the answers hold on 16 data like the test data, too");
  std::tie(spared, message) = search(model_of_hard_products(1, 1));
  EXPECT_EQ(spared, 1u);
  EXPECT_NE(message.find("the answers hold on 16 data like the test data, too"), std::string::npos) << message;
  std::tie(spared, message) = search(model_of_hard_products(0, 2));  // to hold on them would take all of its products
  EXPECT_EQ(spared, 0u);
  EXPECT_NE(message.find("hold on the test data, but not on all data like them: output 'hard0'"), std::string::npos)
      << message;
}

// The sum of two products that lose the same, of which one has four times the arithmetic: where one of them must stay
// float32, it is the other one, which comes first.
TEST(Search, OfNodesThatLoseTheSameTheOneWithLessArithmeticStaysFloat32) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  std::vector<float> rounded(64 * 16);
  for (size_t i = 0; i < 256; ++i) rounded[i] = i / 16 % 2 == 0 ? 1000.3f : -1000.0f;
  GraphBuilder b;
  const auto x = b.input("x", {4, 16});
  const auto wide = b.op(ir::Op::kConcat, {x, x, x, x}, ir::AxisAttrs{1});
  const auto cheap = b.matmul(x, b.constant<float>({16, 16}, {rounded.begin(), rounded.begin() + 256}));
  const auto dear = b.matmul(wide, b.constant<float>({64, 16}, rounded));
  MatmulModel model;
  model.feeds = {{{"x", blade::testing::tensor<float>({4, 16}, std::vector<float>(64, 0.5f))}}};
  model.set_graph(b.output(b.add(cheap, dear), "y").build());
  model.options.precision = "bf16";
  model.options.time_limit_s = 60 * 60;
  const auto name_of = [&](ir::ValueId value) { return model.graph.node(model.graph.value(value).producer).name; };
  int spares_one = 0;
  for (double rtol = 1; rtol > 1e-3; rtol *= 0.7) {
    model.options.accuracy.rtol = rtol / 20;
    engine::Decisions decisions;
    OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
    ASSERT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
    if (decisions.keep_float32.size() != 1) continue;
    EXPECT_EQ(decisions.keep_float32[0], name_of(cheap)) << rtol << ", the other one is " << name_of(dear);
    ++spares_one;
  }
  EXPECT_GT(spares_one, 0);
}

// Its second input says to which shape the first goes, whose columns the weights fix: in another order it is refused.
MatmulModel model_that_reads_its_shape() {
  GraphBuilder b;
  const auto x = b.input("x", {4, 16}), shape = b.input("shape", {2}, ir::DType::kInt32);
  const auto rows = b.op(ir::Op::kReshape, {x, shape});
  MatmulModel model;
  model.feeds[0].push_back({"shape", blade::testing::tensor<int32_t>({2}, {2, 32})});
  model.set_graph(b.output(b.matmul(rows, b.constant<float>({32, 8}, random_values(256, 5))), "y").build());
  model.options.time_limit_s = 60 * 60;
  return model;
}

TEST(Search, DataThatTheModelRefusesDoNotJudgeBfloat16) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  for (const char* precision : {"bf16", "auto"}) {
    MatmulModel model = model_that_reads_its_shape();
    model.options.precision = precision;
    model.options.accuracy.rtol = 0.1;
    engine::Decisions decisions;
    OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
    const Status found = search_precision(model.input(nullptr), decisions, step);
    EXPECT_TRUE(found.ok()) << precision << ": " << found.message();
    EXPECT_EQ(step.message.find("do not hold"), std::string::npos) << step.message;
  }
}

// No engine can be made of a negative number of threads: the second trial fails, what the first found stays.
TEST(Search, ATrialWhoseEngineCannotBeMadeDoesNotHold) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  MatmulModel model = model_of_hard_products(2, 1);
  SearchInput input = model.input(nullptr);
  int trials = 0;
  input.progress = [&](int, const char* phase) {
    if (phase == std::string("find_nodes_that_need_float32")) model.options.num_threads = ++trials == 2 ? -1 : 1;
    return false;
  };
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(input, decisions, step).ok());
  EXPECT_EQ(trials, 3);
  EXPECT_EQ(decisions.precision, "bf16") << step.message;
  EXPECT_EQ(decisions.keep_float32.size(), 1u);
}

TEST(Search, ANarrowTypeThatCannotBeTriedLeavesFloat32) {
  MatmulModel model;
  model.options.num_threads = -1;
  engine::testing::FakeDevice device(kKernels);
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(model.input(&device), decisions, step).ok());
  EXPECT_EQ(decisions.precision, "fp32");
  EXPECT_EQ(step.status, StepStatus::kFailed);
  EXPECT_NE(step.message.find("float32 stays: num_threads"), std::string::npos) << step.message;
}

TEST(Search, ARunThatFailsIsMarkedAndOtherErrorsAreReturned) {
  MatmulModel model = model_that_reads_its_shape();
  model.feeds[0][1].tensor = blade::testing::tensor<int32_t>({2}, {3, 32});
  const auto found = search_passes(model.input(nullptr), {});
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_NE(found->failed_run.find("the run fails"), std::string::npos) << found->failed_run;
  EXPECT_EQ(found->steps.back().message, "not tried: a run on the test data fails");
  model.options.check_speed = false;
  const auto unmeasured = search_passes(model.input(nullptr), {});
  ASSERT_TRUE(unmeasured.ok()) << unmeasured.status().message();
  EXPECT_NE(unmeasured->failed_run.find("the run fails"), std::string::npos) << unmeasured->failed_run;
  model.options.num_threads = -1;
  EXPECT_FALSE(search_passes(model.input(nullptr), {}).ok());
}

// Takes the row that a product says, less 257, which is 256 or 258 in bfloat16: there is but the first.
TEST(Search, AModelThatFailsInBfloat16StaysInFloat32) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  GraphBuilder b;
  const auto x = b.input("x", {4, 16});
  const auto product = b.relu(b.matmul(x, b.constant<float>({16, 16}, std::vector<float>(256, 257))));
  const auto place =
      b.pointwise(ir::PointwiseOp::kSub,
                  {b.op(ir::Op::kCast, {product}, ir::CastAttrs{ir::DType::kInt32}), b.constant<int32_t>({}, {257})});
  MatmulModel model;
  std::vector<float> values(64, 0);
  for (size_t row = 0; row < 4; ++row) values[16 * row] = 1;
  model.feeds = {{{"x", blade::testing::tensor<float>({4, 16}, values)}}};
  const auto table = b.constant<float>({1, 3}, random_values(3, 5));
  model.set_graph(b.output(b.op(ir::Op::kGather, {table, place}, ir::GatherAttrs{}), "y").output(product, "z").build());
  ASSERT_FALSE(model.answers.empty());
  model.options.precision = "bf16";
  model.options.time_limit_s = 0;
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  const Status found = search_precision(model.input(nullptr), decisions, step);
  ASSERT_TRUE(found.ok()) << found.message();
  EXPECT_EQ(decisions.precision, "fp32");
  EXPECT_EQ(step.status, StepStatus::kRolledBack);
  EXPECT_NE(step.message.find("the run fails"), std::string::npos) << step.message;
}

VariedAnswers::Clock::time_point in_an_hour() { return VariedAnswers::Clock::now() + std::chrono::hours(1); }

TEST(Search, VariedAnswersAreOfDataThatTheModelTakes) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  MatmulModel model = model_that_reads_its_shape();
  model.options.precision = "bf16";
  engine::Decisions narrow;
  narrow.precision = "bf16";
  const auto held = VariedAnswers::of_bfloat16(model.input(nullptr), narrow, in_an_hour());
  ASSERT_TRUE(held.ok()) << held.status().message();
  EXPECT_GT(held->size(), 0u);
  EXPECT_LT(held->size(), 8u);
}

TEST(Search, VariedAnswersKeepToABoundOfMemory) {
  const MatmulModel model;
  const auto all = VariedAnswers::of_float32(model.input(nullptr), {}, in_an_hour());
  ASSERT_TRUE(all.ok()) << all.status().message();
  EXPECT_EQ(all->size(), 16u);
  constexpr size_t kBytes = (4 * 16 + 4 * 8) * sizeof(float);  // of one feed with its answers
  for (const size_t most : {size_t{1}, size_t{5}}) {
    const auto few = VariedAnswers::of_float32(model.input(nullptr), {}, in_an_hour(), most * kBytes);
    ASSERT_TRUE(few.ok()) << few.status().message();
    EXPECT_EQ(few->size(), std::max<size_t>(most, 2));
  }
}

TEST(Search, ARunThatFailsInBfloat16AloneDoesNotHold) {
  struct Failing : Runner {
    Result<std::vector<ir::TensorPtr>> outputs(const Feed&) override { return unavailable("no such size"); }
    Result<Runnable> runnable(const Feed&) override { return unavailable("no such size"); }
  } narrow;
  const MatmulModel model;
  const auto varied = VariedAnswers::of_float32(model.input(nullptr), {}, in_an_hour());
  ASSERT_TRUE(varied.ok()) << varied.status().message();
  EXPECT_FALSE(varied->hold(model.input(nullptr), narrow));
  const AccuracyResult accuracy = varied->check(model.input(nullptr), narrow);
  EXPECT_FALSE(accuracy.holds);
  EXPECT_NE(accuracy.message().find("the run fails: no such size"), std::string::npos) << accuracy.message();
}

// Three products that are exact in bfloat16, and what weighs the third by the first two, whose sums are not.
TEST(Search, AttentionStaysFloat32WhereItAloneLoses) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  GraphBuilder b;
  const auto sign = b.pointwise(ir::PointwiseOp::kSign, {b.input("x", {1, 4, 16})});
  std::vector<ir::ValueId> data;
  for (const size_t step : {37, 41, 43}) {
    std::vector<float> exact(256);
    for (size_t i = 0; i < 256; ++i) exact[i] = static_cast<float>(i * step % 16);
    data.push_back(b.matmul(sign, b.constant<float>({16, 16}, exact)));
  }
  const std::vector<int64_t> plain = {0, 1, 2};
  MatmulModel model;
  model.feeds = {{{"x", blade::testing::tensor<float>({1, 4, 16}, random_values(64, 3))}}};
  model.set_graph(
      b.output(b.op(ir::Op::kAttention, data, ir::AttentionAttrs{1e-3f, plain, plain, plain, plain, false}, "loses"),
               "y")
          .build());
  model.options.precision = "bf16";
  model.options.accuracy.rtol = 2e-5;
  model.options.time_limit_s = 60 * 60;
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
  EXPECT_EQ(decisions.precision, "bf16") << step.message;
  EXPECT_EQ(decisions.keep_float32, std::vector<std::string>{"loses"}) << step.message;
}

float channel_mean(size_t i) { return static_cast<float>(i * 37 % 64 + 1) / 8; }

// A product of rows that are alike, as a transformer's are, each nearly a number that bfloat16 holds, so that only the
// weights' errors are left: either the model makes them so, or the test data alone are.
MatmulModel model_of_like_rows(bool on_all_data) {
  constexpr int64_t kRows = 16, kChannels = 64;
  GraphBuilder b;
  auto x = b.input("x", {kRows, kChannels});
  std::vector<float> rows(kRows * kChannels), noise = random_values(rows.size(), 6);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = channel_mean(i);
  for (float& value : noise) value *= 1e-4f;
  if (on_all_data) x = b.relu(b.add(x, b.constant<float>({kChannels}, {rows.begin(), rows.begin() + kChannels})));
  MatmulModel model;
  model.feeds = {{{"x", blade::testing::tensor<float>({kRows, kChannels}, on_all_data ? noise : rows)}}};
  model.set_graph(b.output(b.matmul(x, b.constant<float>({kChannels, 8}, random_values(512, 5))), "y").build());
  model.options.precision = "bf16";
  model.options.accuracy.rtol = 1e-5;
  return model;
}

TEST(Search, WeightsAreRoundedByWhatTheyMultiplyWhereAnswersDoNotHoldOtherwise) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  const MatmulModel model = model_of_like_rows(/*on_all_data=*/true);
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
  EXPECT_EQ(decisions.precision, "bf16") << step.message;
  EXPECT_TRUE(decisions.keep_float32.empty()) << step.message;
  ASSERT_EQ(decisions.input_moments.size(), 1u);
  const passes::InputMoments& moments = decisions.input_moments.begin()->second;
  for (size_t i = 0; i < moments.means.size(); ++i) {
    EXPECT_NEAR(moments.means[i], channel_mean(i), 1e-4);
    EXPECT_LT(moments.variances[i], 1e-6);
  }
}

TEST(Search, WeightsAreNotRoundedByWhatHoldsForTheTestDataAlone) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "this processor has no bfloat16 arithmetic";
  const MatmulModel model = model_of_like_rows(/*on_all_data=*/false);
  engine::Decisions decisions;
  OptimizationStep step{"precision", StepStatus::kPassed, {}, {}, "", 0};
  ASSERT_TRUE(search_precision(model.input(nullptr), decisions, step).ok());
  EXPECT_EQ(decisions.precision, "fp32") << step.message;  // its only product is more than half of its products
  EXPECT_TRUE(decisions.input_moments.empty());
}

// Few rows say little of a channel whose values vary: the means of other data lie nearer to those of other channels.
TEST(Search, MeansOfFewRowsAreDrawnToTheCommonOne) {
  constexpr int64_t kChannels = 64;
  double spreads[2];
  for (const bool many : {false, true}) {
    const int64_t rows = many ? 4096 : 16;
    GraphBuilder b;
    const auto x = b.input("x", {rows, kChannels});
    MatmulModel model;
    const auto count = static_cast<size_t>(rows * kChannels);
    std::vector<float> values = random_values(count, 8);
    for (size_t i = 0; i < count; ++i) values[i] += i % 2 == 0 ? 0.1f : -0.1f;
    model.feeds = {{{"x", blade::testing::tensor<float>({rows, kChannels}, values)}}};
    model.set_graph(b.output(b.matmul(x, b.constant<float>({kChannels, 8}, random_values(512, 5))), "y").build());
    const auto found = measure_input_moments(model.input(nullptr), {});
    ASSERT_TRUE(found.ok()) << found.status().message();
    ASSERT_EQ(found->size(), 1u);
    const std::vector<float>& means = found->begin()->second.means;
    double spread = 0;
    for (size_t i = 0; i < means.size(); ++i) spread += (i % 2 == 0 ? 1 : -1) * double{means[i]} / kChannels;
    spreads[many] = spread;
  }
  EXPECT_NEAR(spreads[1], 0.1, 0.02);
  EXPECT_LT(spreads[0], 0.06);
}

Support takes(const KernelRequest&) { return Support::yes(); }
constexpr auto kCreate = backends::reference::create<backends::reference::run_matmul>;

// All take the same time on this device: the static choices win, and another size's override must not come before them.
TEST(Search, ADeviceStoresTheStaticChoiceThatWon) {
  const KernelEntry kernels[] = {{"fake.first", ir::Op::kMatMul, takes, nullptr, kCreate},
                                 {"fake.second", ir::Op::kMatMul, takes, nullptr, kCreate}};
  MatmulModel model;
  engine::Decisions decisions;
  const auto step = model.tune(kernels, decisions);
  ASSERT_TRUE(step.ok()) << step.status().message();
  EXPECT_EQ(step->changes, 0);
  ASSERT_EQ(decisions.kernels.size(), 1u);
  EXPECT_TRUE(decisions.kernels.begin()->first.starts_with("MatMul f32[4,16]")) << decisions.kernels.begin()->first;
  EXPECT_EQ(decisions.kernels.begin()->second, "fake.first");
}

int& compiled() {
  static int count = 0;
  return count;
}

Result<std::unique_ptr<backends::Kernel>> compile(const KernelRequest& request, backends::PackCache& packs) {
  ++compiled();
  return kCreate(request, packs);
}

TEST(Search, RowsThatCompileAreTriedWhereTheUserWantsThem) {
  const KernelEntry kernels[] = {
      {"fake.first", ir::Op::kMatMul, takes, nullptr, kCreate},
      {"fake.compiled", ir::Op::kMatMul, takes, nullptr, compile, nullptr, nullptr, backends::kCompiles}};
  for (const bool wanted : {true, false}) {
    MatmulModel model;
    model.options.compile_chains = wanted;
    model.options.cache_dir = "off";
    engine::Decisions decisions;
    compiled() = 0;
    const auto step = model.tune(kernels, decisions);
    ASSERT_TRUE(step.ok()) << step.status().message();
    EXPECT_EQ(compiled() > 0, wanted);
    // This device has no compiler, which matters to those who wanted one.
    EXPECT_EQ(step->message.starts_with("elementwise chains are interpreted: "), wanted) << step->message;
  }
}

// Another row's time is not this one's: here what is measured later looks faster.
TEST(Search, ARowThatCannotBeMadeIsNotTimed) {
  const auto refuses = [](const KernelRequest&, backends::PackCache&) -> Result<std::unique_ptr<backends::Kernel>> {
    return unavailable("the library has no algorithm");
  };
  const KernelEntry kernels[] = {{"fake.first", ir::Op::kMatMul, takes, nullptr, kCreate},
                                 {"fake.library", ir::Op::kMatMul, takes, nullptr, refuses}};
  MatmulModel model;
  engine::Decisions decisions;
  engine::testing::FakeQueue::speedup = 0.99;
  const auto step = model.tune(kernels, decisions);
  engine::testing::FakeQueue::speedup = engine::testing::FakeQueue::microseconds = 1;
  ASSERT_TRUE(step.ok()) << step.status().message();
  EXPECT_EQ(step->changes, 0);
}

// What compiles slowly does so one work at a time, so that tuning ends when it should.
TEST(Search, CompilingEndsInTime) {
  const auto slow = [](const KernelRequest& request, backends::PackCache& packs) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return compile(request, packs);
  };
  const KernelEntry kernels[] = {
      {"fake.first", ir::Op::kMatMul, takes, nullptr, kCreate},
      {"fake.compiled", ir::Op::kMatMul, takes, nullptr, slow, nullptr, nullptr, backends::kCompiles}};
  MatmulModel model({16, 12, 10, 8, 6, 4, 2});
  model.options.time_limit_s = 0.1;
  model.options.cache_dir = "off";
  engine::Decisions decisions;
  compiled() = 0;
  const auto step = model.tune(kernels, decisions);
  ASSERT_TRUE(step.ok()) << step.status().message();
  EXPECT_LE(compiled(), 1);
}

}  // namespace
}  // namespace blade::optimizer
