// Convolutions and matrix products over shapes, paddings, groups and epilogues.
#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::Op;
using ir::Padding;
using ir::PointwiseOp;
using ir::PointwiseProgram;

constexpr double kTolerance = 1e-4;  // of F(4x4, 3x3) with sums of about 10; direct kernels are ten times closer

// Epilogues: name, program, and the kinds of its operands ('v': channels, 'f': full, 's': scalar).
struct Epilogue {
  const char* name;
  PointwiseProgram program;
  std::string operands;
};

std::vector<Epilogue> epilogues() {
  std::vector<Epilogue> list;
  list.push_back({"none", {}, ""});
  PointwiseProgram p;
  p.num_inputs = 2;
  p.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {PointwiseOp::kRelu6, 2, -1, -1, 0, 0}};
  list.push_back({"bias_relu6", p, "v"});
  p.num_inputs = 3;
  p.code = {
      {PointwiseOp::kAdd, 1, 0, -1, 0, 0}, {PointwiseOp::kAdd, 2, 3, -1, 0, 0}, {PointwiseOp::kRelu, 4, -1, -1, 0, 0}};
  list.push_back({"residual_bias_relu", p, "fv"});
  list.push_back({"bias_residual_relu", p, "vf"});
  p.num_inputs = 2;
  p.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0},
            {PointwiseOp::kSigmoid, 2, -1, -1, 0, 0},
            {PointwiseOp::kMul, 2, 3, -1, 0, 0}};
  list.push_back({"bias_swish", p, "v"});
  p.num_inputs = 4;
  p.code = {{PointwiseOp::kMul, 0, 1, -1, 0, 0},
            {PointwiseOp::kAdd, 4, 2, -1, 0, 0},
            {PointwiseOp::kTanh, 5, -1, -1, 0, 0},
            {PointwiseOp::kAdd, 6, 3, -1, 0, 0},
            {PointwiseOp::kSub, 7, 0, -1, 0, 0}};
  list.push_back({"scale_shift_tanh_residual", p, "vsf"});
  p.num_inputs = 2;
  p.code = {{PointwiseOp::kRelu, 0, -1, -1, 0, 0},
            {PointwiseOp::kAdd, 2, 1, -1, 0, 0},
            {PointwiseOp::kClip, 3, -1, -1, -0.5f, 0.5f}};
  list.push_back({"relu_bias_clip", p, "v"});
  p.num_inputs = 4;
  p.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0},
            {PointwiseOp::kSwish, 4, -1, -1, 0, 0},
            {PointwiseOp::kMul, 5, 2, -1, 0, 0},
            {PointwiseOp::kAdd, 6, 3, -1, 0, 0}};
  list.push_back({"bias_whole_swish_scale_residual", p, "vvf"});
  p.num_inputs = 3;
  p.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0},
            {PointwiseOp::kHardSigmoid, 3, -1, -1, 1.0f / 6, 0.5f},
            {PointwiseOp::kMul, 4, 2, -1, 0, 0}};
  list.push_back({"bias_hard_sigmoid_times", p, "vf"});
  p.num_inputs = 2;
  p.code = {{PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {PointwiseOp::kSigmoid, 2, -1, -1, 0, 0}};
  list.push_back({"bias_sigmoid", p, "v"});
  p.code.back().op = PointwiseOp::kTanh;
  list.push_back({"bias_tanh", p, "v"});
  return list;
}

struct ConvSpec {
  ir::Dims x, w;
  std::vector<int64_t> strides, dilations;
  Padding padding;
  int64_t groups = 1;
};

Case conv_case(const std::string& name, const ConvSpec& spec, const Epilogue& epilogue) {
  ir::ConvAttrs attrs;
  attrs.strides = spec.strides;
  attrs.dilations = spec.dilations;
  attrs.padding = spec.padding;
  if (spec.padding == Padding::kExplicit) attrs.explicit_pads.assign(2 * spec.strides.size(), 2);
  attrs.groups = spec.groups;
  Case c{name + "_" + epilogue.name,
         Op::kConv,
         attrs,
         {random_floats(spec.x), random_floats(spec.w, -1, 1)},
         1,
         1,
         kTolerance};
  const auto bare = run_reference(c);
  EXPECT_TRUE(bare.ok()) << c.name << ": " << bare.status().message();
  const ir::Dims out = (*bare)[0]->dims;
  attrs.epilogue = epilogue.program;
  c.attrs = attrs;
  for (char kind : epilogue.operands) {
    if (kind == 'f') c.variable_inputs |= 1u << c.inputs.size();
    c.inputs.push_back(random_floats(kind == 's' ? ir::Dims{} : kind == 'v' ? ir::Dims{out.back()} : out));
  }
  return c;
}

