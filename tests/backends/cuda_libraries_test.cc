// Rows of NVIDIA's libraries: large products by cuBLASLt, convolutions by cuDNN.
#include <atomic>
#include <thread>

#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

using ir::PointwiseOp;

ir::TensorPtr with_nan(const ir::TensorPtr& from) {
  std::vector<float> values;
  for (int64_t i = 0; i < from->element_count(); ++i) values.push_back(static_cast<float>(element(*from, i)));
  values[0] = NAN;
  return floats(from->dims, values);
}

Case product(const std::string& name, ir::MatMulAttrs attrs, ir::Dims left, ir::Dims right, uint32_t variable) {
  const auto depth = static_cast<double>(left[left.size() - (attrs.transpose_a ? 2 : 1)]);
  const double scale = 1.5 / std::sqrt(depth);
  return {name, ir::Op::kMatMul, attrs, {random_floats(left), random_floats(right, -scale, scale)}, variable, 1, 4e-3};
}

// Products large enough for the library, with every epilogue that it has.
TEST(CudaLibraries, LargeProducts) {
  std::vector<Case> cases;
  for (const bool transposed : {false, true}) {
    ir::MatMulAttrs attrs;
    attrs.transpose_b = transposed;
    cases.push_back(product(transposed ? "plain_t" : "plain", attrs, {1000, 520},
                            transposed ? ir::Dims{136, 520} : ir::Dims{520, 136}, 1));
    attrs.transpose_b = false;
    attrs.transpose_a = transposed;
    cases.push_back(product(transposed ? "batched_a_t" : "batched", attrs,
                            transposed ? ir::Dims{12, 64, 320} : ir::Dims{12, 320, 64}, {12, 64, 320}, 3));
  }
  cases.push_back(product("odd", ir::MatMulAttrs{}, {1001, 523}, {523, 137}, 1));
  cases.push_back(product("odd_batched", ir::MatMulAttrs{}, {5, 333, 201}, {5, 201, 203}, 3));
  ir::MatMulAttrs shared;
  cases.push_back(product("one_right_operand", shared, {3, 340, 512}, {512, 136}, 1));
  for (const auto op : {PointwiseOp::kAdd, PointwiseOp::kRelu, PointwiseOp::kGeluTanh}) {
    for (const bool has_addend : {false, true}) {
      ir::MatMulAttrs attrs;
      ir::PointwiseProgram& program = attrs.epilogue;
      program.num_inputs = static_cast<int16_t>(has_addend ? 3 : 2);
      program.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0}};
      if (has_addend) program.code.push_back({PointwiseOp::kAdd, 2, 3, -1, 0, 0});
      const auto last = static_cast<int16_t>(has_addend ? 4 : 2);
      if (op != PointwiseOp::kAdd) program.code.push_back({op, last, -1, -1, 0, 0});
      Case c = product("epilogue_" + std::string(ir::pointwise_name(op)) + (has_addend ? "_addend" : ""), attrs,
                       {1024, 512}, {512, 144}, 1);
      c.inputs.push_back(random_floats({144}));
      if (has_addend) c.inputs.push_back(random_floats({1024, 144}));
      c.variable_inputs |= 1u << 3;
      cases.push_back(c);
      c.name += "_nan";
      c.inputs[0] = with_nan(c.inputs[0]);
      cases.push_back(c);
    }
  }
  ir::ConvAttrs conv;
  conv.strides = conv.dilations = {1, 1};
  conv.padding = ir::Padding::kValid;
  cases.push_back({"pixels",
                   ir::Op::kConv,
                   conv,
                   {random_floats({2, 24, 22, 512}), random_floats({1, 1, 512, 136}, -0.06, 0.06)},
                   1,
                   1,
                   4e-3});
  std::vector<Case> halves = in_half(cases);
  // Sums of addends are rounded once more where the residual is one of float16.
  for (Case& c : halves) c.tolerance = 6e-3;
  check_all(halves);
}

struct Epilogue {
  std::string name;
  std::vector<ir::PointwiseInstr> code;  // operand 1: one a channel, operand 2: a residual
  int16_t num_inputs = 2;
};

