// Chains of steps that run strip by strip: the same bits as one step after the other, whatever they compute.
#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <set>

#include "base/checked_math.h"
#include "engine/kernel_choice.h"
#include "engine/prepare_graph.h"
#include "engine/run_context.h"
#include "engine/strip_schedule.h"
#include "engine/test_graphs.h"
#include "passes/pass.h"
#include "support/amx_emulator.h"
#include "support/evaluate_graph.h"
#include "support/graph_builder.h"

namespace blade::engine {
namespace {

using blade::testing::GraphBuilder;
using Id = ir::ValueId;

// Grows a graph of random layers over images.
class RandomImageNet {
 public:
  RandomImageNet(uint32_t seed, ir::Dims dims) : random_(seed), input_(std::move(dims)) {
    value_ = input_value_ = net_.input("x", input_);
    dims_ = input_;
  }
  void add_layer() {
    before_.emplace_back(value_, dims_);
    const int kind = pick(0, 12);
    if (kind <= 4) {
      convolution(pick(0, 6));
    } else if (kind == 5) {
      pooling();
    } else if (kind == 6) {
      value_ = net_.pointwise(ir::PointwiseOp::kSigmoid, {value_});
    } else if (kind == 7) {
      value_ = net_.mul(value_, constant({dims_[3]}));
    } else if (kind <= 9) {
      join(kind == 8);
    } else if (kind == 10) {
      transposed();
    } else if (kind == 11) {
      value_ = net_.mul(value_, factor_of_each_image());
    } else {
      blocks();
    }
  }
  // As an engine prepares it for "fp32" or "bf16".
  ir::Graph build(const std::string& precision = "fp32") {
    ir::Graph graph = net_.output(value_, "y").build();
    Decisions decisions;
    decisions.precision = precision;
    EXPECT_TRUE(run_region_passes(graph, decisions, {}).ok());
    graph.remove_dead_nodes();
    return graph;
  }
  const ir::Dims& input_dims() const { return input_; }
  int pick(int from, int to) { return std::uniform_int_distribution<int>(from, to)(random_); }

 private:
  Id constant(const ir::Dims& dims) {
    std::vector<float> values(static_cast<size_t>(*checked_element_count(dims)));
    for (float& v : values) v = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random_);
    return net_.constant<float>(dims, values);
  }

  // [N, 1, 1, C], of the input or constant.
  Id factor_of_each_image() {
    if (pick(0, 1) == 0) return constant({dims_[0], 1, 1, dims_[3]});
    const ir::ReduceAttrs largest{ir::ReduceKind::kMax, {1, 2, 3}, /*keep_dims=*/true};
    return net_.mul(net_.op(ir::Op::kReduce, {input_value_}, largest), constant({dims_[3]}));
  }

  void convolution(int kind) {
    constexpr struct {
      int64_t kh, kw, stride, dilation;
    } kKinds[] = {{1, 1, 1, 1}, {3, 3, 1, 1}, {5, 5, 1, 1}, {7, 1, 1, 1}, {3, 3, 2, 1}, {3, 3, 1, 2}, {1, 3, 1, 1}};
    const auto& k = kKinds[kind];
    const int64_t channels = dims_[3];
    const bool depthwise = pick(0, 3) == 0 && channels < 64;
    const int64_t out = depthwise ? channels : std::vector<int64_t>{3, 16, 24, 32, 64}[static_cast<size_t>(pick(0, 4))];
    ir::ConvAttrs a;
    a.strides = {k.stride, k.stride};
    a.dilations = {k.dilation, k.dilation};
    a.groups = depthwise ? channels : 1;
    a.padding = pick(0, 3) == 0 ? ir::Padding::kExplicit : ir::Padding::kSame;
    const int64_t reach = (k.kh - 1) * k.dilation + 1, width = (k.kw - 1) * k.dilation + 1;
    if (a.padding == ir::Padding::kExplicit) {
      const int64_t top = pick(0, static_cast<int>(reach) - 1), bottom = pick(0, static_cast<int>(reach) - 1);
      a.explicit_pads = {top, bottom, width / 2, width / 2};
      if (dims_[1] + top + bottom < reach || dims_[2] + width / 2 * 2 < width) return;
      dims_[1] = (dims_[1] + top + bottom - reach) / k.stride + 1;
      dims_[2] = (dims_[2] + width / 2 * 2 - width) / k.stride + 1;
    } else {
      for (int i : {1, 2}) dims_[i] = (dims_[i] + k.stride - 1) / k.stride;
    }
    value_ = net_.op(ir::Op::kConv, {value_, constant({k.kh, k.kw, depthwise ? 1 : channels, out})}, a);
    dims_[3] = out;
    if (pick(0, 1) == 0) value_ = net_.add(value_, constant({out}));
    if (pick(0, 1) == 0) value_ = net_.relu(value_);
  }

