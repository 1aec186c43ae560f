// What transformers take beside attention: their products, those whose columns are several tensors, and layer
// normalization between types.
#include "backends/cuda_rows.h"
#include "ir/plain_text.h"

namespace blade::backends {
namespace {

ir::PointwiseProgram bias_and(std::optional<ir::PointwiseOp> curve, float alpha = 0) {
  ir::PointwiseProgram program;
  program.num_inputs = 2;
  program.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}};
  if (curve) program.code.push_back({*curve, 2, -1, -1, alpha, 0});
  return program;
}

// `rows`: all dims but the last.
PairCase product_in_parts(ir::Dims rows, int64_t depth, int64_t columns, int parts, ir::MatMulAttrs attrs) {
  const size_t rank = rows.size() + 1;
  ir::Dims x = std::move(rows);
  x.push_back(depth);
  const ir::Dims weights = attrs.transpose_b ? ir::Dims{parts * columns, depth} : ir::Dims{depth, parts * columns};
  PairCase pair;
  pair.first = in_half({"product_" + ir::plain_text(x),
                        ir::Op::kMatMul,
                        attrs,
                        {random_floats(x), random_floats(weights, -0.1, 0.1)},
                        1,
                        1,
                        4e-3});
  if (attrs.epilogue.num_inputs == 2) pair.first.inputs.push_back(random_floats({parts * columns}));
  pair.second = {std::to_string(parts) + "_parts_of_" + std::to_string(columns),
                 ir::Op::kSplit,
                 ir::SplitAttrs{static_cast<int64_t>(rank) - 1, {}},
                 {nullptr},
                 1,
                 parts,
                 4e-3};
  pair.is_taken = true;
  return pair;
}

TEST(CudaVsReference, ProductsInParts) {
  check_pairs({
      product_in_parts({128}, 512, 128, 3, {false, false, bias_and({})}),
      product_in_parts({37}, 1024, 256, 2, {false, true, bias_and(ir::PointwiseOp::kGeluErf)}),
      product_in_parts({1}, 512, 384, 3, {}),
      product_in_parts({300}, 128, 256, 2, {false, false, bias_and({})}),
      product_in_parts({1000}, 192, 128, 3, {false, false, bias_and(ir::PointwiseOp::kRelu)}),
      product_in_parts({2, 19}, 256, 128, 3, {false, false, bias_and(ir::PointwiseOp::kSwish)}),
      product_in_parts({3, 50}, 192, 256, 2, {false, true, bias_and(ir::PointwiseOp::kLeakyRelu, 0.1f)}),
      product_in_parts({5, 1}, 128, 128, 2, {false, false, bias_and(ir::PointwiseOp::kHardSwish, 1.0f / 6)}),
      product_in_parts({2, 1, 33}, 128, 128, 3, {}),
  });
}

// A transformer's products: bias and an activation that no kernel lowers, bias and residual; alone and with a cast.
TEST(CudaVsReference, ProductsOfTransformers) {
  std::vector<Case> cases;
  std::vector<PairCase> pairs;
  for (const auto& [rows, depth, columns] :
       {std::array<int64_t, 3>{128, 128, 128}, {128, 128, 512}, {1, 128, 128}, {128, 512, 128}, {77, 768, 768}}) {
    const double scale = 1.5 / std::sqrt(static_cast<double>(depth));
    Case c = in_half({"product_" + std::to_string(rows) + "x" + std::to_string(depth) + "x" + std::to_string(columns),
                      ir::Op::kMatMul,
                      ir::MatMulAttrs{},
                      {random_floats({rows, depth}), random_floats({depth, columns}, -scale, scale)},
                      1,
                      1,
                      4e-3});
    c.inputs.push_back(random_floats({columns}));
    ir::MatMulAttrs attrs;
    attrs.epilogue.num_inputs = 2;
    for (const auto op : {ir::PointwiseOp::kGeluErf, ir::PointwiseOp::kTanh}) {
      attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {op, 2, -1, -1, 0, 0}};
      c.attrs = attrs;
      cases.push_back(c);
      cases.back().name += std::string("_") + ir::pointwise_name(op);
    }
    attrs.epilogue.num_inputs = 3;
    attrs.epilogue.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}, {ir::PointwiseOp::kAdd, 3, 2, -1, 0, 0}};
    c.attrs = attrs;
    c.name += "_residual";
    c.inputs.push_back(halved(random_floats({rows, columns})));
    c.variable_inputs |= 1u << 3;
    cases.push_back(c);
    for (size_t first = cases.size() - 3; first < cases.size(); ++first) {
      const Case cast = {"cast", ir::Op::kCast, ir::CastAttrs{ir::DType::kFloat32}, {nullptr}, 1, 1, 4e-3};
      pairs.push_back({cases[first], cast, 0});
      pairs.back().second.name += "_of_" + cases[first].name;
    }
  }
  check_all(cases);
  check_pairs(pairs);
}