std::vector<Epilogue> epilogues_of_library() {
  std::vector<Epilogue> list = {
      {"none", {}, 1},
      {"bias", {{PointwiseOp::kAdd, 0, 1}}},
      {"bias_residual_relu", {{PointwiseOp::kAdd, 1, 0}, {PointwiseOp::kAdd, 2, 3}, {PointwiseOp::kRelu, 4}}, 3},
      {"bias_relu6", {{PointwiseOp::kAdd, 0, 1}, {PointwiseOp::kRelu6, 2}}},
      {"leaky", {{PointwiseOp::kAdd, 0, 1}, {PointwiseOp::kLeakyRelu, 2, -1, -1, 0.3f}}},
      {"gate", {{PointwiseOp::kAdd, 0, 1}, {PointwiseOp::kSigmoid, 3}, {PointwiseOp::kMul, 4, 2}}, 3},
  };
  for (const PointwiseOp op : {PointwiseOp::kTanh, PointwiseOp::kSigmoid, PointwiseOp::kSwish, PointwiseOp::kGeluErf,
                               PointwiseOp::kGeluTanh}) {
    list.push_back({ir::pointwise_name(op), {{PointwiseOp::kAdd, 0, 1}, {op, 2}}});
  }
  return list;
}

struct ConvSpec {
  std::string name;
  ir::Dims x, w;
  std::vector<int64_t> strides, dilations;
  ir::Padding padding = ir::Padding::kSame;
  int64_t groups = 1;
};

Case convolution(const ConvSpec& spec, const Epilogue& epilogue) {
  ir::ConvAttrs attrs;
  attrs.strides = spec.strides;
  attrs.dilations = spec.dilations;
  attrs.padding = spec.padding;
  if (spec.padding == ir::Padding::kExplicit) attrs.explicit_pads = {2, 1, 0, 3};
  attrs.groups = spec.groups;
  const double depth = std::sqrt(static_cast<double>(*checked_element_count(spec.w) / spec.w.back()));
  Case c{spec.name + "_" + epilogue.name,
         ir::Op::kConv,
         attrs,
         {random_floats(spec.x), random_floats(spec.w, -1.5 / depth, 1.5 / depth)},
         1,
         1,
         6e-3};
  const ir::Dims out = (*run_reference(c))[0]->dims;
  if (epilogue.num_inputs > 1) c.inputs.push_back(random_floats({out.back()}));
  if (epilogue.num_inputs > 2) c.inputs.push_back(random_floats(out));
  c.variable_inputs |= 1u << 3;
  attrs.epilogue.num_inputs = epilogue.num_inputs;
  attrs.epilogue.code = epilogue.code;
  if (epilogue.code.empty()) attrs.epilogue = {};
  c.attrs = attrs;
  return c;
}

const std::vector<ConvSpec>& conv_specs() {
  using ir::Padding;
  static const std::vector<ConvSpec> specs = {
      {"3x3", {2, 14, 13, 64}, {3, 3, 64, 72}, {1, 1}, {1, 1}},
      {"3x3_strided", {3, 14, 11, 32}, {3, 3, 32, 40}, {2, 2}, {1, 1}},
      {"3x3_dilated", {1, 20, 12, 48}, {3, 3, 48, 40}, {1, 1}, {2, 3}},
      {"5x3_explicit", {1, 17, 19, 8}, {5, 3, 8, 24}, {1, 2}, {1, 1}, Padding::kExplicit},
      {"1x1", {2, 9, 7, 64}, {1, 1, 64, 264}, {1, 1}, {1, 1}, Padding::kValid},
      {"odd", {1, 6, 6, 30}, {1, 1, 30, 77}, {1, 1}, {1, 1}, Padding::kValid},
      {"line", {2, 301, 32}, {5, 32, 48}, {2}, {1}},
      {"groups_of_4", {2, 28, 27, 64}, {3, 3, 4, 128}, {1, 1}, {1, 1}, Padding::kSame, 16},
      {"groups_of_8_strided", {2, 41, 40, 64}, {3, 3, 8, 64}, {2, 2}, {1, 1}, Padding::kSame, 8},
      {"volume", {1, 8, 9, 10, 16}, {3, 3, 3, 16, 24}, {1, 1, 1}, {1, 1, 1}},
      // Enough for the row of what the library holds, where tiles do as well.
      {"many_pixels", {8, 28, 28, 128}, {3, 3, 128, 64}, {1, 1}, {1, 1}},
      {"volume_strided", {1, 9, 12, 11, 16}, {3, 3, 3, 16, 32}, {2, 2, 2}, {1, 1, 1}},
  };
  return specs;
}

