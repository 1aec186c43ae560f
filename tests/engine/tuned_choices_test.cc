// Stored choices: their text, the machine that they hold on, and that none of them changes an answer.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "engine/engine.h"
#include "engine/kernel_choice.h"
#include "engine/test_graphs.h"
#include "support/evaluate_graph.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using testing::Collect;

TEST(KernelChoice, TextRoundTrips) {
  KernelChoice choice{"cpu.conv.direct_f32", {}};
  EXPECT_EQ(choice.text(), "cpu.conv.direct_f32");
  choice.blocking.vectors = 3;
  choice.blocking.strip = 12;
  EXPECT_EQ(choice.text(), "cpu.conv.direct_f32 vectors=3 strip=12");
  const auto back = KernelChoice::parse(choice.text());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->kernel, choice.kernel);
  EXPECT_EQ(back->blocking, choice.blocking);
}

TEST(KernelChoice, OtherTextsAreNone) {
  for (const char* text :
       {"", " ", "a ", "a  b", "a vectors", "a vectors=", "a vectors=x", "a vectors=0", "a vectors=-1", "a vectors=2x",
        "a vectors=99999999999999999999", "a vectors=65537", "a width=2", " vectors=2"}) {
    EXPECT_FALSE(KernelChoice::parse(text)) << text;
  }
}

TEST(MachineSignature, TellsThreadsApart) {
  EXPECT_EQ(machine_signature(nullptr, 2), machine_signature(nullptr, 2));
  EXPECT_NE(machine_signature(nullptr, 2), machine_signature(nullptr, 3));
}
TEST(MachineSignature, TellsInstructionSetsAndCachesApart) {
  using backends::Machine;
  std::vector<Machine> machines(1);
  for (bool Machine::*has : {&Machine::avx2, &Machine::fma, &Machine::avx512, &Machine::avx512_bf16,
                             &Machine::avx512_fp16, &Machine::avx512_vnni, &Machine::amx_bf16, &Machine::amx_int8}) {
    machines.emplace_back().*has = true;
  }
  for (size_t Machine::*bytes : {&Machine::l1d_bytes, &Machine::l2_bytes, &Machine::l3_bytes})
    machines.emplace_back().*bytes = 1 << 10;
  std::set<std::string> signatures;
  for (const Machine& machine : machines) signatures.insert(machine_signature(machine, 2));
  EXPECT_EQ(signatures.size(), machines.size());
}

GraphBuilder::Id weights(GraphBuilder& b, ir::Dims dims, uint32_t seed) {
  int64_t count = 1;
  for (int64_t d : dims) count *= d;
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = std::uniform_real_distribution<float>(-0.3f, 0.3f)(random);
  return b.constant<float>(std::move(dims), values);
}

// A first layer and a pooling, a 3x3 convolution, a depthwise and a 1x1 one, a product.
ir::Graph network() {
  GraphBuilder b;
  const auto x = b.input("x", {1, 32, 32, 3});
  auto y = b.relu(b.conv(x, weights(b, {3, 3, 3, 24}, 1)));
  y = b.op(ir::Op::kPool, {y}, ir::PoolAttrs{ir::PoolKind::kMax, {2, 2}, {2, 2}, ir::Padding::kValid, {}});
  y = b.relu(b.conv(y, weights(b, {3, 3, 24, 40}, 2)));
  y = b.relu(b.conv(y, weights(b, {3, 3, 1, 40}, 3), {1, 1}, ir::Padding::kSame, 40));
  y = b.conv(y, weights(b, {1, 1, 40, 20}, 4));
  y = b.matmul(b.reshape(y, {256, 20}), weights(b, {20, 70}, 5));
  return b.output(y, "y").build();
}

std::shared_ptr<Engine> engine_with(const Decisions& decisions, int threads = 2) {
  EngineOptions options;
  options.num_threads = threads;
  auto engine = Engine::create(network(), decisions, options);
  EXPECT_TRUE(engine.ok()) << engine.status().message();
  return engine.ok() ? *engine : nullptr;
}

const std::vector<ir::Dims> kShape = {{1, 32, 32, 3}};

ir::TensorPtr answer(Engine& engine) {
  const std::vector<ir::TensorPtr> inputs = blade::testing::random_inputs(network(), 5);
  Collect got(1);
  const Status ran = engine.run(testing::refs(inputs), got);
  EXPECT_TRUE(ran.ok()) << ran.message();
  return got.outputs[0];
}

// Everything that a plan offers: (signature, choice).
std::vector<std::pair<std::string, std::string>> offers(Engine& engine) {
  std::vector<std::pair<std::string, std::string>> all;
  const auto plan = engine.trial_plan(kShape, Decisions());
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  for (const Step& step : (*plan)->steps) {
    for (const std::string& one : step.alternatives) all.emplace_back(step.signature, one);
  }
  for (const PossiblePair& pair : (*plan)->possible_pairs) {
    for (const std::string& one : pair.alternatives) all.emplace_back(pair.signature, one);
  }
  return all;
}