void add_convs(std::vector<Case>& cases) {
  const std::vector<ConvSpec> specs = {
      {{1, 9, 7, 5}, {3, 3, 5, 19}, {1, 1}, {1, 1}, Padding::kSame},
      {{2, 11, 13, 3}, {7, 7, 3, 16}, {2, 2}, {1, 1}, Padding::kSame},
      {{1, 8, 8, 32}, {1, 1, 32, 64}, {1, 1}, {1, 1}, Padding::kValid},
      {{1, 9, 9, 16}, {3, 3, 16, 8}, {2, 1}, {1, 1}, Padding::kExplicit},
      {{1, 12, 12, 8}, {3, 3, 8, 8}, {1, 1}, {2, 2}, Padding::kSame},
      {{1, 7, 7, 8}, {3, 3, 4, 12}, {1, 1}, {1, 1}, Padding::kSame, 2},
      {{2, 20, 6}, {5, 6, 7}, {2}, {1}, Padding::kSame},
      {{1, 9, 9, 17}, {3, 3, 1, 17}, {1, 1}, {1, 1}, Padding::kSame, 17},
      {{2, 10, 11, 6}, {5, 5, 1, 12}, {2, 2}, {1, 1}, Padding::kSame, 6},
      {{1, 30, 30, 16}, {3, 3, 16, 32}, {1, 1}, {1, 1}, Padding::kSame},
      {{1, 14, 14, 32}, {3, 3, 1, 32}, {1, 1}, {1, 1}, Padding::kValid, 32},
      {{1, 4, 4, 203}, {3, 3, 1, 203}, {1, 1}, {1, 1}, Padding::kSame, 203},
      {{1, 5, 3, 256}, {5, 5, 1, 256}, {2, 2}, {1, 1}, Padding::kSame, 256},
      {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1}, {1, 1}, Padding::kValid},
      {{2, 4, 9, 7, 3}, {3, 3, 3, 3, 19}, {1, 1, 1}, {1, 1, 1}, Padding::kSame},
      {{1, 5, 8, 9, 16}, {2, 3, 3, 16, 24}, {2, 2, 1}, {1, 1, 1}, Padding::kSame},
      {{1, 4, 6, 6, 8}, {1, 1, 1, 8, 16}, {1, 1, 1}, {1, 1, 1}, Padding::kValid},
      {{2, 7, 9, 8, 4}, {3, 2, 1, 4, 5}, {3, 2, 2}, {1, 1, 1}, Padding::kValid},
      {{1, 9, 8, 7, 4}, {3, 2, 3, 4, 5}, {1, 1, 1}, {1, 2, 2}, Padding::kExplicit},
      {{2, 6, 9, 8, 5}, {3, 3, 3, 5, 19}, {2, 1, 1}, {1, 1, 1}, Padding::kSame},
      {{2, 7, 6, 7, 4}, {3, 3, 3, 4, 5}, {1, 1, 1}, {2, 1, 1}, Padding::kExplicit},
      {{2, 9, 12, 5}, {3, 3, 5, 3}, {1, 1}, {1, 1}, Padding::kSame},
      {{1, 8, 20, 16}, {9, 9, 16, 3}, {1, 1}, {1, 1}, Padding::kSame},
      {{2, 24, 6}, {5, 6, 1}, {1}, {1}, Padding::kSame},
      {{1, 7, 13, 4}, {3, 4, 4, 2}, {2, 1}, {2, 1}, Padding::kExplicit},
      {{1, 17, 17, 20}, {1, 7, 20, 33}, {1, 1}, {1, 1}, Padding::kSame},
      {{2, 11, 5, 16}, {7, 1, 16, 9}, {1, 1}, {1, 1}, Padding::kValid},
      {{1, 9, 17, 20}, {1, 3, 20, 33}, {1, 1}, {1, 1}, Padding::kSame},
      {{2, 11, 5, 16}, {5, 1, 16, 9}, {1, 1}, {1, 1}, Padding::kValid},
      {{1, 13, 10, 7}, {5, 5, 7, 24}, {1, 1}, {1, 1}, Padding::kSame},
      // Groups that are joined, or that are not: 4, 2 and 3 of them, an odd number, of 1x1 kernels, strided.
      {{1, 13, 9, 64}, {3, 3, 4, 64}, {1, 1}, {1, 1}, Padding::kSame, 16},
      {{2, 9, 10, 48}, {3, 3, 8, 48}, {2, 2}, {1, 1}, Padding::kSame, 6},
      {{1, 7, 8, 104}, {3, 3, 8, 104}, {1, 1}, {2, 2}, Padding::kSame, 13},
      {{1, 8, 9, 60}, {1, 1, 20, 120}, {1, 1}, {1, 1}, Padding::kSame, 3},
      {{1, 9, 11, 64}, {1, 1, 16, 64}, {2, 2}, {1, 1}, Padding::kValid, 4},
      {{2, 30, 24}, {5, 3, 40}, {1}, {1}, Padding::kSame, 8},
      // Of 2, 4, 8, 16, 24 and 32 channels by vectors: part of a vector, odd and even numbers of rows, strides.
      {{1, 6, 5, 36}, {3, 3, 2, 36}, {1, 1}, {1, 1}, Padding::kValid, 18},
      {{2, 7, 19, 104}, {3, 3, 8, 104}, {1, 1}, {1, 1}, Padding::kSame, 13},
      {{1, 5, 8, 28}, {3, 3, 4, 28}, {1, 2}, {1, 1}, Padding::kSame, 7},
      {{1, 10, 17, 48}, {3, 3, 16, 48}, {2, 2}, {1, 1}, Padding::kSame, 3},
      {{2, 5, 9, 48}, {3, 3, 24, 48}, {1, 1}, {1, 1}, Padding::kSame, 2},
      {{1, 8, 9, 64}, {3, 3, 32, 64}, {1, 1}, {2, 1}, Padding::kExplicit, 2},
      // Few pixels and many weights; by two, which is not for Winograd and its errors in long sums.
      {{1, 13, 12, 128}, {3, 3, 128, 256}, {2, 2}, {1, 1}, Padding::kSame},
      // Nearly as few, of one row.
      {{1, 200, 64}, {3, 64, 1536}, {1}, {1}, Padding::kSame},
  };
  const std::vector<Epilogue> list = epilogues();
  for (size_t s = 0; s < specs.size(); ++s) {
    for (const Epilogue& epilogue : list) {
      if (s >= 10 && std::string(epilogue.name) == "scale_shift_tanh_residual") continue;
      cases.push_back(conv_case("conv" + std::to_string(s), specs[s], epilogue));
    }
  }
  Case computed = conv_case("conv_computed_weights", specs[0], list[1]);
  computed.variable_inputs |= 2;
  cases.push_back(computed);
}

