// Colours of images as hue, saturation and value, along the last axis.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

using ir::PointwiseOp;

// One value a channel, of either kind.
struct Channels {
  ir::ValueId first, second, third;
};

class Colors {
 public:
  Colors(LowerContext& context, int axis) : context_(context), e_(context), axis_(axis) {}
  Emitter& emitter() { return e_; }

  Result<Channels> split(ir::ValueId image) {
    BLADE_ASSIGN_OR_RETURN(const auto parts,
                           context_.emit_many(ir::Op::kUnpack, "channels", {image}, 3, ir::UnpackAttrs{axis_}));
    return Channels{parts[0], parts[1], parts[2]};
  }
  Status finish(const Channels& c) {
    return e_.finish(e_.emit(ir::Op::kPack, "", {c.first, c.second, c.third}, ir::AxisAttrs{axis_}));
  }

  ir::ValueId real(double value) { return e_.scalar(context_.dtype(context_.input(0)), value); }
  ir::ValueId op(PointwiseOp kind, ir::ValueId a, ir::ValueId b) { return e_.pointwise(kind, "color", {a, b}); }
  ir::ValueId select(ir::ValueId when, ir::ValueId then, ir::ValueId otherwise) {
    return e_.pointwise(PointwiseOp::kSelect, "color", {when, then, otherwise});
  }
  ir::ValueId clamped(ir::ValueId x) {
    return op(PointwiseOp::kMinimum, op(PointwiseOp::kMaximum, x, real(0)), real(1));
  }

  Channels to_hsv(const Channels& rgb) {
    const ir::ValueId r = rgb.first, g = rgb.second, b = rgb.third;
    const auto extreme = [&](PointwiseOp kind) { return op(kind, op(kind, r, g), b); };
    const ir::ValueId value = extreme(PointwiseOp::kMaximum);
    const ir::ValueId range = op(PointwiseOp::kSub, value, extreme(PointwiseOp::kMinimum));
    const ir::ValueId saturation =
        select(op(PointwiseOp::kGreater, value, real(0)), op(PointwiseOp::kDiv, range, value), real(0));
    const ir::ValueId step = op(PointwiseOp::kDiv, real(1.0 / 6), range);
    const auto sector = [&](ir::ValueId x, ir::ValueId y, double start) {
      const ir::ValueId part = op(PointwiseOp::kMul, step, op(PointwiseOp::kSub, x, y));
      return start == 0 ? part : op(PointwiseOp::kAdd, part, real(start));
    };
    ir::ValueId hue = select(op(PointwiseOp::kEqual, g, value), sector(b, r, 2.0 / 6), sector(r, g, 4.0 / 6));
    hue = select(op(PointwiseOp::kEqual, r, value), sector(g, b, 0), hue);
    hue = select(op(PointwiseOp::kGreater, range, real(0)), hue, real(0));
    hue = select(op(PointwiseOp::kLess, hue, real(0)), op(PointwiseOp::kAdd, hue, real(1)), hue);
    return {hue, saturation, value};
  }

  Channels to_rgb(const Channels& hsv) {
    const ir::ValueId turn = op(PointwiseOp::kMul, hsv.first, real(6)), saturation = hsv.second;
    const ir::ValueId rest = op(PointwiseOp::kSub, real(1), saturation);
    const auto distance = [&](double from) {
      return e_.pointwise(PointwiseOp::kAbs, "color", {op(PointwiseOp::kSub, turn, real(from))});
    };
    const auto channel = [&](ir::ValueId share) {
      const ir::ValueId colored = op(PointwiseOp::kMul, saturation, clamped(share));
      return op(PointwiseOp::kMul, op(PointwiseOp::kAdd, rest, colored), hsv.third);
    };
    return {channel(op(PointwiseOp::kSub, distance(3), real(1))), channel(op(PointwiseOp::kSub, real(2), distance(2))),
            channel(op(PointwiseOp::kSub, real(2), distance(4)))};
  }

 private:
  LowerContext& context_;
  Emitter e_;
  int64_t axis_;
};

Result<Colors> colors_of(LowerContext& context) {
  BLADE_ASSIGN_OR_RETURN(const int rank, context.rank(context.input(0), "its images"));
  if (rank < 1) return invalid_argument("has images without channels");
  return Colors(context, rank - 1);
}

}  // namespace

Status lower_rgb_to_hsv(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(Colors colors, colors_of(context));
  BLADE_ASSIGN_OR_RETURN(const Channels rgb, colors.split(context.input(0)));
  return colors.finish(colors.to_hsv(rgb));
}

Status lower_hsv_to_rgb(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(Colors colors, colors_of(context));
  BLADE_ASSIGN_OR_RETURN(const Channels hsv, colors.split(context.input(0)));
  return colors.finish(colors.to_rgb(hsv));
}

// `argument`: 0 turns the hue by a part of the circle, 1 scales the saturation.
Status lower_adjust_colors(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(Colors colors, colors_of(context));
  BLADE_ASSIGN_OR_RETURN(const Channels rgb, colors.split(context.input(0)));
  Channels hsv = colors.to_hsv(rgb);
  const ir::ValueId by = colors.emitter().cast(context.input(1), context.dtype(context.input(0)));
  if (argument == 0) {
    hsv.first = colors.op(PointwiseOp::kFloorMod, colors.op(PointwiseOp::kAdd, hsv.first, by), colors.real(1));
  } else {
    hsv.second = colors.clamped(colors.op(PointwiseOp::kMul, hsv.second, by));
  }
  return colors.finish(colors.to_rgb(hsv));
}

}  // namespace blade::tensorflow
