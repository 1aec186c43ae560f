// Simulated quantization: values are moved to the nearest of the levels that an integer type could hold, and back.
#include <cmath>

#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::DType;
using ir::PointwiseOp;

struct Levels {
  int64_t least = 0, most = 255;
};

Result<Levels> read_levels(LowerContext& context) {
  BLADE_ASSIGN_OR_RETURN(int64_t bits, int_attr_or(context.node(), "num_bits", 8));
  BLADE_ASSIGN_OR_RETURN(bool narrow, bool_attr_or(context.node(), "narrow_range", false));
  if (bits < 2 || bits > 16) return invalid_argument("has " + std::to_string(bits) + " bits, expected 2 to 16");
  return Levels{narrow ? 1 : 0, (int64_t{1} << bits) - 1};
}

// As TensorFlow's fake_quant_ops_functor.h: the range is nudged so that 0 is a level. min and max: scalars or vectors.
Status fake_quantize(LowerContext& context, const Levels& levels, ir::ValueId min, ir::ValueId max) {
  Emitter e(context);
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId least = real(static_cast<double>(levels.least)), most = real(static_cast<double>(levels.most));
  const ir::ValueId range = e.pointwise(PointwiseOp::kSub, "range", {max, min});
  const ir::ValueId scale =
      e.pointwise(PointwiseOp::kDiv, "scale", {range, real(static_cast<double>(levels.most - levels.least))});
  const ir::ValueId zero_point =
      e.pointwise(PointwiseOp::kSub, "zero_point", {least, e.pointwise(PointwiseOp::kDiv, "min_level", {min, scale})});
  // Rounds halves up: the point is not negative once it is clamped, and 0.5 less an ulp keeps 0.49999997 down.
  const ir::ValueId clamped = e.pointwise(PointwiseOp::kMinimum, "clamped",
                                          {e.pointwise(PointwiseOp::kMaximum, "at_least", {zero_point, least}), most});
  const ir::ValueId nudged = e.pointwise(
      PointwiseOp::kFloor, "nudged",
      {e.pointwise(PointwiseOp::kAdd, "half", {clamped, real(static_cast<double>(std::nextafter(0.5f, 0.0f)))})});
  const auto level_value = [&](ir::ValueId level, const char* name) {
    return e.pointwise(PointwiseOp::kMul, name, {e.pointwise(PointwiseOp::kSub, "level", {level, nudged}), scale});
  };
  const ir::ValueId low = level_value(least, "low"), high = level_value(most, "high");
  const ir::ValueId inside = e.pointwise(
      PointwiseOp::kMaximum, "inside", {e.pointwise(PointwiseOp::kMinimum, "at_most", {context.input(0), high}), low});
  const ir::ValueId shifted = e.pointwise(PointwiseOp::kSub, "shifted", {inside, low});
  const ir::ValueId steps = e.pointwise(PointwiseOp::kDiv, "steps", {shifted, scale});
  const ir::ValueId rounded =
      e.pointwise(PointwiseOp::kFloor, "rounded", {e.pointwise(PointwiseOp::kAdd, "plus_half", {steps, real(0.5)})});
  const ir::ValueId back =
      e.pointwise(PointwiseOp::kAdd, "back", {e.pointwise(PointwiseOp::kMul, "scaled", {rounded, scale}), low});
  // An empty range at 0 gives zeros.
  const ir::ValueId empty = e.pointwise(PointwiseOp::kLogicalAnd, "empty",
                                        {e.pointwise(PointwiseOp::kEqual, "min_zero", {min, real(0)}),
                                         e.pointwise(PointwiseOp::kEqual, "max_zero", {max, real(0)})});
  return e.finish(e.pointwise(PointwiseOp::kSelect, "", {empty, real(0), back}));
}

struct Range {
  ir::ValueId min, max;
};

// Inputs 1 and 2; where each slice along an axis has a range of its own, shaped to broadcast with input 0.
Result<Range> ranges_along(LowerContext& context, Emitter& e, int64_t axis) {
  Range range{context.input(1), context.input(2)};
  if (axis == -1) return range;
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(context.input(0), "its operand"));
  if (axis < 0 || axis >= rank) return invalid_argument("has the axis " + std::to_string(axis));
  std::vector<int64_t> column(rank, 1);
  column[axis] = -1;
  range = {e.reshape("min_column", range.min, column), e.reshape("max_column", range.max, column)};
  BLADE_RETURN_IF_ERROR(e.status());
  return range;
}