  void pooling() {
    ir::PoolAttrs a;
    a.kind = pick(0, 1) == 0 ? ir::PoolKind::kMax : ir::PoolKind::kAverage;
    const int64_t stride = pick(1, 2), window = pick(2, 3);
    a.window = {window, window};
    a.strides = {stride, stride};
    a.padding = ir::Padding::kSame;
    value_ = net_.op(ir::Op::kPool, {value_}, a);
    for (int i : {1, 2}) dims_[i] = (dims_[i] + stride - 1) / stride;
  }

  // With an earlier value of the same size.
  void join(bool adds) {
    for (const auto& [value, dims] : before_) {
      if (dims[1] != dims_[1] || dims[2] != dims_[2] || (adds && dims[3] != dims_[3]) || value == value_) continue;
      if (adds) {
        value_ = net_.add(value_, value);
      } else {
        value_ = net_.op(ir::Op::kConcat, {value, value_}, ir::AxisAttrs{3});
        dims_[3] += dims[3];
      }
      return;
    }
  }

  void transposed() {
    if (dims_[1] * dims_[2] > 2000) return;
    ir::ConvTransposeAttrs a;
    a.strides = {2, 2};
    a.dilations = {1, 1};
    a.padding = ir::Padding::kSame;
    const Id weights = constant({2, 2, 16, dims_[3]});
    dims_ = {dims_[0], dims_[1] * 2, dims_[2] * 2, 16};
    std::vector<int32_t> size(dims_.begin(), dims_.end());
    value_ = net_.op(ir::Op::kConvTranspose, {value_, weights, net_.ints(size)}, a);
  }

  void blocks() {
    if (dims_[3] % 4 == 0) {
      value_ = net_.op(ir::Op::kDepthToSpace, {value_}, ir::BlockAttrs{2});
      dims_ = {dims_[0], dims_[1] * 2, dims_[2] * 2, dims_[3] / 4};
    } else if (dims_[1] % 2 == 0 && dims_[2] % 2 == 0) {
      value_ = net_.op(ir::Op::kSpaceToDepth, {value_}, ir::BlockAttrs{2});
      dims_ = {dims_[0], dims_[1] / 2, dims_[2] / 2, dims_[3] * 4};
    }
  }