// Rows of x in `from`, parameters in float32.
Case layer_norm(int64_t rows, int64_t columns, ir::DType from) {
  Case c{"layer_norm_" + std::to_string(rows) + "x" + std::to_string(columns) + "_" + ir::dtype_name(from),
         ir::Op::kLayerNorm,
         ir::LayerNormAttrs{1e-5f},
         {random_floats({rows, columns}, -3, 5), random_floats({columns}), random_floats({columns})},
         1,
         1,
         from == ir::DType::kFloat32 ? 2e-5 : 4e-3};
  if (from == ir::DType::kFloat16) c.inputs[0] = halved(c.inputs[0]);
  return c;
}

constexpr int64_t kRowShapes[][2] = {{1, 4}, {3, 100}, {128, 768}, {1000, 256}, {777, 1024}};

TEST(CudaVsReference, NormalizationOfHalves) {
  std::vector<Case> cases;
  for (const auto& [rows, columns] : kRowShapes) {
    for (const uint32_t variable : {1u, ~0u}) {
      cases.push_back(layer_norm(rows, columns, ir::DType::kFloat16));
      cases.back().variable_inputs = variable;
    }
  }
  check_all(cases);
}

constexpr std::pair<ir::DType, ir::DType> kCasts[] = {{ir::DType::kFloat16, ir::DType::kFloat32},
                                                      {ir::DType::kFloat32, ir::DType::kFloat16}};

PairCase cast_layer_norm(int64_t rows, int64_t columns, ir::DType from, ir::DType to) {
  return {.first = layer_norm(rows, columns, from),
          .second = {
              "cast_to_" + std::string(ir::dtype_name(to)), ir::Op::kCast, ir::CastAttrs{to}, {nullptr}, 1, 1, 4e-3}};
}

TEST(CudaVsReference, NormalizationWithACast) {
  std::vector<PairCase> pairs;
  for (const auto& [rows, columns] : kRowShapes) {
    for (const auto& [from, to] : kCasts) {
      pairs.push_back(cast_layer_norm(rows, columns, from, to));
      pairs.back().is_taken = true;
    }
  }
  check_pairs(pairs);
}

// In no multiple of four elements, or more than the lanes of a warp hold: the pair falls apart.
TEST(CudaVsReference, NormalizationOfRowsThatNoWarpHolds) {
  constexpr int64_t kShapes[][2] = {{1, 1}, {3, 30}, {64, 767}, {5, 1028}, {2, 1030}};
  std::vector<PairCase> pairs;
  std::vector<Case> alone;
  for (const auto& [rows, columns] : kShapes) {
    for (const auto& [from, to] : kCasts) {
      pairs.push_back(cast_layer_norm(rows, columns, from, to));
      pairs.back().is_taken = false;
      alone.push_back(pairs.back().first);
      const auto between = run_reference(alone.back());
      ASSERT_TRUE(between.ok()) << between.status().message();
      alone.push_back(pairs.back().second);
      alone.back().inputs = *between;
    }
  }
  check_pairs(pairs);
  check_all(alone);
}

TEST(CudaLayerNorm, NotWithParametersOfTwoTypes) {
  const auto& card = cuda_device();
  if (!card.ok()) GTEST_SKIP() << "needs a GPU: " << card.status().message();
  Case c = layer_norm(3, 100, ir::DType::kFloat32);
  c.inputs[2] = halved(c.inputs[2]);
  const auto want = run_reference(c);
  ASSERT_TRUE(want.ok()) << want.status().message();
  const CaseGraph made = make_graph(c);
  KernelRequest request = make_request(c, made.graph.node(made.node), *want, 1);
  request.device = *card;
  for (const KernelEntry& row : (*card)->kernels()) {
    EXPECT_FALSE(row.op == c.op && row.supports(request).ok) << row.name;
  }
}

}  // namespace
}  // namespace blade::backends