// To the nearest whole number, halves away from zero; 0.5 less an ulp keeps 0.49999997 down.
ir::ValueId round_away(Emitter& e, ir::ValueId x) {
  const ir::ValueId half = e.scalar(DType::kFloat32, static_cast<double>(std::nextafter(0.5f, 0.0f)));
  const ir::ValueId size = e.pointwise(PointwiseOp::kAbs, "size", {x});
  const ir::ValueId whole =
      e.pointwise(PointwiseOp::kFloor, "whole", {e.pointwise(PointwiseOp::kAdd, "plus_half", {size, half})});
  return e.pointwise(PointwiseOp::kMul, "nearest", {e.pointwise(PointwiseOp::kSign, "sign", {x}), whole});
}

// What QuantizeAndDequantize of any version says.
struct RoundTrip {
  bool given = false;  // the range, by inputs 1 and 2
  bool half_up = false;
  int axis = -1;  // that slices with ranges of their own lie along; -1: there is one range
  int rank = 0;
  double least = 0, most = 0;  // levels
};

Result<RoundTrip> read_round_trip(LowerContext& context, int version) {
  RoundTrip trip;
  BLADE_ASSIGN_OR_RETURN(const bool is_signed, bool_attr_or(context.node(), "signed_input", true));
  BLADE_ASSIGN_OR_RETURN(trip.given, bool_attr_or(context.node(), "range_given", version == 3));
  BLADE_ASSIGN_OR_RETURN(const bool narrow, bool_attr_or(context.node(), "narrow_range", false));
  BLADE_ASSIGN_OR_RETURN(const std::string mode, string_attr_or(context.node(), "round_mode", "HALF_TO_EVEN"));
  BLADE_ASSIGN_OR_RETURN(const int64_t axis, int_attr_or(context.node(), "axis", -1));
  const bool bits_fed = version == 3;
  BLADE_ASSIGN_OR_RETURN(const int64_t bits,
                         bits_fed ? context.one_int(3, "number of bits") : int_attr_or(context.node(), "num_bits", 8));
  if (bits < (is_signed ? 2 : 1) || bits > 62) return invalid_argument("has " + std::to_string(bits) + " bits");
  BLADE_ASSIGN_OR_RETURN(trip.rank, context.rank(context.input(0), "its operand"));
  if (axis < -1 || axis >= trip.rank) return invalid_argument("has the axis " + std::to_string(axis));
  trip.axis = static_cast<int>(axis);
  trip.half_up = mode == "HALF_UP";
  const auto power = [](int64_t b) { return static_cast<double>(int64_t{1} << b); };
  trip.least = is_signed ? -power(bits - 1) + (narrow ? 1 : 0) : 0;
  trip.most = is_signed ? power(bits - 1) - 1 : power(bits) - 1;
  return trip;
}

// The range that is given, or that of the elements; of slices as a column that broadcasts over them.
Range range_of_slices(LowerContext& context, Emitter& e, const RoundTrip& trip) {
  Range range{context.input(1), context.input(2)};
  if (!trip.given) {
    ir::ReduceAttrs reduce;
    for (int i = 0; i < trip.rank; ++i) {
      if (i != trip.axis) reduce.axes.push_back(i);
    }
    const ir::ValueId x = context.input(0);
    const auto end = [&](ir::ReduceKind kind, const char* name) {
      reduce.kind = kind;
      return reduce.axes.empty() ? x : e.emit(ir::Op::kReduce, name, {x}, reduce);
    };
    range = {end(ir::ReduceKind::kMin, "min"), end(ir::ReduceKind::kMax, "max")};
  }
  if (trip.axis < 0) return range;
  std::vector<int64_t> column(static_cast<size_t>(trip.rank), 1);
  column[static_cast<size_t>(trip.axis)] = -1;
  return {e.reshape("min_column", range.min, column), e.reshape("max_column", range.max, column)};
}

}  // namespace