  std::mt19937 random_;
  GraphBuilder net_;
  const ir::Dims input_;
  Id value_, input_value_;
  ir::Dims dims_;
  std::vector<std::pair<Id, ir::Dims>> before_;
};

struct Ran {
  std::vector<float> result;
  int chains = 0;
  size_t scratch_bytes = 0;  // of the last chain
  std::vector<std::string> kernels;
};

// `strip_rows` and `machine` as in PlanOptions.
Ran run_with(const ir::Graph& graph, const std::vector<ir::TensorPtr>& inputs, int64_t strip_rows, int threads,
             const backends::Machine* machine = nullptr) {
  static backends::PackCache packs;
  PlanOptions options;
  options.num_threads = threads;
  options.strip_rows = strip_rows;
  options.machine = machine;
  Ran ran;
  const auto plan = make_plan(graph, std::vector<ir::Dims>{inputs[0]->dims}, {}, packs, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  if (!plan.ok()) return ran;
  for (const Step& step : (*plan)->steps) {
    if (std::string(step.kernel_name) == "cpu.strips") {
      ++ran.chains;
      ran.scratch_bytes = step.kernel->scratch_bytes();
    }
    ran.kernels.emplace_back(step.kernel_name);
  }
  auto context = make_run_context(*plan);
  EXPECT_TRUE(context.ok());
  ran.result.assign(static_cast<size_t>((*plan)->outputs[0].element_count()), -77.0f);
  (*context)->set_input(0, inputs[0]->data);
  (*context)->set_output(0, ran.result.data());
  constexpr size_t kBehind = 4096;
  AlignedBuffer arena = AlignedBuffer::allocate((*plan)->host_arena_bytes + kBehind);
  std::memset(arena.data(), 0xff, arena.size());  // NaN: nothing is read before it is written
  ThreadPool pool(threads);
  const Status status = (*context)->run(arena.data(), pool);
  EXPECT_TRUE(status.ok()) << status.message();
  const std::byte* behind = arena.data() + (*plan)->host_arena_bytes;
  EXPECT_TRUE(std::all_of(behind, behind + kBehind, [](std::byte b) { return b == std::byte{0xff}; }));
  return ran;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text + ' ';
  return all;
}

void check_bits(uint32_t first_seed, uint32_t seeds, const std::string& precision) {
  int chains = 0;
  for (uint32_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    std::mt19937 random(seed);
    const auto pick = [&](int from, int to) { return std::uniform_int_distribution<int>(from, to)(random); };
    RandomImageNet net(seed, {pick(1, 3), pick(4, 70), pick(4, 50), pick(1, 4) * 8});
    for (int layers = pick(2, 8); layers > 0; --layers) net.add_layer();
    const ir::Graph graph = net.build(precision);
    const auto inputs = blade::testing::random_inputs(graph, seed);
    const int threads = pick(1, 2);
    const Ran whole = run_with(graph, inputs, -1, threads);
    const int64_t rows = pick(1, 24);
    const Ran strips = run_with(graph, inputs, rows, threads);
    chains += strips.chains;
    ASSERT_EQ(whole.result.size(), strips.result.size());
    ASSERT_EQ(std::memcmp(whole.result.data(), strips.result.data(), whole.result.size() * sizeof(float)), 0)
        << "seed " << seed << ", strips of " << rows << " rows, " << joined(whole.kernels);
  }
  EXPECT_GT(chains, static_cast<int>(seeds / 3));
}

TEST(Strips, SameBitsAsOneStepAfterTheOther) { check_bits(0, 200, "fp32"); }

// Convolutions whose strips may have any number of rows.
ir::Graph tall_graph(ir::Dims dims) {
  GraphBuilder b;
  Id x = b.input("x", std::move(dims));
  for (int layer = 0; layer < 2; ++layer) x = b.relu(b.conv(x, b.filled<float>({7, 1, 16, 16}, 0.01f)));
  ir::Graph graph = b.output(x, "y").build();
  EXPECT_TRUE(run_region_passes(graph, {}, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

TEST(Strips, AsManyThreadsAsThereAre) {
  for (const int threads : {65, 96}) {
    const ir::Graph by_parts = tall_graph({1, threads * 16, 32, 16}), by_images = tall_graph({threads, 96, 32, 16});
    for (const ir::Graph* graph : {&by_parts, &by_images}) {
      const auto inputs = blade::testing::random_inputs(*graph, 1);
      const Ran whole = run_with(*graph, inputs, -1, threads), strips = run_with(*graph, inputs, 8, threads);
      EXPECT_EQ(strips.chains, 1) << joined(strips.kernels);
      EXPECT_EQ(whole.result, strips.result);
    }
    // Of each thread, since any of them may take any task.
    const auto inputs = blade::testing::random_inputs(by_images, 1);
    EXPECT_EQ(run_with(by_images, inputs, 8, threads).scratch_bytes,
              run_with(by_images, inputs, 8, 1).scratch_bytes * static_cast<size_t>(threads));
  }
}

// Those of a thread, which together are no longer than the step.
TEST(Strips, StepsWithinAreTimed) {
  constexpr int kThreads = 2;
  for (const ir::Dims& dims : {ir::Dims{1, 64, 32, 16}, ir::Dims{kThreads, 96, 32, 16}, ir::Dims{1, 8, 512, 16}}) {
    const ir::Graph graph = tall_graph(dims);
    const auto inputs = blade::testing::random_inputs(graph, 1);
    backends::PackCache packs;
    PlanOptions options;
    options.num_threads = kThreads;
    options.strip_rows = 8;
    const auto plan = make_plan(graph, std::vector<ir::Dims>{dims}, {}, packs, options);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    ASSERT_EQ((*plan)->steps.size(), 1u);
    ASSERT_EQ((*plan)->steps[0].inner.size(), 2u);
    ASSERT_EQ((*plan)->num_times(), 3u);
    auto context = make_run_context(*plan);
    ASSERT_TRUE(context.ok());
    std::vector<float> result(static_cast<size_t>((*plan)->outputs[0].element_count()));
    (*context)->set_input(0, inputs[0]->data);
    (*context)->set_output(0, result.data());
    AlignedBuffer arena = AlignedBuffer::allocate((*plan)->host_arena_bytes);
    ThreadPool pool(kThreads);
    std::vector<double> us((*plan)->num_times(), 1e12);  // of the run before
    double share = 0;
    for (int run = 0; run < 20; ++run) {  // threads may start late
      const Status status = (*context)->run(arena.data(), pool, us.data());
      ASSERT_TRUE(status.ok()) << status.message();
      EXPECT_GT(us[1], 0);
      EXPECT_GT(us[2], 0);
      EXPECT_LE(us[1] + us[2], us[0]);
      share = std::max(share, (us[1] + us[2]) / us[0]);
    }
    EXPECT_GT(share, 0.1);
  }
}

TEST(Strips, SameBitsInBFloat16) {
  if (!backends::Machine::host().avx512_bf16) GTEST_SKIP() << "no bfloat16 arithmetic";
  check_bits(500, 100, "bf16");
}

// With tile registers, or without; the caches are those of a large server.
backends::Machine with_tiles(bool amx) {
  backends::Machine machine = backends::Machine::host();
  machine.amx_tile = machine.amx_bf16 = amx;
  machine.l2_bytes = size_t{2} << 20;
  machine.l3_bytes = size_t{256} << 20;
  return machine;
}

ir::Graph prepared_bf16(ir::Graph graph) {
  Decisions decisions;
  decisions.precision = "bf16";
  EXPECT_TRUE(run_region_passes(graph, decisions, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

// An encoder and a decoder: convolutions down, up by a transposed one, and over both scales' channels. The last, over
// parts again or not, writes float32.
ir::Graph decoder_graph(int64_t images, bool ends_in_parts) {
  GraphBuilder b;
  std::mt19937 random(5);
  const auto weights = [&](const ir::Dims& dims) {
    std::vector<float> values(static_cast<size_t>(*checked_element_count(dims)));
    for (float& v : values) v = std::uniform_real_distribution<float>(-0.1f, 0.1f)(random);
    return b.constant<float>(dims, values);
  };
  const Id x = b.relu(b.conv(b.input("x", {images, 22, 34, 16}), weights({3, 3, 16, 32})));
  const Id down = b.relu(b.conv(x, weights({3, 3, 32, 48}), {2, 2}));
  ir::ConvTransposeAttrs attrs;
  attrs.strides = {2, 2};
  attrs.dilations = {1, 1};
  attrs.padding = ir::Padding::kSame;
  const Id size = b.ints({static_cast<int32_t>(images), 22, 34, 32});
  const Id up = b.op(ir::Op::kConvTranspose, {down, weights({2, 2, 32, 48}), size}, attrs);
  Id y = b.relu(b.conv(b.op(ir::Op::kConcat, {x, up}, ir::AxisAttrs{3}), weights({3, 3, 64, 32})));
  if (ends_in_parts) y = b.op(ir::Op::kConcat, {x, y}, ir::AxisAttrs{3});
  y = b.conv(y, weights({5, 5, ends_in_parts ? 64 : 32, 24}));
  return prepared_bf16(b.output(y, "y").build());
}

// Each strip takes rows of the one before, and the first and the last padding.
TEST(Strips, SameBitsOnTileRegisters) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  const backends::Machine machine = with_tiles(true);
  for (const bool ends_in_parts : {false, true}) {
    for (const int64_t images : {1, 2}) {
      const ir::Graph graph = decoder_graph(images, ends_in_parts);
      const auto inputs = blade::testing::random_inputs(graph, 3);
      for (const int threads : {1, 2}) {
        const Ran whole = run_with(graph, inputs, -1, threads, &machine);
        const std::string last = ends_in_parts ? "of_parts_amx_bf16_to_f32" : "direct_amx_bf16_to_f32";
        for (const std::string& row : {std::string("conv.direct_amx_bf16"), std::string("conv.of_parts_amx_bf16"),
                                       std::string("conv_transpose.direct_amx_bf16"), "conv." + last})
          EXPECT_GE(std::count(whole.kernels.begin(), whole.kernels.end(), "cpu." + row), 1) << row;
        for (const int64_t rows : {1, 3, 5}) {
          const Ran strips = run_with(graph, inputs, rows, threads, &machine);
          EXPECT_EQ(joined(strips.kernels), "cpu.strips ");
          ASSERT_EQ(whole.result.size(), strips.result.size());
          EXPECT_EQ(std::memcmp(whole.result.data(), strips.result.data(), whole.result.size() * sizeof(float)), 0)
              << rows << " rows, " << threads << " threads, " << images << " images, " << last;
        }
      }
    }
  }
}

TEST(Strips, AnswersAreThoseOfTheDefinition) {
  for (uint32_t seed = 1000; seed < 1012; ++seed) {
    RandomImageNet net(seed, {2, 40, 33, 16});
    for (int layers = 0; layers < 4; ++layers) net.add_layer();
    const ir::Graph graph = net.build();
    const auto inputs = blade::testing::random_inputs(graph, seed);
    const auto want = blade::testing::evaluate_graph(graph, inputs);
    ASSERT_TRUE(want.ok()) << want.status().message();
    const Ran strips = run_with(graph, inputs, 8, 2);
    const auto* expected = reinterpret_cast<const float*>((*want)[0]->data);
    ASSERT_EQ(static_cast<int64_t>(strips.result.size()), (*want)[0]->element_count());
    float largest = 1;
    for (size_t i = 0; i < strips.result.size(); ++i) largest = std::max(largest, std::abs(expected[i]));
    for (size_t i = 0; i < strips.result.size(); ++i)
      ASSERT_NEAR(strips.result[i], expected[i], 1e-4f * largest) << "seed " << seed << ", element " << i;
  }
}

// Four 3x3 convolutions over an image of 64 MB, the result of one of which is added to the last one's.
ir::Graph large_graph(std::optional<size_t> residual = std::nullopt) {
  GraphBuilder b;
  Id x = b.input("x", {1, 512, 512, 64});
  std::vector<Id> results;
  for (int layer = 0; layer < 4; ++layer) {
    x = b.conv(x, b.filled<float>({3, 3, 64, 64}, 0.01f));
    if (layer == 3 && residual) x = b.add(x, results[*residual]);
    results.push_back(x = b.relu(x));
  }
  ir::Graph graph = b.output(x, "y").build();
  EXPECT_TRUE(passes::run_pipeline(graph, /*whole_graph=*/false, {}).ok());
  graph.remove_dead_nodes();
  return graph;
}

// On a machine whose last cache does not hold the values.
std::shared_ptr<const Plan> plan_of(const ir::Graph& graph, const Decisions& decisions, int64_t strip_rows = 0) {
  static backends::PackCache packs;
  static const backends::Machine machine = [] {
    backends::Machine host = backends::Machine::host();
    host.l3_bytes = size_t{32} << 20;
    return host;
  }();
  PlanOptions options;
  options.num_threads = 2;
  options.with_alternatives = true;
  options.strip_rows = strip_rows;
  options.machine = &machine;
  const auto plan = make_plan(graph, std::vector<ir::Dims>{{1, 512, 512, 64}}, decisions, packs, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  return plan.ok() ? *plan : nullptr;
}

TEST(Strips, ChosenWhereValuesLeaveTheCacheUnlessTuningFoundOtherwise) {
  const ir::Graph graph = large_graph();
  auto plan = plan_of(graph, {});
  ASSERT_EQ(plan->steps.size(), 1u);
  const Step& step = plan->steps[0];
  EXPECT_STREQ(step.kernel_name, "cpu.strips");
  EXPECT_EQ(step.choice, "cpu.strips");
  EXPECT_EQ(step.nodes.size(), 4u);
  EXPECT_LT(plan->arena_bytes, size_t{40} << 20);
  ASSERT_GE(step.alternatives.size(), 3u);
  EXPECT_EQ(step.alternatives[1], kApart);
  ir::Cost inside;
  for (const InnerStep& own : step.inner) {
    inside.flops += own.cost.flops;
    inside.bytes += own.cost.bytes;
  }
  const double between = static_cast<double>(step.inner.size() - 1) * (512 * 512 * 64 * 4);
  EXPECT_EQ(step.cost.flops, inside.flops);
  EXPECT_EQ(step.cost.bytes, inside.bytes - 2 * between);  // what is between is neither written nor read

  Decisions decisions;
  for (const char* wrong : {"cpu.strips strip=1", "cpu.strips strip=65536", "cpu.conv.direct_f32", "?"}) {
    decisions.kernels[step.signature] = wrong;
    EXPECT_EQ(plan_of(graph, decisions)->steps.size(), 1u) << wrong;
  }
  decisions.kernels[step.signature] = step.alternatives[2];
  decisions.figures[step.signature] = {"cpu.strips", 2, 1};
  plan = plan_of(graph, decisions);
  ASSERT_EQ(plan->steps.size(), 1u);
  EXPECT_TRUE(plan->steps[0].tuned && plan->steps[0].tuned->us == 1);
  EXPECT_EQ(plan->steps[0].choice, decisions.kernels.begin()->second);
  decisions.kernels.begin()->second = kApart;
  EXPECT_EQ(plan_of(graph, decisions)->steps.size(), 4u);
}

// 1x1 convolutions from 64 channels to 256 and back; the last result is float32 where it is the graph's.
ir::Graph wide_and_narrow(const ir::Dims& dims, bool to_float) {
  GraphBuilder b;
  Id x = b.input("x", dims);
  for (const int64_t channels : {256, 64, 256, 64})
    x = b.relu(b.conv(x, b.filled<float>({1, 1, channels == 64 ? 256 : 64, channels}, 0.01f)));
  if (!to_float) x = b.op(ir::Op::kReduce, {x}, ir::ReduceAttrs{ir::ReduceKind::kMean, {1, 2}, /*keep_dims=*/false});
  return prepared_bf16(b.output(x, "y").build());
}

// Nodes in chains, and the bytes of places of the last chain.
struct Chosen {
  size_t nodes = 0, scratch_bytes = 0;
};

Chosen chosen_strips(const ir::Dims& dims, bool to_float, const backends::Machine& machine) {
  backends::PackCache packs;
  PlanOptions options;
  options.num_threads = 2;
  options.machine = &machine;
  const ir::Graph graph = wide_and_narrow(dims, to_float);
  const auto plan = make_plan(graph, std::vector<ir::Dims>{dims}, {}, packs, options);
  EXPECT_TRUE(plan.ok()) << plan.status().message();
  Chosen chosen;
  if (!plan.ok()) return chosen;
  for (const Step& step : (*plan)->steps) {
    if (std::string_view(step.kernel_name) != "cpu.strips") continue;
    chosen.nodes += step.nodes.size();
    chosen.scratch_bytes = step.kernel->scratch_bytes();
  }
  return chosen;
}

// Work in bfloat16 on tile registers waits for what comes from behind L2, long before values leave the last cache, and
// whatever type the last result has: parts of one image gain nothing there.
TEST(Strips, ChosenInL2WhereTileRegistersMultiply) {
  if (amx_mode() == AmxMode::kMissing) GTEST_SKIP() << describe_amx(amx_mode());
  const backends::Machine tiles = with_tiles(true), vectors = with_tiles(false);
  const ir::Dims eight = {8, 56, 56, 64}, one = {1, 224, 112, 64};
  for (const bool to_float : {false, true}) {
    const Chosen chosen = chosen_strips(eight, to_float, tiles);
    EXPECT_GE(chosen.nodes, 4u) << to_float;
    EXPECT_LT(chosen.scratch_bytes, 2 * tiles.l2_bytes) << to_float;
    EXPECT_EQ(chosen_strips(one, to_float, tiles).nodes, 0u) << to_float;
    EXPECT_EQ(chosen_strips(eight, to_float, vectors).nodes, 0u) << to_float;
  }
}

TEST(Strips, AChoiceIsOneOfTheWiringToo) {
  std::set<std::string> signatures;
  for (const size_t residual : {0, 1}) {
    const auto plan = plan_of(large_graph(residual), {}, 8);
    ASSERT_EQ(plan->steps.size(), 1u);
    EXPECT_STREQ(plan->steps[0].kernel_name, "cpu.strips");
    signatures.insert(plan->steps[0].signature);
  }
  EXPECT_EQ(signatures.size(), 2u);
}

TEST(Strips, EachRowIsMadeOnceAndOnlyFromRowsThatAreThere) {
  const RowWindow three = {1, 3, 1, 1, false}, strided = {2, 3, 1, 1, false};
  const std::vector<StripRows> steps = {{41, 4, 8, {}}, {41, 4, 8, {{0, three}}}, {21, 1, 4, {{1, strided}}}};
  for (const RowRange last : {RowRange{0, 21}, RowRange{0, 8}, RowRange{8, 21}}) {
    const std::vector<RowRange> part = rows_for(steps, last);
    const auto schedule = strip_schedule(steps, part);
    ASSERT_FALSE(schedule.empty());
    std::vector<int64_t> made;
    for (const RowRange& rows : part) made.push_back(rows.begin);
    for (const auto& strip : schedule) {
      for (size_t s = 0; s < steps.size(); ++s) {
        EXPECT_EQ(strip[s].begin, made[s]);
        EXPECT_LE(strip[s].count(), steps[s].at_a_time);
        made[s] = strip[s].end;
        if (s == 0 || strip[s].count() == 0) continue;
        const RowRange reads = steps[s].reads[0].window.rows(strip[s]);
        EXPECT_LE(std::min(reads.end, steps[s - 1].rows), made[s - 1]);
        EXPECT_GE(std::max<int64_t>(0, reads.begin), part[s - 1].begin);
      }
    }
    EXPECT_EQ(made[2], last.end);
  }
}

}  // namespace
}  // namespace blade::engine