TEST(TunedChoices, EveryAlternativeGivesTheAnswersOfTheGraph) {
  const auto inputs = blade::testing::random_inputs(network(), 5);
  const auto want = blade::testing::evaluate_graph(network(), inputs);
  ASSERT_TRUE(want.ok());
  const auto all = offers(*engine_with(Decisions()));
  EXPECT_GT(all.size(), 20u);
  for (const auto& [signature, choice] : all) {
    SCOPED_TRACE(signature + ": " + choice);
    Decisions decisions;
    decisions.kernels[signature] = choice;
    const auto engine = engine_with(decisions);
    testing::expect_close(*answer(*engine), *(*want)[0], 2e-4, "output");
    const auto plan = engine->plan_for(kShape);
    ASSERT_TRUE(plan.ok());
    const auto takes = [&, &text = choice](const Step& step) { return step.choice == text; };
    EXPECT_TRUE(choice == kApart || std::any_of((*plan)->steps.begin(), (*plan)->steps.end(), takes));
  }
}

TEST(TunedChoices, PairsAreMadeAndBrokenByChoice) {
  const auto steps = [](const Decisions& decisions) {
    return (*engine_with(decisions)->plan_for(kShape))->steps.size();
  };
  const size_t usual = steps(Decisions());
  for (const auto& [signature, choice] : offers(*engine_with(Decisions()))) {
    if (signature.find(" =>") == std::string::npos) continue;
    Decisions decisions;
    decisions.kernels[signature] = choice;
    const size_t now = steps(decisions);
    const bool apart = choice == kApart;
    EXPECT_TRUE(now == usual || now == usual + (apart ? 1 : -1)) << signature << ": " << choice;
  }
}

TEST(TunedChoices, DamagedOnesAreLeftAside) {
  const auto want = answer(*engine_with(Decisions()));
  for (const auto& [signature, unused] : offers(*engine_with(Decisions()))) {
    for (const char* choice : {"", "cpu.nothing", "cpu.conv.direct_f32 vectors=70000", "apart apart"}) {
      Decisions decisions;
      decisions.kernels[signature] = choice;
      testing::expect_close(*answer(*engine_with(decisions)), *want, 2e-4, choice);
    }
  }
}

// How a choice cuts the work says nothing about another row, nor about the reference kernels.
TEST(TunedChoices, CutsOfARowThatIsNotThereAreLeftAside) {
  Decisions missing, on_one_thread;
  for (const auto& [signature, choice] : offers(*engine_with(Decisions()))) {
    if (signature.find(" =>") != std::string::npos) continue;
    missing.kernels[signature] = "cpu.nothing threads=1 strip=1";
    on_one_thread.kernels[signature] = choice.substr(0, choice.find(' ')) + " threads=1";
  }
  EngineOptions naive;
  naive.reference_only = true;
  const auto by_definition = Engine::create(network(), on_one_thread, naive);
  ASSERT_TRUE(by_definition.ok());
  for (const auto& engine : {engine_with(missing), *by_definition}) {
    const auto plan = engine->plan_for(kShape);
    ASSERT_TRUE(plan.ok());
    for (const Step& step : (*plan)->steps) {
      EXPECT_FALSE(step.on_one_thread) << step.node_name;
      EXPECT_EQ(step.choice, step.kernel_name);
    }
  }
}

TEST(TunedChoices, TheSameChoicesGiveTheSameBits) {
  Decisions decisions;
  for (const auto& [signature, choice] : offers(*engine_with(Decisions()))) decisions.kernels[signature] = choice;
  const auto first = answer(*engine_with(decisions));
  const auto engine = engine_with(decisions);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(std::memcmp(answer(*engine)->data, first->data, first->bytes), 0) << "run " << i;
  }
}

TEST(TunedChoices, OfAnotherMachineAreLeftAside) {
  const auto all = offers(*engine_with(Decisions()));
  const auto inline_run = std::find_if(
      all.begin(), all.end(), [](const auto& one) { return one.second.find(" threads=1") != std::string::npos; });
  ASSERT_NE(inline_run, all.end());
  Decisions decisions;
  decisions.kernels[inline_run->first] = inline_run->second;
  decisions.figures[inline_run->first] = {"something", 2, 1};
  const auto is_inline = [](const Step& step) { return step.on_one_thread && step.tuned && step.tuned->us == 1; };
  for (const bool same : {true, false}) {
    decisions.tuned_on = same ? machine_signature(nullptr, 2) : "Z80, 1 thread";
    const auto engine = engine_with(decisions);
    EXPECT_EQ(engine->decisions().kernels.size(), same ? 1u : 0u);
    const auto plan = engine->plan_for(kShape);
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(std::any_of((*plan)->steps.begin(), (*plan)->steps.end(), is_inline), same);
  }
  decisions.tuned_on = machine_signature(nullptr, 2);
  EXPECT_TRUE(engine_with(decisions, 1)->decisions().kernels.empty());  // another number of threads
}

}  // namespace
}  // namespace blade::engine