Status lower_fake_quant_args(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(Levels levels, read_levels(context));
  BLADE_ASSIGN_OR_RETURN(float min, float_attr_or(context.node(), "min", -6));
  BLADE_ASSIGN_OR_RETURN(float max, float_attr_or(context.node(), "max", 6));
  if (!(min < max)) return invalid_argument("has a min that is not below its max");
  BLADE_ASSIGN_OR_RETURN(ir::ValueId low, context.add_scalar(DType::kFloat32, static_cast<double>(min)));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId high, context.add_scalar(DType::kFloat32, static_cast<double>(max)));
  return fake_quantize(context, levels, low, high);
}

// Stored weights: input 0 holds the integers. As TensorFlow's dequantize_op.cc.
Status lower_dequantize(LowerContext& context, int) {
  if (context.num_inputs() != 3) {
    return invalid_argument("has " + std::to_string(context.num_inputs()) + " inputs, expected 3");
  }
  BLADE_ASSIGN_OR_RETURN(std::string mode, string_attr_or(context.node(), "mode", "MIN_COMBINED"));
  BLADE_ASSIGN_OR_RETURN(int64_t axis, int_attr_or(context.node(), "axis", -1));
  BLADE_ASSIGN_OR_RETURN(bool narrow, bool_attr_or(context.node(), "narrow_range", false));
  BLADE_ASSIGN_OR_RETURN(DataType result, type_attr_or(context.node(), "dtype", DataType::kFloat));
  const DType stored = context.dtype(context.input(0));
  const int bits = 8 * static_cast<int>(ir::dtype_size(stored));
  const bool is_signed = stored != DType::kUInt8 && stored != DType::kUInt16;
  const double steps = std::ldexp(1.0, bits), lowest = is_signed ? -steps / 2 : 0, highest = lowest + steps - 1;
  Emitter e(context);
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId levels = e.cast(context.input(0), DType::kFloat32);
  BLADE_ASSIGN_OR_RETURN(const Range given, ranges_along(context, e, axis));
  const ir::ValueId min = given.min, max = given.max;
  ir::ValueId value = ir::kNone;
  if (mode == "SCALED") {
    ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {max, real(highest)});
    if (is_signed) {
      const ir::ValueId low = e.pointwise(PointwiseOp::kDiv, "low", {min, real(lowest + (narrow ? 1 : 0))});
      scale = e.pointwise(PointwiseOp::kMaximum, "wider", {low, scale});
    }
    value = e.pointwise(PointwiseOp::kMul, "value", {levels, scale});
  } else {
    const ir::ValueId range = e.pointwise(PointwiseOp::kSub, "range", {max, min});
    const ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {range, real(steps - 1)});
    ir::ValueId first = min;
    if (mode == "MIN_FIRST") {  // 0 is a level
      const ir::ValueId level = round_away(e, e.pointwise(PointwiseOp::kDiv, "place", {min, scale}));
      const ir::ValueId flat = e.pointwise(PointwiseOp::kEqual, "flat", {min, max});
      first = e.pointwise(PointwiseOp::kSelect, "first",
                          {flat, min, e.pointwise(PointwiseOp::kMul, "snapped", {level, scale})});
    }
    const ir::ValueId above = e.pointwise(PointwiseOp::kSub, "above", {levels, real(lowest)});
    value = e.pointwise(PointwiseOp::kAdd, "value", {e.pointwise(PointwiseOp::kMul, "scaled", {above, scale}), first});
  }
  return e.finish(e.cast(value, to_ir(result)));
}