// Every form of convolution with the epilogue of most, one of them with every epilogue.
std::vector<Case> convolutions() {
  const std::vector<Epilogue> epilogues = epilogues_of_library();
  std::vector<Case> cases;
  for (const ConvSpec& spec : conv_specs()) cases.push_back(convolution(spec, epilogues[2]));
  for (const Epilogue& epilogue : epilogues) cases.push_back(convolution(conv_specs()[7], epilogue));
  Case c = convolution(conv_specs()[7], epilogues[3]);
  c.name += "_nan";
  c.inputs[0] = with_nan(c.inputs[0]);
  cases.push_back(c);
  return cases;
}

TEST(CudaLibraries, Convolutions) {
  const std::vector<Case> cases = convolutions();
  std::vector<Case> halves;
  for (const Case& c : cases) halves.push_back(in_half(c));
  for (Case& c : halves) c.tolerance = 6e-3;
  check_all(halves);
}

// A convolution and what it gives.
struct Known {
  Case c;
  std::vector<ir::TensorPtr> want;
};

// Convolutions that no one else makes.
std::vector<Known> others_like(const ConvSpec& like) {
  std::vector<Known> others;
  for (int64_t more = 1; more <= 6; ++more) {
    ConvSpec spec = like;
    spec.x[0] += more;
    const Case c = in_half(convolution(spec, epilogues_of_library()[2]));
    auto want = run_reference(c);
    EXPECT_TRUE(want.ok());
    if (want.ok()) others.push_back({c, *std::move(want)});
  }
  return others;
}

// Their plans, one after another.
void make_plans(Device& card, const KernelEntry& row, const std::vector<Known>& convolutions) {
  for (const Known& known : convolutions) {
    const CaseGraph made = make_graph(known.c);
    KernelRequest request = make_request(known.c, made.graph.node(made.node), known.want, 1);
    request.device = &card;
    PackCache packs;
    const auto kernel = row.create(request, packs);
    ASSERT_TRUE(kernel.ok()) << row.name << ": " << kernel.status().message();
  }
}

// Several streams at a time, and recordings, while other plans are made: the same bits as one run by itself.
void check_shared_runs(Device& card, const KernelEntry& row) {
  const size_t form = std::string(row.name).ends_with("compiled") ? 7 : 10;
  const ConvSpec& spec = conv_specs()[form];
  const Case c = in_half(convolution(spec, epilogues_of_library()[2]));
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok());
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
  request.device = &card;
  const Support support = row.supports(request);
  if (!support.ok) GTEST_SKIP() << support.reason;
  PackCache packs;
  const auto kernel = row.create(request, packs);
  ASSERT_TRUE(kernel.ok()) << row.name << ": " << kernel.status().message();
  const auto alone = run_on(card, **kernel, c.inputs, *want);
  ASSERT_TRUE(alone.ok()) << alone.status().message();
  const std::vector<Known> others = others_like(spec);
  std::atomic<bool> all_made = false;
  const auto run_often = [&] {
    const auto queue = card.create_queue();
    const auto operands = Operands::create(card, **kernel, c.inputs, *want);
    ASSERT_TRUE(queue.ok() && operands.ok());
    ASSERT_TRUE((*queue)->begin_recording().ok());
    const Status recorded = (*kernel)->run(operands->args(**queue));
    const auto recording = (*queue)->end_recording();
    ASSERT_TRUE(recorded.ok() && recording.ok()) << recorded.message();
    for (int i = 0; i < 40 || !all_made; ++i) {
      const Status status = i % 2 == 0 ? (*kernel)->run(operands->args(**queue)) : (*queue)->play(**recording);
      ASSERT_TRUE(status.ok()) << status.message();
      const auto got = operands->results(**queue);
      ASSERT_TRUE(got.ok()) << got.status().message();
      ASSERT_EQ(*got, *alone) << row.name << ", run " << i;
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    make_plans(card, row, others);
    all_made = true;
  });
  for (int t = 0; t < 4; ++t) threads.emplace_back(run_often);
  for (std::thread& thread : threads) thread.join();
}

TEST(CudaLibraries, RunsShareAConvolution) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  for (const KernelEntry& row : (*card)->kernels()) {
    if (std::string(row.name).find("cudnn") != std::string::npos) check_shared_runs(**card, row);
  }
}

}  // namespace
}  // namespace blade::backends