// Widths on both sides of where phases become products of their own.
void add_transposed(std::vector<Case>& cases) {
  struct Spec {
    int64_t stride, width;
  };
  for (Padding padding : {Padding::kSame, Padding::kValid}) {
    for (const Spec& spec : {Spec{1, 5}, Spec{2, 5}, Spec{3, 5}, Spec{2, 24}, Spec{2, 25}}) {
      const int64_t stride = spec.stride;
      ir::ConvTransposeAttrs attrs;
      attrs.strides = {stride, stride};
      attrs.dilations = {1, 1};
      attrs.padding = padding;
      const auto size = [&](int64_t in) { return padding == Padding::kSame ? in * stride : (in - 1) * stride + 3; };
      const int64_t height = size(5), width = size(spec.width);
      for (const Epilogue& epilogue : epilogues()) {
        for (int64_t channels : {3, 9}) {
          attrs.epilogue = epilogue.program;
          Case c{"conv_transpose" + std::to_string(cases.size()),
                 Op::kConvTranspose,
                 attrs,
                 {random_floats({2, 5, spec.width, 6}), random_floats({3, 3, channels, 6}),
                  ints({4},
                       {2, static_cast<int32_t>(height), static_cast<int32_t>(width), static_cast<int32_t>(channels)})},
                 1,
                 1,
                 kTolerance};
          for (char kind : epilogue.operands) {
            if (kind == 'f') c.variable_inputs |= 1u << c.inputs.size();
            c.inputs.push_back(random_floats(kind == 's'   ? ir::Dims{}
                                             : kind == 'v' ? ir::Dims{channels}
                                                           : ir::Dims{2, height, width, channels}));
          }
          cases.push_back(c);
        }
      }
    }
  }
}