namespace {

// What an integer type holds, as real numbers.
struct StoredLevels {
  double lowest, highest;
  explicit StoredLevels(DType stored) {
    const double steps = std::ldexp(1.0, 8 * static_cast<int>(ir::dtype_size(stored)));
    lowest = stored == DType::kUInt8 || stored == DType::kUInt16 ? 0 : -steps / 2;
    highest = lowest + steps - 1;
  }
  double steps() const { return highest - lowest + 1; }
};

// The range that TensorFlow's quantize_op.cc works with: it holds 0 and is not too narrow.
Range widened_range(Emitter& e, Range given, double least_width) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const auto larger = [&](ir::ValueId a, ir::ValueId b) {
    return e.pointwise(PointwiseOp::kMaximum, "larger", {a, b});
  };
  const ir::ValueId size = larger(real(1), larger(e.pointwise(PointwiseOp::kAbs, "min_size", {given.min}),
                                                  e.pointwise(PointwiseOp::kAbs, "max_size", {given.max})));
  const ir::ValueId width = e.pointwise(PointwiseOp::kMul, "width", {size, real(least_width)});
  const ir::ValueId min = e.pointwise(PointwiseOp::kMinimum, "min", {given.min, real(0)});
  return {min, larger(real(0), larger(given.max, e.pointwise(PointwiseOp::kAdd, "wide", {min, width})))};
}

// Levels of SCALED, 0 at 0; `range` becomes what they span.
ir::ValueId scaled_levels(Emitter& e, ir::ValueId x, Range* range, double lowest, double highest, bool to_even) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId huge = real(static_cast<double>(std::numeric_limits<float>::max()));
  const auto fit = [&](double level, ir::ValueId end) {
    const ir::ValueId product = e.pointwise(PointwiseOp::kMul, "product", {real(level), end});
    const ir::ValueId positive = e.pointwise(PointwiseOp::kGreater, "positive", {product, real(0)});
    return e.pointwise(PointwiseOp::kSelect, "fit",
                       {positive, e.pointwise(PointwiseOp::kDiv, "quotient", {real(level), end}), huge});
  };
  const ir::ValueId scale =
      e.pointwise(PointwiseOp::kMinimum, "scale", {fit(lowest, range->min), fit(highest, range->max)});
  range->min = e.pointwise(PointwiseOp::kDiv, "least", {real(lowest), scale});
  range->max = e.pointwise(PointwiseOp::kDiv, "most", {real(highest), scale});
  const ir::ValueId inside = e.pointwise(PointwiseOp::kMaximum, "inside",
                                         {e.pointwise(PointwiseOp::kMinimum, "at_most", {x, range->max}), range->min});
  const ir::ValueId levels = e.pointwise(PointwiseOp::kMul, "levels", {inside, scale});
  return to_even ? e.pointwise(PointwiseOp::kRint, "nearest", {levels}) : round_away(e, levels);
}

// The same as TensorFlow's oneDNN kernel has it: as many levels on either side of 0, the largest of which may saturate.
ir::ValueId symmetric_levels(Emitter& e, ir::ValueId x, Range* range, const StoredLevels& type) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const auto size = [&](const char* name, ir::ValueId v) { return e.pointwise(PointwiseOp::kAbs, name, {v}); };
  const ir::ValueId most =
      e.pointwise(PointwiseOp::kMaximum, "most", {size("min_size", range->min), size("max_size", range->max)});
  const double span = type.highest - type.lowest;
  const bool is_signed = type.lowest < 0;
  const ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {real(is_signed ? span / 2 : span), most});
  *range = {is_signed ? e.pointwise(PointwiseOp::kNeg, "least", {most}) : real(0), most};
  const ir::ValueId levels =
      e.pointwise(PointwiseOp::kRint, "nearest", {e.pointwise(PointwiseOp::kMul, "levels", {x, scale})});
  return e.pointwise(PointwiseOp::kMinimum, "at_most",
                     {e.pointwise(PointwiseOp::kMaximum, "at_least", {levels, real(type.lowest)}), real(type.highest)});
}

// MIN_FIRST of bytes without a sign as TensorFlow's oneDNN kernel has it: the range is not moved for 0 to be a level.
ir::ValueId levels_from_min(Emitter& e, ir::ValueId x, const Range& range, const StoredLevels& type) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId width = e.pointwise(PointwiseOp::kSub, "width", {range.max, range.min});
  const ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {real(type.highest), width});
  const ir::ValueId above = e.pointwise(PointwiseOp::kSub, "above", {x, range.min});
  const ir::ValueId levels =
      e.pointwise(PointwiseOp::kRint, "nearest", {e.pointwise(PointwiseOp::kMul, "levels", {above, scale})});
  return e.pointwise(PointwiseOp::kMinimum, "at_most",
                     {e.pointwise(PointwiseOp::kMaximum, "at_least", {levels, real(0)}), real(type.highest)});
}

