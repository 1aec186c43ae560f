// Which row of a table a request gets, by name, and what is said about the others.
#include <gtest/gtest.h>

#include "engine/fake_device.h"
#include "engine/plan.h"

namespace blade::engine {
namespace {

using backends::KernelEntry;
using backends::KernelRequest;
using backends::Support;

Support yes(const KernelRequest&) { return Support::yes(); }
Support no(const KernelRequest&) { return Support::no("stride is 2, needs 1"); }
double slow(const KernelRequest&) { return 20; }
double fast(const KernelRequest&) { return 8; }

constexpr ir::Op kOp = ir::Op::kSoftmax;

std::string chosen(std::vector<KernelEntry> table, const Decisions& decisions = {},
                   std::vector<std::string>* refused = nullptr) {
  ir::Node node;
  node.op = kOp;
  node.name = "soft";
  node.attrs = ir::SoftmaxAttrs{};
  KernelRequest request;
  request.node = &node;
  request.inputs = request.outputs = {{ir::DType::kFloat32, {2, 3}}};
  request.constants = {nullptr};
  auto entry = select_kernel(request, decisions, table, refused);
  return entry.ok() ? (*entry)->name : entry.status().message();
}

TEST(KernelSelection, TableOrderDecidesWithoutPredictions) {
  EXPECT_EQ(chosen({{"a", kOp, yes, nullptr, nullptr}, {"b", kOp, yes, nullptr, nullptr}}), "a");
}

TEST(KernelSelection, TheCheapestPredictionWins) {
  std::vector<std::string> refused;
  EXPECT_EQ(chosen({{"a", kOp, yes, slow, nullptr}, {"b", kOp, yes, fast, nullptr}}, {}, &refused), "b");
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_EQ(refused[0], "a: supported, but 'b' is predicted faster (8.0 us against 20.0 us)");
}

TEST(KernelSelection, ARowWithoutAPredictionIsNotOvertakenAndOvertakesNone) {
  EXPECT_EQ(chosen({{"a", kOp, yes, slow, nullptr}, {"b", kOp, yes, nullptr, nullptr}}), "a");
  EXPECT_EQ(chosen({{"a", kOp, yes, nullptr, nullptr}, {"b", kOp, yes, fast, nullptr}}), "a");
}

TEST(KernelSelection, RefusalsCarryTheirReason) {
  std::vector<std::string> refused;
  EXPECT_EQ(chosen({{"a", kOp, no, nullptr, nullptr}, {"b", kOp, yes, nullptr, nullptr}}, {}, &refused), "b");
  EXPECT_EQ(refused, std::vector<std::string>{"a: stride is 2, needs 1"});
}

TEST(KernelSelection, OtherOpsAreNotAsked) {
  EXPECT_EQ(chosen({{"conv", ir::Op::kConv, yes, nullptr, nullptr}, {"b", kOp, yes, nullptr, nullptr}}), "b");
}

// Compiling takes up to a second: nobody waits for it whom tuning did not tell to.
TEST(KernelSelection, OnlyStoredChoicesCompile) {
  const KernelEntry compiled = {"compiled", kOp, yes, fast, nullptr, nullptr, nullptr, backends::kCompiles},
                    plain = {"b", kOp, yes, slow, nullptr};
  std::vector<std::string> refused;
  EXPECT_EQ(chosen({compiled, plain}, {}, &refused), "b");
  EXPECT_EQ(refused, std::vector<std::string>{"compiled: supported, but compiles code, which only tuning chooses"});
  EXPECT_NE(chosen({compiled}).find("has no kernel"), std::string::npos);
  Decisions decisions;
  decisions.kernels.emplace("Softmax f32[2,3] -> f32[2,3] log=0", "compiled");
  EXPECT_EQ(chosen({compiled, plain}, decisions), "compiled");
}

// What a row compiles for a convolution is of one size: at another, nobody waits for it.
TEST(KernelSelection, ChoicesOfOtherSizesCompileNoConvolution) {
  ir::Node node;
  node.op = ir::Op::kConv;
  node.attrs = ir::ConvAttrs{};
  testing::FakeDevice device({});
  KernelRequest request;
  request.node = &node;
  request.device = &device;
  const backends::TensorDesc weights = {ir::DType::kFloat32, {1, 1, 3, 5}};
  const auto set_batch = [&](int64_t batch) {
    request.inputs = {{ir::DType::kFloat32, {batch, 4, 4, 3}}, weights};
    request.outputs = {{ir::DType::kFloat32, {batch, 4, 4, 5}}};
  };
  const std::vector<KernelEntry> table = {
      {"plain", ir::Op::kConv, yes, nullptr, nullptr},
      {"compiled", ir::Op::kConv, yes, nullptr, nullptr, nullptr, nullptr, backends::kCompiles},
      {"other", ir::Op::kConv, yes, nullptr, nullptr}};
  const auto name_at = [&](int64_t batch, const char* stored) {
    set_batch(8);
    Decisions decisions;
    decisions.kernels.emplace(kernel_signature(request), stored);
    set_batch(batch);
    return std::string((*select_kernel(request, decisions, table, nullptr))->name);
  };
  EXPECT_EQ(name_at(8, "compiled"), "compiled");
  EXPECT_EQ(name_at(5, "compiled"), "plain");
  EXPECT_EQ(name_at(5, "other"), "other");
}

// Weights that the graph computes, as in correlation of two images' features: no packing, and none of the arithmetic of
// all channels.
TEST(KernelSelection, DepthwiseConvolutionsByComputedWeightsAreDepthwise) {
  ir::Node node;
  node.op = ir::Op::kConv;
  node.attrs = ir::ConvAttrs{{1, 1}, {1, 1}, ir::Padding::kValid, {}, 32, {}};
  const backends::Machine machine = backends::Machine::host();
  KernelRequest request;
  request.node = &node;
  request.machine = &machine;
  request.inputs = {{ir::DType::kFloat32, {1, 13, 13, 32}}, {ir::DType::kFloat32, {5, 5, 1, 32}}};
  request.outputs = {{ir::DType::kFloat32, {1, 9, 9, 32}}};
  request.constants = {nullptr, nullptr};
  const auto entry = select_kernel(request, {}, backends::cpu_kernels(), nullptr);
  ASSERT_TRUE(entry.ok()) << entry.status().message();
  EXPECT_STREQ((*entry)->name, "cpu.conv.depthwise_f32");
}

// Few channels a group leave most of a tile empty, where vectors of whole groups do not.
TEST(KernelSelection, ConvolutionsOfFewChannelsAGroupGoByVectors) {
  const backends::Machine machine = backends::Machine::host();
  const auto name_of = [&](int64_t group, int64_t size) -> std::string {
    ir::Node node;
    node.op = ir::Op::kConv;
    node.attrs = ir::ConvAttrs{{1, 1}, {1, 1}, ir::Padding::kSame, {}, 128 / group, {}};
    KernelRequest request;
    request.node = &node;
    request.machine = &machine;
    request.inputs = {{ir::DType::kFloat32, {1, 28, 28, 128}}, {ir::DType::kFloat32, {size, size, group, 128}}};
    request.outputs = {{ir::DType::kFloat32, {1, 28, 28, 128}}};
    request.constants = {nullptr, ir::make_scalar_i64(0)};
    const auto entry = select_kernel(request, {}, backends::cpu_kernels(), nullptr);
    return entry.ok() ? (*entry)->name : entry.status().message();
  };
  EXPECT_EQ(name_of(4, 3), "cpu.conv.grouped_f32");
  EXPECT_EQ(name_of(8, 3), "cpu.conv.grouped_f32");
  EXPECT_EQ(name_of(64, 3), "cpu.conv.direct_f32");
  EXPECT_EQ(name_of(8, 1), "cpu.conv.direct_f32");
}

TEST(KernelSelection, AStoredChoiceOverrules) {
  Decisions decisions;
  decisions.kernels.emplace("Softmax f32[2,3] -> f32[2,3] log=0", "a");
  const KernelEntry a = {"a", kOp, yes, slow, nullptr}, b = {"b", kOp, yes, fast, nullptr};
  EXPECT_EQ(chosen({a, b}, decisions), "a");
  // Not supported here: the static choice is taken, and it is said.
  std::vector<std::string> refused;
  EXPECT_EQ(chosen({{"a", kOp, no, nullptr, nullptr}, b}, decisions, &refused), "b");
  EXPECT_EQ(refused.back(), "a: the stored choice is not available on this machine");
}

// On a device a batch size that was not measured takes the choice of the next larger one, or of the largest.
TEST(KernelSelection, ADeviceTakesTheChoiceOfANeighbouringBatch) {
  testing::FakeDevice device({});
  ir::Node node;
  node.op = kOp;
  node.attrs = ir::SoftmaxAttrs{};
  const KernelEntry table[] = {
      {"a", kOp, yes, fast, nullptr}, {"b", kOp, yes, slow, nullptr}, {"c", kOp, yes, slow, nullptr}};
  Decisions decisions;
  decisions.kernels = {{"Softmax f32[4,3] -> f32[4,3] log=0", "b"},
                       {"Softmax f32[8,3] -> f32[8,3] log=0", "c"},
                       {"Softmax f32[3,5] -> f32[3,5] log=0", "a"}};
  const auto at = [&](int64_t batch, backends::Device* where) {
    KernelRequest request;
    request.node = &node;
    request.device = where;
    request.inputs = request.outputs = {{ir::DType::kFloat32, {batch, 3}}};
    request.constants = {nullptr};
    return std::string((*select_kernel(request, decisions, std::span<const KernelEntry>(table), nullptr))->name);
  };
  EXPECT_EQ(at(3, &device), "b");
  EXPECT_EQ(at(4, &device), "b");
  EXPECT_EQ(at(5, &device), "c");
  EXPECT_EQ(at(9, &device), "c");
  // The static choice, stored where it was measured to be the best.
  decisions.kernels["Softmax f32[5,3] -> f32[5,3] log=0"] = "a";
  EXPECT_EQ(at(5, &device), "a");
  EXPECT_EQ(at(6, &device), "c");
  EXPECT_EQ(at(5, nullptr), "a");
}

TEST(KernelSelection, NoRowIsASentenceThatNamesTheNode) {
  const std::string message = chosen({{"a", kOp, no, nullptr, nullptr}});
  EXPECT_NE(message.find("Node 'soft' (Softmax) has no kernel"), std::string::npos) << message;
}

TEST(KernelSelection, SignatureSeparatesWork) {
  ir::Node node;
  node.op = ir::Op::kConv;
  ir::ConvAttrs attrs;
  attrs.strides = {1, 1};
  node.attrs = attrs;
  KernelRequest request;
  request.node = &node;
  request.inputs = {{ir::DType::kFloat32, {1, 4, 4, 8}}, {ir::DType::kFloat32, {3, 3, 8, 8}}};
  request.outputs = {{ir::DType::kFloat32, {1, 4, 4, 8}}};
  request.constants = {nullptr, ir::make_scalar_i64(0)};
  const std::string base = kernel_signature(request);
  EXPECT_EQ(base.find("Conv f32[1,4,4,8] f32[3,3,8,8]c -> f32[1,4,4,8] strides=1x1"), 0u) << base;
  node.get<ir::ConvAttrs>().strides = {2, 2};
  EXPECT_NE(kernel_signature(request), base);
  node.get<ir::ConvAttrs>().strides = {1, 1};
  node.get<ir::ConvAttrs>().epilogue = ir::PointwiseProgram::unary(ir::PointwiseOp::kRelu);
  EXPECT_NE(kernel_signature(request), base);
  node.get<ir::ConvAttrs>().epilogue = {};
  request.constants[1] = nullptr;
  EXPECT_NE(kernel_signature(request), base);
  request.constants[1] = ir::make_scalar_i64(0);
  EXPECT_EQ(kernel_signature(request), base);
}

}  // namespace
}  // namespace blade::engine