// Three spatial dims: strides below, at and beyond the kernel, and sizes that the stride does not divide.
void add_transposed_volumes(std::vector<Case>& cases) {
  struct Spec {
    std::vector<int64_t> kernel, strides;
    ir::Padding padding;
    std::vector<int32_t> out;
  };
  const ir::Padding same = ir::Padding::kSame, valid = ir::Padding::kValid;
  for (const Spec& s : {Spec{{3, 3, 3}, {1, 1, 1}, same, {3, 4, 5}}, Spec{{3, 3, 3}, {2, 2, 2}, same, {6, 8, 9}},
                        Spec{{2, 2, 2}, {2, 2, 2}, valid, {6, 8, 10}}, Spec{{4, 3, 5}, {2, 1, 3}, valid, {8, 6, 17}},
                        Spec{{1, 2, 1}, {2, 3, 2}, valid, {6, 12, 10}}, Spec{{3, 1, 2}, {2, 2, 2}, same, {5, 7, 10}}}) {
    for (const int64_t channels : {1, 7, 40}) {
      for (const Epilogue& epilogue : epilogues()) {
        ir::ConvTransposeAttrs attrs;
        attrs.strides = s.strides;
        attrs.dilations = {1, 1, 1};
        attrs.padding = s.padding;
        attrs.epilogue = epilogue.program;
        const ir::Dims dims = {2, s.out[0], s.out[1], s.out[2], channels};
        Case c{"conv_transpose3d" + std::to_string(cases.size()),
               Op::kConvTranspose,
               attrs,
               {random_floats({2, 3, 4, 5, 6}), random_floats({s.kernel[0], s.kernel[1], s.kernel[2], channels, 6}),
                ints({5}, {2, s.out[0], s.out[1], s.out[2], static_cast<int32_t>(channels)})},
               1,
               1,
               kTolerance};
        for (char kind : epilogue.operands) {
          if (kind == 'f') c.variable_inputs |= 1u << c.inputs.size();
          c.inputs.push_back(random_floats(kind == 's' ? ir::Dims{} : kind == 'v' ? ir::Dims{channels} : dims));
        }
        cases.push_back(c);
      }
    }
  }
}

void add_products(std::vector<Case>& cases) {
  struct Spec {
    ir::Dims a, b;
    bool transpose_a, transpose_b;
  };
  const std::vector<Spec> specs = {
      {{1, 1}, {1, 1}, false, false},
      {{1, 100}, {100, 37}, false, false},
      {{13, 64}, {64, 33}, false, false},
      {{64, 13}, {64, 33}, true, false},
      {{13, 64}, {33, 64}, false, true},
      {{3, 7, 20}, {20, 11}, false, false},
      {{2, 3, 7, 20}, {2, 3, 20, 5}, false, false},
      {{2, 3, 7, 20}, {2, 3, 5, 20}, false, true},
      {{2, 1, 4, 6}, {3, 6, 5}, false, false},
      {{5, 18, 9}, {5, 18, 21}, true, false},
      {{1, 50, 50}, {4, 50, 16}, false, false},
      {{40, 9, 1}, {40, 1, 10}, false, false},
      {{40, 9, 1}, {1, 70, 1}, false, true},
      // Whole tile registers along K: one piece of a sum and several, one block of rows and two.
      {{32, 32}, {32, 16}, false, false},
      {{45, 544}, {544, 41}, false, false},
      {{300, 64}, {64, 33}, false, false},
      {{2, 35, 96}, {100, 96}, false, true}};
  for (const Spec& spec : specs) {
    for (const Epilogue& epilogue : epilogues()) {
      for (uint32_t variable : {1u, 3u}) {
        ir::MatMulAttrs attrs{spec.transpose_a, spec.transpose_b, {}};
        Case c{"matmul" + std::to_string(cases.size()) + "_" + epilogue.name,
               Op::kMatMul,
               attrs,
               {random_floats(spec.a), random_floats(spec.b, -1, 1)},
               variable,
               1,
               kTolerance};
        const auto bare = run_reference(c);
        EXPECT_TRUE(bare.ok()) << bare.status().message();
        const ir::Dims out = (*bare)[0]->dims;
        attrs.epilogue = epilogue.program;
        c.attrs = attrs;
        for (char kind : epilogue.operands) {
          if (kind == 'f') c.variable_inputs |= 1u << c.inputs.size();
          c.inputs.push_back(random_floats(kind == 's' ? ir::Dims{} : kind == 'v' ? ir::Dims{out.back()} : out));
        }
        cases.push_back(c);
      }
    }
  }
}