// Levels of MIN_COMBINED: the ends of the range are the ends of the type.
ir::ValueId combined_levels(Emitter& e, ir::ValueId x, const Range& range, const StoredLevels& type) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId width = e.pointwise(PointwiseOp::kSub, "width", {range.max, range.min});
  const ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {real(type.steps() - 1), width});
  const ir::ValueId inside = e.pointwise(PointwiseOp::kMaximum, "inside",
                                         {e.pointwise(PointwiseOp::kMinimum, "at_most", {x, range.max}), range.min});
  const ir::ValueId above =
      e.pointwise(PointwiseOp::kMul, "above", {e.pointwise(PointwiseOp::kSub, "distance", {inside, range.min}), scale});
  if (type.lowest == 0) {
    return e.pointwise(PointwiseOp::kFloor, "nearest",
                       {e.pointwise(PointwiseOp::kAdd, "plus_half", {above, real(0.5)})});
  }
  return round_away(e, e.pointwise(PointwiseOp::kAdd, "centred", {above, real(type.lowest)}));
}

// Levels of MIN_FIRST, as quantization_utils.h: the range is moved so that 0 is a level.
ir::ValueId first_levels(Emitter& e, ir::ValueId x, const Range& range, const StoredLevels& type) {
  const auto real = [&](double v) { return e.scalar(DType::kFloat32, v); };
  const ir::ValueId width = e.pointwise(PointwiseOp::kSub, "width", {range.max, range.min});
  const ir::ValueId scale = e.pointwise(PointwiseOp::kDiv, "scale", {real(type.steps() - 1), width});
  const ir::ValueId first = round_away(e, e.pointwise(PointwiseOp::kMul, "first", {range.min, scale}));
  const ir::ValueId shift = e.pointwise(PointwiseOp::kSub, "shift", {first, real(type.lowest)});
  const ir::ValueId levels = e.pointwise(PointwiseOp::kSub, "levels",
                                         {round_away(e, e.pointwise(PointwiseOp::kMul, "scaled", {x, scale})), shift});
  return e.pointwise(PointwiseOp::kMinimum, "at_most",
                     {e.pointwise(PointwiseOp::kMaximum, "at_least", {levels, real(type.lowest)}), real(type.highest)});
}

}  // namespace

// As TensorFlow's quantize_op.cc; the integers, and the range that they span.
Status lower_quantize(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const DataType type, type_attr(context.node(), "T"));
  BLADE_ASSIGN_OR_RETURN(const std::string mode, string_attr_or(context.node(), "mode", "MIN_COMBINED"));
  BLADE_ASSIGN_OR_RETURN(const std::string round, string_attr_or(context.node(), "round_mode", "HALF_AWAY_FROM_ZERO"));
  BLADE_ASSIGN_OR_RETURN(const int64_t axis, int_attr_or(context.node(), "axis", -1));
  BLADE_ASSIGN_OR_RETURN(const bool narrow, bool_attr_or(context.node(), "narrow_range", false));
  BLADE_ASSIGN_OR_RETURN(const float least, float_attr_or(context.node(), "ensure_minimum_range", 0.01f));
  const DType stored = integers_behind(type);
  if (stored == DType::kInt32) return unimplemented("float32 does not hold every level of " + data_type_name(type));
  const StoredLevels levels(stored);
  Emitter e(context);
  BLADE_ASSIGN_OR_RETURN(const Range given, ranges_along(context, e, axis));
  Range range = widened_range(e, given, static_cast<double>(least));
  const ir::ValueId x = context.input(0);
  ir::ValueId found = ir::kNone;
  const bool by_onednn = round == "HALF_TO_EVEN" && axis == -1 && !narrow && ir::dtype_size(stored) == 1;
  if (mode == "SCALED" && by_onednn) {
    found = symmetric_levels(e, x, &range, levels);
  } else if (mode == "SCALED") {
    found = scaled_levels(e, x, &range, levels.lowest + (narrow ? 1 : 0), levels.highest, round == "HALF_TO_EVEN");
  } else if (mode == "MIN_FIRST" && stored == DType::kUInt8 && axis == -1) {
    found = levels_from_min(e, x, range, levels);
  } else {
    found = mode == "MIN_FIRST" ? first_levels(e, x, range, levels) : combined_levels(e, x, range, levels);
  }
  const ir::ValueId out = e.emit(ir::Op::kCast, "", {found}, ir::CastAttrs{stored});
  // TensorFlow gives the range of a single slice as scalars.
  const ir::Dim slices = axis == -1 ? ir::Dim(1) : context.shape(x).dim(static_cast<int>(axis));
  if (!slices.is_known()) return unimplemented("the size along its axis is not known");
  const std::vector<int64_t> dims(slices == ir::Dim(1) ? 0 : 1, -1);
  const ir::ValueId min = e.reshape("output_min", range.min, dims), max = e.reshape("output_max", range.max, dims);
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish({out, min, max});
}

