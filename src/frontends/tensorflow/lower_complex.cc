// Complex numbers as two tensors: ops that work on either part, those that mix them, and Fourier transforms.
#include <algorithm>
#include <string_view>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

// An imaginary part that is there: zeros where the number is real.
ir::ValueId imaginary_or_zeros(LowerContext& context, Emitter& e, int i) {
  if (context.imaginary(i) != ir::kNone) return context.imaginary(i);
  const ir::ValueId real = context.input(i);
  return e.fill("zeros", e.shape_of(real), e.scalar(context.dtype(real), 0));
}

// Ops that do with the parts what they do with numbers. Operands that are no complex numbers serve both.
Status lower_each_part(LowerContext& context, const OpSpec& spec) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<DataType> types, tensor_types(spec.inputs, context.node()));
  bool real = true;
  for (int i = 0; i < context.num_inputs(); ++i) real = real && context.imaginary(i) == ir::kNone;
  LowerContext reals = context.with_inputs(context.inputs());
  BLADE_RETURN_IF_ERROR(spec.lower(reals, spec.argument));
  if (real) return context.finish_complex(reals.outputs(), {});
  Emitter e(context);
  std::vector<ir::ValueId> parts = context.inputs();
  for (size_t i = 0; i < parts.size() && i < types.size(); ++i) {
    if (types[i] == DataType::kComplex64) parts[i] = imaginary_or_zeros(context, e, static_cast<int>(i));
  }
  BLADE_RETURN_IF_ERROR(e.status());
  LowerContext imaginary = context.with_inputs(std::move(parts));
  BLADE_RETURN_IF_ERROR(spec.lower(imaginary, spec.argument));
  return context.finish_complex(reals.outputs(), imaginary.outputs());
}

// What does not look at the numbers themselves.
Status lower_of_real_part(LowerContext& context, const OpSpec& spec) { return spec.lower(context, spec.argument); }

// (a + bi) (c + di), where b or d may be missing.
Status lower_complex_mul(LowerContext& context, const OpSpec&) {
  Emitter e(context);
  const auto mul = [&](const char* name, ir::ValueId x, ir::ValueId y) {
    return x == ir::kNone || y == ir::kNone ? ir::kNone : e.pointwise(PointwiseOp::kMul, name, {x, y});
  };
  const ir::ValueId a = context.input(0), b = context.imaginary(0), c = context.input(1), d = context.imaginary(1);
  ir::ValueId real = mul("ac", a, c), imaginary = mul("ad", a, d);
  if (const ir::ValueId bd = mul("bd", b, d); bd != ir::kNone) real = e.pointwise(PointwiseOp::kSub, "", {real, bd});
  if (const ir::ValueId bc = mul("bc", b, c); bc != ir::kNone) {
    imaginary = imaginary == ir::kNone ? bc : e.pointwise(PointwiseOp::kAdd, "imaginary", {imaginary, bc});
  }
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

// Ops that are linear in each of two operands: their results for the parts, put together as a product.
Status lower_complex_product(LowerContext& context, const OpSpec& spec) {
  if (context.num_inputs() == 1) return lower_each_part(context, spec);
  if (context.num_inputs() != 2) return unimplemented("it multiplies more than two complex numbers");
  for (const char* attr : {"adj_x", "adj_y"}) {
    BLADE_ASSIGN_OR_RETURN(const bool conjugated, bool_attr_or(context.node(), attr, false));
    if (conjugated) return unimplemented("it conjugates an operand");
  }
  const auto product = [&](ir::ValueId x, ir::ValueId y) -> Result<ir::ValueId> {
    if (x == ir::kNone || y == ir::kNone) return ir::ValueId{ir::kNone};
    LowerContext parts = context.with_inputs({x, y});
    BLADE_RETURN_IF_ERROR(spec.lower(parts, spec.argument));
    return parts.outputs()[0];
  };
  const ir::ValueId a = context.input(0), b = context.imaginary(0), c = context.input(1), d = context.imaginary(1);
  BLADE_ASSIGN_OR_RETURN(ir::ValueId real, product(a, c));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId bd, product(b, d));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId imaginary, product(a, d));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId bc, product(b, c));
  Emitter e(context);
  if (bd != ir::kNone) real = e.pointwise(PointwiseOp::kSub, "", {real, bd});
  if (imaginary == ir::kNone) {
    imaginary = bc;
  } else if (bc != ir::kNone) {
    imaginary = e.pointwise(PointwiseOp::kAdd, "imaginary", {imaginary, bc});
  }
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