// Masks that hide all keys behind a query's own, all keys of some queries, all of the first chunk; with numbers that do
// so in practice. Also scores that are not numbers.
void add_hiding_masks(std::vector<Case>& cases) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr int64_t kQueries = 35, kKeys = 520;
  const std::vector<int64_t> plain = {0, 1};
  const ir::TensorPtr added = random_floats({kKeys}, -3, 3);
  for (const float hidden : {-kInfinity, -1e9f, std::numeric_limits<float>::lowest(), 0.0f}) {
    for (const bool replaces : {false, true}) {
      // Added to all scores of a row, -1e9 leaves of them what float32 rounds it to: nothing to compare.
      const bool whole_rows = hidden != -1e9f || replaces;
      std::vector<float> mask(kQueries * kKeys);
      for (int64_t q = 0; q < kQueries; ++q) {
        for (int64_t s = 0; s < kKeys; ++s) {
          const bool hides = (whole_rows && q % 7 == 3) || (q % 7 == 4 ? s < kKeys - 3 : s > q + 1);
          if (hides) mask[static_cast<size_t>(q * kKeys + s)] = hidden;
        }
      }
      std::vector<ir::TensorPtr> inputs = {random_floats({kQueries, 9}), random_floats({kKeys, 9}),
                                           random_floats({kKeys, 6}), floats({kQueries, kKeys}, mask)};
      if (hidden == 0) {
        auto* q = reinterpret_cast<float*>(const_cast<std::byte*>(inputs[0]->data));
        q[3 * 9] = std::numeric_limits<float>::quiet_NaN();
        q[5 * 9] = q[33 * 9] = kInfinity;
      }
      const ir::AttentionAttrs attrs{0.5f, plain, plain, plain, plain, replaces};
      cases.push_back({"attention_hiding", Op::kAttention, attrs, inputs, ~0u, 1, 1e-5});
      if (hidden < -1e8f && std::isfinite(hidden)) continue;  // nothing that is added to that is left
      inputs.push_back(added);
      cases.push_back({"attention_hiding_added", Op::kAttention, attrs, std::move(inputs), ~0u, 1, 1e-5});
    }
  }
}

// Operands and masks that repeat over batches, queries and keys; a second mask that is added.
void add_repeating(std::vector<Case>& cases) {
  const std::vector<int64_t> inside = {0, 2, 1, 3}, plain = {0, 1, 2, 3};
  struct Spec {
    ir::Dims q, k, v, mask, added;
  };
  const std::vector<Spec> specs = {{{1, 9, 3, 4}, {2, 11, 1, 4}, {2, 11, 3, 5}, {}, {}},
                                   {{2, 1, 3, 4}, {1, 11, 3, 4}, {1, 11, 1, 5}, {1, 3, 37, 1}, {2, 1, 1, 11}},
                                   {{1, 9, 1, 4}, {1, 1, 1, 4}, {1, 70, 2, 5}, {3, 1, 9, 70}, {70}},
                                   {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}, {3, 2, 18, 1}, {}}};
  for (const Spec& s : specs) {
    for (const bool replaces : {false, true}) {
      std::vector<ir::TensorPtr> inputs = {random_floats(s.q), random_floats(s.k), random_floats(s.v)};
      if (!s.mask.empty()) inputs.push_back(random_floats(s.mask, -3, 3));
      if (!s.added.empty()) inputs.push_back(random_floats(s.added, -3, 3));
      cases.push_back({"attention_repeating", Op::kAttention,
                       ir::AttentionAttrs{0.5f, inside, inside, inside, plain, replaces}, std::move(inputs), ~0u, 1,
                       1e-5});
    }
  }
}

}  // namespace