// FakeQuantWithMinMaxVars and ...PerChannel: scalars or vectors over the last dim.
Status lower_fake_quant(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(Levels levels, read_levels(context));
  return fake_quantize(context, levels, context.input(1), context.input(2));
}

// `argument`: the version, 2 to 4. As TensorFlow's quantize_and_dequantize_op.h; the scale fits both ends of the range.
Status lower_quantize_and_dequantize(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(const RoundTrip trip, read_round_trip(context, argument));
  Emitter e(context);
  const ir::ValueId x = context.input(0);
  const DType type = context.dtype(x);
  const auto real = [&](double v) { return e.scalar(type, v); };
  const Range range = range_of_slices(context, e, trip);
  const ir::ValueId zero = real(0);
  const ir::ValueId huge = real(type == DType::kFloat64 ? std::numeric_limits<double>::max()
                                                        : static_cast<double>(std::numeric_limits<float>::max()));
  const auto scale_of = [&](double level, ir::ValueId end) {
    const ir::ValueId product = e.pointwise(PointwiseOp::kMul, "product", {real(level), end});
    const ir::ValueId positive = e.pointwise(PointwiseOp::kGreater, "positive", {product, zero});
    return e.pointwise(PointwiseOp::kSelect, "side",
                       {positive, e.pointwise(PointwiseOp::kDiv, "levels", {real(level), end}), huge});
  };
  const ir::ValueId from_min = scale_of(trip.least, range.min), from_max = scale_of(trip.most, range.max);
  const ir::ValueId by_min = e.pointwise(PointwiseOp::kLess, "by_min", {from_min, from_max});
  const ir::ValueId scale = e.pointwise(PointwiseOp::kSelect, "scale", {by_min, from_min, from_max});
  const ir::ValueId min_step =
      trip.least == 0 ? zero : e.pointwise(PointwiseOp::kDiv, "min_step", {range.min, real(trip.least)});
  const ir::ValueId max_step = e.pointwise(PointwiseOp::kDiv, "max_step", {range.max, real(trip.most)});
  const ir::ValueId step = e.pointwise(PointwiseOp::kSelect, "step", {by_min, min_step, max_step});
  ir::ValueId inside = x;
  if (trip.given) {
    const ir::ValueId least = e.pointwise(PointwiseOp::kMul, "least", {real(trip.least), max_step});
    const ir::ValueId low = e.pointwise(PointwiseOp::kSelect, "low", {by_min, range.min, least});
    const ir::ValueId most = e.pointwise(PointwiseOp::kMul, "most", {real(trip.most), min_step});
    const ir::ValueId high = e.pointwise(PointwiseOp::kSelect, "high", {by_min, most, range.max});
    inside = e.pointwise(PointwiseOp::kMinimum, "at_most", {x, high});
    inside = e.pointwise(PointwiseOp::kMaximum, "inside", {inside, low});
  }
  ir::ValueId levels = e.pointwise(PointwiseOp::kMul, "scaled", {inside, scale});
  if (trip.half_up) levels = e.pointwise(PointwiseOp::kAdd, "plus_half", {levels, real(0.5)});
  levels = e.pointwise(trip.half_up ? PointwiseOp::kFloor : PointwiseOp::kRint, "rounded", {levels});
  return e.finish(e.pointwise(PointwiseOp::kMul, "", {levels, step}));
}

}  // namespace blade::tensorflow
