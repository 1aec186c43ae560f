// What transformers take beside attention: products whose columns are several tensors, and layer normalization between
// types.
#include "backends/cuda_rows.h"

namespace blade::backends {
namespace {

ir::PointwiseProgram bias_and(std::optional<ir::PointwiseOp> curve) {
  ir::PointwiseProgram program;
  program.num_inputs = 2;
  program.code = {{ir::PointwiseOp::kAdd, 0, 1, -1, 0, 0}};
  if (curve) program.code.push_back({*curve, 2, -1, -1, 0, 0});
  return program;
}

PairCase product_in_parts(int64_t rows, int64_t depth, int64_t columns, int parts, ir::MatMulAttrs attrs) {
  const ir::Dims weights = attrs.transpose_b ? ir::Dims{parts * columns, depth} : ir::Dims{depth, parts * columns};
  PairCase pair;
  pair.first = in_half({"product_" + std::to_string(rows) + "x" + std::to_string(depth),
                        ir::Op::kMatMul,
                        attrs,
                        {random_floats({rows, depth}), random_floats(weights, -0.1, 0.1)},
                        1,
                        1,
                        4e-3});
  if (attrs.epilogue.num_inputs == 2) pair.first.inputs.push_back(random_floats({parts * columns}));
  pair.second = {std::to_string(parts) + "_parts_of_" + std::to_string(columns),
                 ir::Op::kSplit,
                 ir::SplitAttrs{1, {}},
                 {nullptr},
                 1,
                 parts,
                 4e-3};
  return pair;
}

TEST(CudaVsReference, ProductsInParts) {
  check_pairs({
      product_in_parts(128, 512, 128, 3, {false, false, bias_and({})}),
      product_in_parts(37, 1024, 256, 2, {false, true, bias_and(ir::PointwiseOp::kGeluErf)}),
      product_in_parts(1, 512, 384, 3, {}),
      product_in_parts(300, 128, 256, 2, {false, false, bias_and({})}),
      product_in_parts(1000, 192, 128, 3, {false, false, bias_and(ir::PointwiseOp::kRelu)}),
  });
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

TEST(CudaVsReference, NormalizationWithACast) {
  std::vector<PairCase> pairs;
  for (const auto& [rows, columns] : kRowShapes) {
    for (const auto& [from, to] :
         {std::pair{ir::DType::kFloat16, ir::DType::kFloat32}, {ir::DType::kFloat32, ir::DType::kFloat16}}) {
      PairCase pair;
      pair.first = layer_norm(rows, columns, from);
      pair.second = {
          "cast_to_" + std::string(ir::dtype_name(to)), ir::Op::kCast, ir::CastAttrs{to}, {nullptr}, 1, 1, 4e-3};
      pairs.push_back(pair);
    }
  }
  check_pairs(pairs);
}

}  // namespace
}  // namespace blade::backends