// Heads inside and outside of rows; masks of every number of dims; many and few queries and keys, around whole vectors
// of queries and whole chunks of keys.
std::vector<Case> attention_cases() {
  std::vector<Case> cases;
  struct Spec {
    ir::Dims batch;
    int64_t queries, keys, depth, width;
    ir::Dims mask;
    float scale;
  };
  const std::vector<Spec> specs = {{{1, 1}, 1, 1, 1, 1, {}, 1},
                                   {{2, 3}, 5, 7, 8, 8, {2, 1, 1, 7}, 0.35f},
                                   {{1, 4}, 64, 64, 16, 16, {64, 64}, 1},
                                   {{1, 2}, 17, 33, 5, 3, {1, 2, 17, 33}, -2},
                                   {{3, 2}, 1, 130, 24, 24, {1}, 0.2f},
                                   {{3, 2}, 150, 20, 32, 40, {3, 1, 1, 1}, 0.1f},
                                   {{1, 1}, 130, 1100, 4, 4, {}, 0.5f},
                                   {{2}, 9, 11, 6, 7, {2, 9, 11}, 0.4f},
                                   {{}, 9, 11, 6, 7, {1, 11}, 0.4f},
                                   {{1, 2}, 49, 49, 32, 32, {2, 49, 49}, 0.18f},
                                   {{2, 3}, 1, 1, 3, 2, {1, 3, 1, 1}, 2},
                                   {{1, 2}, 34, 1, 17, 19, {34, 1}, 1},
                                   {{2, 1}, 3, 257, 67, 71, {2, 1, 3, 257}, 0.1f},
                                   {{1, 1}, 33, 513, 13, 29, {33, 513}, 0.3f}};
  for (size_t i = 0; i < specs.size(); ++i) {
    const Spec& s = specs[i];
    const auto operand = [&](int64_t rows, int64_t columns, const std::vector<int64_t>& perm) {
      ir::Dims dims = s.batch;
      dims.insert(dims.end(), {rows, columns});
      ir::Dims stored(dims.size());
      for (size_t d = 0; d < dims.size(); ++d) stored[static_cast<size_t>(perm[d])] = dims[d];
      return random_floats(stored, -1, 1);
    };
    using Perm = std::vector<int64_t>;
    const bool heads = s.batch.size() == 2;
    const Perm plain = heads ? Perm{0, 1, 2, 3} : s.batch.empty() ? Perm{0, 1} : Perm{0, 1, 2};
    Perm swapped = plain;
    std::swap(swapped[swapped.size() - 1], swapped[swapped.size() - 2]);
    const Perm inside = heads ? Perm{0, 2, 1, 3} : plain;
    const std::vector<ir::AttentionAttrs> layouts = {{s.scale, plain, plain, plain, plain, false},
                                                     {s.scale, inside, inside, inside, inside, false},
                                                     {s.scale, plain, swapped, swapped, inside, true}};
    for (size_t layout = 0; layout < layouts.size(); ++layout) {
      const ir::AttentionAttrs& attrs = layouts[layout];
      std::vector<ir::TensorPtr> inputs = {operand(s.queries, s.depth, attrs.query_perm),
                                           operand(s.keys, s.depth, attrs.key_perm),
                                           operand(s.keys, s.width, attrs.value_perm)};
      if (!s.mask.empty()) inputs.push_back(random_floats(s.mask, -3, 3));
      cases.push_back({"attention" + std::to_string(i) + "_" + std::to_string(layout), Op::kAttention, attrs,
                       std::move(inputs), ~0u, 1, 1e-5});
    }
  }
  add_hiding_masks(cases);
  add_repeating(cases);
  return cases;
}

std::vector<Case> matrix_cases() {
  std::vector<Case> cases;
  add_convs(cases);
  add_transposed(cases);
  add_transposed_volumes(cases);
  add_products(cases);
  for (Case& c : attention_cases()) cases.push_back(std::move(c));
  return cases;
}

}  // namespace blade::backends