// (a + bi) / (c + di) = (a + bi) (c - di) / |c + di|^2, where c and d are first divided by the larger of them.
Status divide_by_complex(LowerContext& context) {
  Emitter e(context);
  const auto mul = [&](ir::ValueId x, ir::ValueId y) { return e.pointwise(PointwiseOp::kMul, "product", {x, y}); };
  const auto div = [&](ir::ValueId x, ir::ValueId y) { return e.pointwise(PointwiseOp::kDiv, "quotient", {x, y}); };
  const auto size = [&](ir::ValueId x) { return e.pointwise(PointwiseOp::kAbs, "size", {x}); };
  const ir::ValueId a = context.input(0), b = context.imaginary(0), c = context.input(1), d = context.imaginary(1);
  const ir::ValueId scale = e.pointwise(PointwiseOp::kMaximum, "scale", {size(c), size(d)});
  const ir::ValueId p = div(c, scale), q = div(d, scale);
  const ir::ValueId whole = mul(e.pointwise(PointwiseOp::kAdd, "whole", {mul(p, p), mul(q, q)}), scale);
  ir::ValueId real = mul(a, p), imaginary = e.pointwise(PointwiseOp::kNeg, "negative", {mul(a, q)});
  if (b != ir::kNone) {
    real = e.pointwise(PointwiseOp::kAdd, "real", {real, mul(b, q)});
    imaginary = e.pointwise(PointwiseOp::kAdd, "imaginary", {imaginary, mul(b, p)});
  }
  real = e.pointwise(PointwiseOp::kDiv, "", {real, whole});
  imaginary = div(imaginary, whole);
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

Status lower_complex_square(LowerContext& context, const OpSpec&) {
  const ir::ValueId a = context.input(0), b = context.imaginary(0);
  Emitter e(context);
  ir::ValueId real = e.pointwise(PointwiseOp::kMul, "", {a, a}), imaginary = ir::kNone;
  if (b != ir::kNone) {
    real = e.pointwise(PointwiseOp::kSub, "", {real, e.pointwise(PointwiseOp::kMul, "bb", {b, b})});
    const ir::ValueId ab = e.pointwise(PointwiseOp::kMul, "ab", {a, b});
    imaginary = e.pointwise(PointwiseOp::kAdd, "imaginary", {ab, ab});
  }
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

Status lower_complex_div(LowerContext& context, const OpSpec&) {
  if (context.imaginary(1) != ir::kNone) return divide_by_complex(context);
  Emitter e(context);
  const ir::ValueId real = e.pointwise(PointwiseOp::kDiv, "", {context.input(0), context.input(1)});
  ir::ValueId imaginary = context.imaginary(0);
  if (imaginary != ir::kNone) imaginary = e.pointwise(PointwiseOp::kDiv, "imaginary", {imaginary, context.input(1)});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

// exp(a) (cos b + i sin b)
Status lower_complex_exp(LowerContext& context, const OpSpec&) {
  Emitter e(context);
  const ir::ValueId size = e.pointwise(PointwiseOp::kExp, "size", {context.input(0)}), turn = context.imaginary(0);
  if (turn == ir::kNone) {
    BLADE_RETURN_IF_ERROR(e.status());
    return context.finish_complex({size}, {});
  }
  const auto part = [&](PointwiseOp op, const char* name) {
    return e.pointwise(PointwiseOp::kMul, name, {size, e.pointwise(op, "turn", {turn})});
  };
  const ir::ValueId real = part(PointwiseOp::kCos, ""), imaginary = part(PointwiseOp::kSin, "imaginary");
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

// From real numbers, or to them: the imaginary part is dropped.
Status lower_complex_cast(LowerContext& context, const OpSpec&) {
  BLADE_ASSIGN_OR_RETURN(const DataType to, type_attr(context.node(), "DstT"));
  const bool stays = to == DataType::kComplex64;
  const ir::DType type = stays ? ir::DType::kFloat32 : to_ir(to);
  if (type == ir::DType::kOpaque) return unimplemented("its result is of type " + data_type_name(to));
  BLADE_ASSIGN_OR_RETURN(const ir::ValueId real,
                         context.emit(ir::Op::kCast, "", {context.input(0)}, ir::CastAttrs{type}));
  return context.finish_complex({real}, {stays ? context.imaginary(0) : ir::kNone});
}

struct ComplexOp {
  std::string_view op;
  Status (*lower)(LowerContext& context, const OpSpec& spec);
};

constexpr ComplexOp kComplexOps[] = {
    {"Mul", lower_complex_mul},
    {"RealDiv", lower_complex_div},
    {"Cast", lower_complex_cast},
    {"Einsum", lower_complex_product},
    {"MatMul", lower_complex_product},
    {"BatchMatMul", lower_complex_product},
    {"BatchMatMulV2", lower_complex_product},
    {"Square", lower_complex_square},
    {"SelectV2", lower_each_part},
    {"Select", lower_each_part},
    {"IdentityN", lower_each_part},
    {"Fill", lower_each_part},
    {"PadV2", lower_each_part},
    {"Exp", lower_complex_exp},
    {"Add", lower_each_part},
    {"AddV2", lower_each_part},
    {"AddN", lower_each_part},
    {"Sub", lower_each_part},
    {"Neg", lower_each_part},
    {"Sum", lower_each_part},
    {"Mean", lower_each_part},
    {"Identity", lower_each_part},
    {"StopGradient", lower_each_part},
    {"Reshape", lower_each_part},
    {"Transpose", lower_each_part},
    {"ExpandDims", lower_each_part},
    {"Squeeze", lower_each_part},
    {"Slice", lower_each_part},
    {"StridedSlice", lower_each_part},
    {"Concat", lower_each_part},
    {"ConcatV2", lower_each_part},
    {"Pack", lower_each_part},
    {"Unpack", lower_each_part},
    {"Split", lower_each_part},
    {"SplitV", lower_each_part},
    {"Pad", lower_each_part},
    {"Tile", lower_each_part},
    {"BroadcastTo", lower_each_part},
    {"GatherV2", lower_each_part},
    {"GatherNd", lower_each_part},
    {"ReverseV2", lower_each_part},
    {"Roll", lower_each_part},
    {"ZerosLike", lower_each_part},
    {"Shape", lower_of_real_part},
    {"Size", lower_of_real_part},
    {"Rank", lower_of_real_part},
    {"ShapeN", lower_of_real_part},
    {"Complex", lower_of_real_part},
    {"Real", lower_of_real_part},
    {"Imag", lower_of_real_part},
    {"Conj", lower_of_real_part},
    {"Angle", lower_of_real_part},
    {"ComplexAbs", lower_of_real_part},
    {"FFT", lower_of_real_part},
    {"IFFT", lower_of_real_part},
    {"RFFT", lower_of_real_part},
    {"IRFFT", lower_of_real_part},
    {"FFT2D", lower_of_real_part},
    {"IFFT2D", lower_of_real_part},
    {"RFFT2D", lower_of_real_part},
    {"IRFFT2D", lower_of_real_part},
};

}  // namespace

Status lower_complex_node(LowerContext& context, const OpSpec& spec) {
  for (const ComplexOp& row : kComplexOps) {
    if (row.op == spec.name) return row.lower(context, spec);
  }
  return unimplemented(std::string("Blade has no ") + spec.name + " for complex64");
}

Status lower_complex(LowerContext& context, int) {
  const ir::ValueId a = context.input(0), b = context.input(1);
  Emitter e(context);
  if (context.shape(a).has_rank() && context.shape(a) == context.shape(b)) {
    const ir::ValueId real = e.emit(ir::Op::kIdentity, "", {a}, ir::IdentityAttrs{});
    BLADE_RETURN_IF_ERROR(e.status());
    return context.finish_complex({real}, {b});
  }
  // Either part is given the shape of both.
  const ir::ValueId yes = e.scalar(ir::DType::kBool, 1);
  const ir::ValueId real = e.pointwise(PointwiseOp::kSelect, "", {yes, a, b});
  const ir::ValueId imaginary = e.pointwise(PointwiseOp::kSelect, "imaginary", {yes, b, a});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

// `argument`: 0 the real part, 1 the imaginary one.
Status lower_complex_part(LowerContext& context, int argument) {
  Emitter e(context);
  const ir::ValueId part = argument == 0 ? context.input(0) : imaginary_or_zeros(context, e, 0);
  return e.finish(e.emit(ir::Op::kIdentity, "", {part}, ir::IdentityAttrs{}));
}

Status lower_conj(LowerContext& context, int) {
  Emitter e(context);
  const ir::ValueId real = e.emit(ir::Op::kIdentity, "", {context.input(0)}, ir::IdentityAttrs{});
  ir::ValueId imaginary = context.imaginary(0);
  if (imaginary != ir::kNone) imaginary = e.pointwise(PointwiseOp::kNeg, "imaginary", {imaginary});
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish_complex({real}, {imaginary});
}

Status lower_complex_abs(LowerContext& context, int) {
  Emitter e(context);
  if (context.imaginary(0) == ir::kNone) return e.finish(e.pointwise(PointwiseOp::kAbs, "", {context.input(0)}));
  // Scaled by the larger part, whose square may not be a float; nothing is divided by 0 or by an infinite part.
  const auto real = [&](double v) { return e.scalar(ir::DType::kFloat32, v); };
  const ir::ValueId re = e.pointwise(PointwiseOp::kAbs, "re", {context.input(0)});
  const ir::ValueId im = e.pointwise(PointwiseOp::kAbs, "im", {context.imaginary(0)});
  const ir::ValueId larger = e.pointwise(PointwiseOp::kMaximum, "larger", {re, im});
  const ir::ValueId smaller = e.pointwise(PointwiseOp::kMinimum, "smaller", {re, im});
  const ir::ValueId tiny = real(static_cast<double>(std::numeric_limits<float>::min()));
  const ir::ValueId huge = real(static_cast<double>(std::numeric_limits<float>::max()));
  const ir::ValueId scale = e.pointwise(PointwiseOp::kMinimum, "scale",
                                        {e.pointwise(PointwiseOp::kMaximum, "at_least", {larger, tiny}), huge});
  const ir::ValueId ratio = e.pointwise(PointwiseOp::kDiv, "ratio", {smaller, scale});
  const ir::ValueId square = e.pointwise(PointwiseOp::kMul, "square", {ratio, ratio});
  const ir::ValueId root =
      e.pointwise(PointwiseOp::kSqrt, "root", {e.pointwise(PointwiseOp::kAdd, "plus_one", {square, real(1)})});
  return e.finish(e.pointwise(PointwiseOp::kMul, "", {larger, root}));
}

Status lower_angle(LowerContext& context, int) {
  Emitter e(context);
  const ir::ValueId imaginary = imaginary_or_zeros(context, e, 0);
  return e.finish(e.pointwise(PointwiseOp::kAtan2, "", {imaginary, context.input(0)}));
}

namespace {

struct Parts {
  ir::ValueId real = ir::kNone, imaginary = ir::kNone;
};

Result<Parts> emit_fft(LowerContext& context, ir::FftKind kind, const char* suffix, std::vector<ir::ValueId> inputs) {
  const int results = kind == ir::FftKind::kRealInverse ? 1 : 2;
  BLADE_ASSIGN_OR_RETURN(const auto made,
                         context.emit_many(ir::Op::kFft, suffix, std::move(inputs), results, ir::FftAttrs{kind}));
  return Parts{made[0], results == 2 ? made[1] : ir::kNone};
}

// Along the last axis but one.
Result<Parts> fft_of_columns(LowerContext& context, ir::FftKind kind, const char* suffix, Parts x) {
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(x.real, "its operand"));
  if (rank < 2) return invalid_argument("needs a tensor of 2 or more dims, found " + std::to_string(rank));
  ir::PermAttrs exchange;
  for (int i = 0; i < rank; ++i) exchange.perm.push_back(i);
  std::swap(exchange.perm[rank - 1], exchange.perm[rank - 2]);
  Emitter e(context);
  const auto exchanged = [&](ir::ValueId v) { return e.emit(ir::Op::kTranspose, "exchanged", {v}, exchange); };
  const std::vector<ir::ValueId> columns = {exchanged(x.real), exchanged(x.imaginary)};
  BLADE_RETURN_IF_ERROR(e.status());
  BLADE_ASSIGN_OR_RETURN(const Parts made, emit_fft(context, kind, suffix, columns));
  const Parts back = {exchanged(made.real), exchanged(made.imaginary)};
  BLADE_RETURN_IF_ERROR(e.status());
  return back;
}

}  // namespace

// `argument`: an FftKind.
Status lower_fft(LowerContext& context, int argument) {
  const auto kind = static_cast<ir::FftKind>(argument);
  Emitter e(context);
  std::vector<ir::ValueId> inputs = {context.input(0)};
  if (kind != ir::FftKind::kReal) inputs.push_back(imaginary_or_zeros(context, e, 0));
  if (kind == ir::FftKind::kReal || kind == ir::FftKind::kRealInverse) {
    inputs.push_back(context.input(1));
  }
  BLADE_RETURN_IF_ERROR(e.status());
  BLADE_ASSIGN_OR_RETURN(const Parts made, emit_fft(context, kind, "", std::move(inputs)));
  return context.finish_complex({made.real}, {made.imaginary});
}

// Along the last two axes, one after the other.
Status lower_fft_2d(LowerContext& context, int argument) {
  const auto kind = static_cast<ir::FftKind>(argument);
  Emitter e(context);
  Parts x{context.input(0), kind == ir::FftKind::kReal ? ir::kNone : imaginary_or_zeros(context, e, 0)};
  BLADE_RETURN_IF_ERROR(e.status());
  if (kind == ir::FftKind::kForward || kind == ir::FftKind::kInverse) {
    BLADE_ASSIGN_OR_RETURN(x, emit_fft(context, kind, "rows", {x.real, x.imaginary}));
    BLADE_ASSIGN_OR_RETURN(x, fft_of_columns(context, kind, "columns", x));
    return context.finish_complex({x.real}, {x.imaginary});
  }
  BLADE_ASSIGN_OR_RETURN(const auto lengths, context.ints(1, "lengths"));
  if (lengths.size() != 2) return invalid_argument("has " + std::to_string(lengths.size()) + " lengths, expected 2");
  const ir::Shape& shape = context.shape(x.real);
  if (!shape.has_rank() || shape.rank() < 2 || shape.dim(-2) != ir::Dim(lengths[0])) {
    return unimplemented("its first length is not known to be the number of rows");
  }
  const ir::ValueId length = e.ints({lengths[1]});
  if (kind == ir::FftKind::kReal) {
    BLADE_ASSIGN_OR_RETURN(x, emit_fft(context, kind, "rows", {x.real, length}));
    BLADE_ASSIGN_OR_RETURN(x, fft_of_columns(context, ir::FftKind::kForward, "columns", x));
    return context.finish_complex({x.real}, {x.imaginary});
  }
  BLADE_ASSIGN_OR_RETURN(x, fft_of_columns(context, ir::FftKind::kInverse, "columns", x));
  BLADE_ASSIGN_OR_RETURN(x, emit_fft(context, kind, "", {x.real, x.imaginary, length}));
  return context.finish(std::vector<ir::ValueId>{x.real});
}

Status lower_ctc_greedy_decoder(LowerContext& context, int) {
  ir::CtcGreedyAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.merge_repeated, bool_attr_or(context.node(), "merge_repeated", false));
  BLADE_ASSIGN_OR_RETURN(attrs.blank, int_attr_or(context.node(), "blank_index", -1));
  BLADE_ASSIGN_OR_RETURN(auto outputs, context.emit_many(ir::Op::kCtcGreedyDecoder, "", context.inputs(), 4, attrs));
  return context.finish(std::move(outputs));
}

}  // namespace blade::tensorflow
