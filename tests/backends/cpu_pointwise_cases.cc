// Pointwise instructions over dtypes and broadcast patterns, fused programs, and casts.
#include "backends/cpu_cases.h"

namespace blade::backends {
namespace {

using ir::DType;
using ir::Op;
using ir::PointwiseOp;
using ir::PointwiseProgram;

constexpr double kTolerance = 1e-6;

Case pointwise(std::string name, PointwiseProgram program, std::vector<ir::TensorPtr> inputs, double tolerance) {
  return {std::move(name), Op::kPointwise, ir::PointwiseAttrs{std::move(program)}, std::move(inputs), ~0u, 1,
          tolerance};
}

std::string label(PointwiseOp op, DType dtype) {
  return std::string(ir::pointwise_name(op)) + "_" + ir::dtype_name(dtype);
}

// Where the function is defined and not steep.
std::pair<double, double> domain(PointwiseOp op) {
  switch (op) {
    case PointwiseOp::kSqrt:
    case PointwiseOp::kRsqrt:
    case PointwiseOp::kReciprocal:
    case PointwiseOp::kLog:
    case PointwiseOp::kLog1p:
    case PointwiseOp::kXlogy:
    case PointwiseOp::kPow:
      return {0.01, 4};
    case PointwiseOp::kAcosh:
      return {1, 5};
    case PointwiseOp::kAsin:
    case PointwiseOp::kAcos:
    case PointwiseOp::kAtanh:
      return {-0.95, 0.95};
    case PointwiseOp::kTan:
      return {-1, 1};
    default:
      return {-8, 8};
  }
}

void add_float_ops(std::vector<Case>& cases) {
  for (int i = 0; i < static_cast<int>(PointwiseOp::kSelect); ++i) {
    const auto op = static_cast<PointwiseOp>(i);
    const bool integers_only = op == PointwiseOp::kBitwiseNot || op == PointwiseOp::kLogicalNot ||
                               op == PointwiseOp::kLogicalAnd || op == PointwiseOp::kLogicalOr ||
                               (op >= PointwiseOp::kBitwiseAnd && op <= PointwiseOp::kRightShift);
    if (integers_only) continue;
    const auto [lo, hi] = domain(op);
    const auto a = random_floats({7, 131}, lo, hi);
    if (ir::pointwise_arity(op) == 1) {
      cases.push_back(pointwise(label(op, DType::kFloat32), PointwiseProgram::unary(op, 0.25f, 0.5f), {a}, kTolerance));
    } else {
      const auto b = random_floats({131}, 0.3, 5);
      cases.push_back(pointwise(label(op, DType::kFloat32), PointwiseProgram::binary(op), {a, b}, kTolerance));
    }
  }
  const float inf = INFINITY;
  const auto special = floats({13}, {0, -0.0f, 1, -1, inf, -inf, NAN, 1e-30f, -1e-30f, 100, -100, 88, -88});
  for (PointwiseOp op :
       {PointwiseOp::kExp,      PointwiseOp::kExpm1,    PointwiseOp::kLog,   PointwiseOp::kTanh,  PointwiseOp::kSigmoid,
        PointwiseOp::kErf,      PointwiseOp::kRelu,     PointwiseOp::kRelu6, PointwiseOp::kAbs,   PointwiseOp::kSign,
        PointwiseOp::kFloor,    PointwiseOp::kCeil,     PointwiseOp::kRint,  PointwiseOp::kIsNan, PointwiseOp::kIsInf,
        PointwiseOp::kIsFinite, PointwiseOp::kSoftplus, PointwiseOp::kElu,   PointwiseOp::kSelu,  PointwiseOp::kRsqrt,
        PointwiseOp::kLog1p,    PointwiseOp::kSin,      PointwiseOp::kCos,   PointwiseOp::kAtan,  PointwiseOp::kAsin,
        PointwiseOp::kAcos,     PointwiseOp::kAtanh,    PointwiseOp::kErfc}) {
    cases.push_back(
        pointwise("special_" + label(op, DType::kFloat32), PointwiseProgram::unary(op), {special}, kTolerance));
  }
  for (PointwiseOp op : {PointwiseOp::kAsin, PointwiseOp::kAcos, PointwiseOp::kAtanh}) {
    cases.push_back(pointwise("ends_" + label(op, DType::kFloat32), PointwiseProgram::unary(op),
                              {floats({7}, {1, -1, 1.5f, -1.5f, 0.99999994f, -0.99999994f, 1e-4f})}, kTolerance));
  }
  cases.push_back(pointwise("ends_tanh", PointwiseProgram::unary(PointwiseOp::kTanh),
                            {floats({10}, {9.5f, -9.5f, 20, -20, 1e30f, -1e30f, inf, -inf, 0, -0.0f})}, 0));
  cases.push_back(
      pointwise("tail_erfc", PointwiseProgram::unary(PointwiseOp::kErfc), {random_floats({1009}, 4, 9)}, kTolerance));
  // Every pair of them.
  std::vector<float> up, across;
  for (float y : {0.0f, -0.0f, 1.0f, -2.0f, inf, -inf, NAN, 1e-30f, 1e30f}) {
    for (float x : {0.0f, -0.0f, 1.0f, -2.0f, inf, -inf, NAN, 1e-30f, -1e30f}) {
      up.push_back(y);
      across.push_back(x);
    }
  }
  cases.push_back(pointwise("special_atan2", PointwiseProgram::binary(PointwiseOp::kAtan2),
                            {floats({81}, up), floats({81}, across)}, kTolerance));
  cases.push_back(pointwise("around_atan2", PointwiseProgram::binary(PointwiseOp::kAtan2),
                            {random_floats({1009}, -5, 5), random_floats({1009}, -5, 5)}, kTolerance));
  // Angles of many turns, some beyond what the vector functions know.
  for (double turns : {100.0, 30000.0, 1e6}) {
    for (PointwiseOp op : {PointwiseOp::kSin, PointwiseOp::kCos}) {
      cases.push_back(pointwise(label(op, DType::kFloat32) + "_" + std::to_string(turns), PointwiseProgram::unary(op),
                                {random_floats({3, 67}, -turns, turns)}, kTolerance));
    }
  }
}

void add_typed_ops(std::vector<Case>& cases) {
  for (DType dtype : {DType::kInt32, DType::kInt64, DType::kUInt8, DType::kInt8, DType::kFloat64, DType::kFloat16,
                      DType::kBFloat16}) {
    const double tolerance = dtype == DType::kFloat16 ? 2e-3 : dtype == DType::kBFloat16 ? 2e-2 : 0;
    const bool floating = ir::is_floating(dtype);
    const auto a = random_tensor(dtype, {5, 67}, dtype == DType::kUInt8 ? 0 : -50, 50),
               b = random_tensor(dtype, {67}, 1, 20);
    for (PointwiseOp op :
         {PointwiseOp::kAdd, PointwiseOp::kSub, PointwiseOp::kMul, PointwiseOp::kMaximum, PointwiseOp::kMinimum,
          PointwiseOp::kLess, PointwiseOp::kEqual, PointwiseOp::kGreaterEqual, PointwiseOp::kSquaredDifference}) {
      cases.push_back(pointwise(label(op, dtype), PointwiseProgram::binary(op), {a, b}, tolerance));
    }
    for (PointwiseOp op : {PointwiseOp::kNeg, PointwiseOp::kAbs, PointwiseOp::kSquare, PointwiseOp::kSign}) {
      if (dtype == DType::kUInt8) continue;
      cases.push_back(pointwise(label(op, dtype), PointwiseProgram::unary(op), {a}, tolerance));
    }
    const auto mask = random_tensor(DType::kUInt8, {5, 1}, 0, 2);
    const auto condition = bools({5, 1}, {mask->as<uint8_t>().begin(), mask->as<uint8_t>().end()});
    cases.push_back(pointwise("select_" + label(PointwiseOp::kSelect, dtype),
                              PointwiseProgram::ternary(PointwiseOp::kSelect), {condition, a, b}, tolerance));
    if (floating) continue;
    for (PointwiseOp op : {PointwiseOp::kFloorDiv, PointwiseOp::kFloorMod, PointwiseOp::kTruncMod, PointwiseOp::kDiv,
                           PointwiseOp::kBitwiseAnd, PointwiseOp::kBitwiseOr, PointwiseOp::kBitwiseXor}) {
      cases.push_back(pointwise(label(op, dtype), PointwiseProgram::binary(op), {a, b}, tolerance));
    }
  }
  const auto x = bools({2, 2}, {0, 1, 0, 1}), y = bools({2, 1}, {0, 1});
  for (PointwiseOp op :
       {PointwiseOp::kLogicalAnd, PointwiseOp::kLogicalOr, PointwiseOp::kEqual, PointwiseOp::kNotEqual}) {
    cases.push_back(pointwise(label(op, DType::kBool), PointwiseProgram::binary(op), {x, y}, 0));
  }
  cases.push_back(pointwise("not_bool", PointwiseProgram::unary(PointwiseOp::kLogicalNot), {x}, 0));
}

void add_broadcasts(std::vector<Case>& cases) {
  const std::vector<std::pair<ir::Dims, ir::Dims>> patterns = {{{}, {}},
                                                               {{1}, {}},
                                                               {{5}, {1}},
                                                               {{0, 3}, {3}},
                                                               {{2, 3, 5}, {3, 1}},
                                                               {{4, 9, 3}, {3}},
                                                               {{4, 1, 6}, {5, 1}},
                                                               {{3, 1, 1, 8}, {3, 7, 5, 8}},
                                                               {{2, 300, 3}, {3}},
                                                               {{1, 70000}, {1}},
                                                               {{2, 40000}, {2, 1}},
                                                               {{6, 2000}, {2000}},
                                                               {{1, 1}, {33, 17}},
                                                               {{2, 1, 3, 1}, {1, 5, 1, 4}},
                                                               {{37, 53, 16}, {16}}};
  for (const auto& [a, b] : patterns) {
    const std::string name = "broadcast" + std::to_string(cases.size());
    cases.push_back(
        pointwise(name, PointwiseProgram::binary(PointwiseOp::kSub), {random_floats(a), random_floats(b)}, kTolerance));
    cases.push_back(pointwise(name + "_swapped", PointwiseProgram::binary(PointwiseOp::kLess),
                              {random_floats(b), random_floats(a)}, kTolerance));
    cases.push_back(pointwise(name + "_int", PointwiseProgram::binary(PointwiseOp::kSub),
                              {random_tensor(DType::kInt32, a, -9, 9), random_tensor(DType::kInt32, b, -9, 9)}, 0));
  }
}

// Pixels times one number a channel and image, as squeeze and excite has them, and products that only look so.
void add_channel_scales(std::vector<Case>& cases) {
  const std::vector<std::pair<ir::Dims, ir::Dims>> patterns = {
      {{1, 7, 7, 64}, {1, 1, 1, 64}}, {{3, 5, 3, 37}, {3, 1, 1, 37}},     {{2, 17, 1}, {2, 1, 1}},
      {{1, 1, 1, 5}, {1, 1, 1, 5}},   {{2, 40, 31, 100}, {2, 1, 1, 100}}, {{2, 0, 3, 16}, {2, 1, 1, 16}},
      {{3, 5, 3, 37}, {1, 1, 1, 37}}, {{2, 4, 4, 16}, {2, 4, 1, 16}},     {{2, 4, 4, 16}, {2, 1, 1, 1}}};
  for (const auto& [pixels, factors] : patterns) {
    const auto x = random_tensor(DType::kBFloat16, pixels, -5, 5), f = random_tensor(DType::kBFloat16, factors, -1, 1);
    const std::string name = "channel_scale" + std::to_string(cases.size());
    cases.push_back(pointwise(name, PointwiseProgram::binary(PointwiseOp::kMul), {x, f}, 0x1p-7));
    cases.push_back(pointwise(name + "_swapped", PointwiseProgram::binary(PointwiseOp::kMul), {f, x}, 0x1p-7));
  }
}

// Pixels times numbers of channels plus others, with and without a clamp, and programs that only look so.
void add_channel_affines(std::vector<Case>& cases) {
  PointwiseProgram sum;
  sum.num_inputs = 3;
  sum.code = {{PointwiseOp::kMul, 0, 1, -1, 0, 0}, {PointwiseOp::kAdd, 3, 2, -1, 0, 0}};
  PointwiseProgram swapped = sum;
  swapped.code = {{PointwiseOp::kMul, 2, 1, -1, 0, 0}, {PointwiseOp::kAdd, 0, 3, -1, 0, 0}};
  PointwiseProgram of_product = sum;  // its clamp is not of the sum
  of_product.code.push_back({PointwiseOp::kRelu, 3, -1, -1, 0, 0});
  const auto clamped = [&](PointwiseOp op) {
    PointwiseProgram program = sum;
    program.code.push_back({op, 4, -1, -1, 0, 0});
    return program;
  };
  const std::vector<std::pair<ir::Dims, ir::Dims>> patterns = {
      {{1, 7, 7, 64}, {1, 1, 1, 64}}, {{3, 5, 37}, {37}}, {{3, 5, 141}, {141}},
      {{2, 301, 160}, {1, 160}},      {{5, 16}, {16}},    {{4, 7, 15}, {15}},
      {{4, 7, 32}, {7, 32}},          {{4, 7, 32}, {1}},  {{64}, {64}}};
  for (const auto& [pixels, channels] : patterns) {
    const auto x = random_tensor(DType::kBFloat16, pixels, -5, 5);
    const auto s = random_tensor(DType::kBFloat16, channels, -3, 3),
               t = random_tensor(DType::kBFloat16, channels, -3, 3);
    const std::string name = "channel_affine" + std::to_string(cases.size());
    cases.push_back(pointwise(name, sum, {x, s, t}, 0x1p-6));
    cases.push_back(pointwise(name + "_relu", clamped(PointwiseOp::kRelu), {s, x, t}, 0x1p-6));
    cases.push_back(pointwise(name + "_relu6", clamped(PointwiseOp::kRelu6), {x, s, t}, 0x1p-6));
    cases.push_back(pointwise(name + "_swapped", swapped, {t, s, x}, 0x1p-6));
    cases.push_back(pointwise(name + "_of_product", of_product, {x, s, t}, 0x1p-6));
  }
}

// sigmoid(x * s + t) * x, with s a channel vector and t a scalar: a fused chain with an intermediate that lives long.
void add_programs(std::vector<Case>& cases) {
  PointwiseProgram program;
  program.num_inputs = 3;
  program.code = {{PointwiseOp::kMul, 0, 1, -1, 0, 0},      {PointwiseOp::kAdd, 3, 2, -1, 0, 0},
                  {PointwiseOp::kSigmoid, 4, -1, -1, 0, 0}, {PointwiseOp::kMul, 5, 0, -1, 0, 0},
                  {PointwiseOp::kGreater, 6, 1, -1, 0, 0},  {PointwiseOp::kSelect, 7, 6, 0, 0, 0}};
  for (int64_t channels : {1, 3, 16, 17, 1500}) {
    cases.push_back(pointwise("program" + std::to_string(channels), program,
                              {random_floats({5, 11, channels}), random_floats({channels}, -5, 5), random_floats({})},
                              2e-6));
  }
}

void add_casts(std::vector<Case>& cases) {
  const std::vector<DType> dtypes = {
      DType::kFloat32, DType::kFloat64, DType::kFloat16, DType::kBFloat16, DType::kInt8,   DType::kInt16, DType::kInt32,
      DType::kInt64,   DType::kUInt8,   DType::kUInt16,  DType::kUInt32,   DType::kUInt64, DType::kBool};
  for (DType from : dtypes) {
    for (DType to : dtypes) {
      const auto x = from == DType::kBool ? bools({3}, {1, 0, 1})
                                          : random_tensor(from, {3, 37}, from == DType::kUInt8 ? 0 : -120, 120);
      cases.push_back({std::string("cast_") + ir::dtype_name(from) + "_" + ir::dtype_name(to),
                       Op::kCast,
                       ir::CastAttrs{to},
                       {x},
                       ~0u,
                       1,
                       0});
    }
  }
  const auto wild = floats({8}, {1e20f, -1e20f, NAN, 3e9f, 300.7f, -5.5f, INFINITY, -3e9f});
  for (DType to : dtypes)
    cases.push_back({std::string("cast_wild_") + ir::dtype_name(to), Op::kCast, ir::CastAttrs{to}, {wild}, ~0u, 1, 0});
}

}  // namespace

std::vector<Case> pointwise_cases() {
  std::vector<Case> cases;
  add_float_ops(cases);
  add_typed_ops(cases);
  add_broadcasts(cases);
  add_channel_scales(cases);
  add_channel_affines(cases);
  add_programs(cases);
  add_casts(cases);
  return cases;
}

}  // namespace blade::backends
