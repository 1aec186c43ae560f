// Convolutions, also TensorFlow's own fused ones, with channels first brought to channels last.
#include <algorithm>

#include "base/checked_math.h"
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {
namespace {

struct ConvGeometry {
  std::vector<int64_t> strides, dilations, explicit_pads;
  ir::Padding padding = ir::Padding::kValid;
};

Result<ConvGeometry> read_geometry(LowerContext& context, int spatial, bool channels_first) {
  ConvGeometry out;
  BLADE_ASSIGN_OR_RETURN(out.strides, context.spatial_ints("strides", spatial, channels_first, 1));
  BLADE_ASSIGN_OR_RETURN(out.dilations, context.spatial_ints("dilations", spatial, channels_first, 1));
  BLADE_ASSIGN_OR_RETURN(out.padding, read_padding(context, spatial, channels_first, &out.explicit_pads));
  return out;
}

// [h, w, channels, multiplier] -> [h, w, 1, channels * multiplier]; a constant keeps its data.
Result<ir::ValueId> depthwise_filter(LowerContext& context, ir::ValueId filter, int64_t* channels) {
  auto dims = context.shape(filter).static_dims();
  if (!dims || dims->size() != 4) return unimplemented("the shape of its filter is not known");
  *channels = (*dims)[2];
  ir::Dims flat = {(*dims)[0], (*dims)[1], 1, (*dims)[2] * (*dims)[3]};
  if (ir::TensorPtr tensor = context.constant(filter)) {
    auto reshaped = std::make_shared<ir::Tensor>(*tensor);
    reshaped->dims = flat;
    return context.add_constant(std::move(reshaped));
  }
  ir::ValueId shape = context.add_ints(ir::DType::kInt64, flat);
  return context.emit(ir::Op::kReshape, "filter", {filter, shape}, ir::EmptyAttrs{});
}

// How many groups the filter divides the input's channels into: one where their number is not known, which inference
// holds the shapes of a run to.
Result<int64_t> count_groups(LowerContext& context, ir::ValueId x, ir::ValueId filter) {
  const ir::Shape &in = context.shape(x), &weights = context.shape(filter);
  if (!weights.has_rank() || !weights.dim(-2).is_known()) {
    return unimplemented("the number of its filter's channels is not known");
  }
  if (!in.has_rank() || !in.dim(-1).is_known()) return 1;
  int64_t channels = in.dim(-1).value(), depth = weights.dim(-2).value();
  if (depth < 1 || channels % depth != 0) {
    return invalid_argument("has a filter for " + std::to_string(depth) + " channels, but its input has " +
                            std::to_string(channels));
  }
  return std::max<int64_t>(channels / depth, 1);
}

// What a dilated filter's windows span, in the spatial dims.
Result<std::vector<int64_t>> window_of(LowerContext& context, ir::ValueId filter, const ir::ConvAttrs& attrs) {
  const ir::Shape& shape = context.shape(filter);
  std::vector<int64_t> window;
  for (size_t i = 0; i < attrs.strides.size(); ++i) {
    const int axis = static_cast<int>(i);
    if (!shape.has_rank() || !shape.dim(axis).is_known()) return unimplemented("the shape of its filter is not known");
    const int64_t dilation = attrs.dilations.empty() ? 1 : attrs.dilations[i];
    const auto span = checked_mul(shape.dim(axis).value() - 1, dilation);
    if (!span) return invalid_argument("has a filter whose dilated size does not fit 64 bits");
    window.push_back(*span + 1);
  }
  return window;
}

// The convolution of x (already channels last) alone; the filter is input 1 unless given.
Result<ir::ValueId> emit_conv(LowerContext& context, const ChannelsLast& layout, int spatial, bool depthwise,
                              const char* suffix, ir::ValueId x, int filter_input = 1) {
  BLADE_ASSIGN_OR_RETURN(ConvGeometry geometry, read_geometry(context, spatial, layout.move));
  ir::ConvAttrs attrs;
  attrs.strides = geometry.strides;
  attrs.dilations = geometry.dilations;
  attrs.padding = geometry.padding;
  attrs.explicit_pads = geometry.explicit_pads;
  ir::ValueId filter = context.input(filter_input);
  if (depthwise) {
    BLADE_ASSIGN_OR_RETURN(filter, depthwise_filter(context, filter, &attrs.groups));
  } else {
    BLADE_ASSIGN_OR_RETURN(attrs.groups, count_groups(context, x, filter));
  }
  // In other types TensorFlow leaves SAME to oneDNN on processors where that is on, which knows no negative padding.
  const ir::DType type = context.dtype(x);
  if (spatial == 3) {
    BLADE_ASSIGN_OR_RETURN(const auto window, window_of(context, filter, attrs));
    if (type == ir::DType::kFloat64 || type == ir::DType::kFloat16) {
      BLADE_ASSIGN_OR_RETURN(x, cut_left_over(context, x, attrs.padding, window, attrs.strides));
    } else {
      BLADE_RETURN_IF_ERROR(refuse_left_over(context, x, attrs.padding, window, attrs.strides));
    }
  }
  return context.emit(ir::Op::kConv, suffix, {x, filter}, std::move(attrs));
}

Status lower_plain_conv(LowerContext& context, int spatial, bool depthwise) {
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, spatial + 2));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId out,
                         emit_conv(context, layout, spatial, depthwise, layout.move ? "channels_last" : "", x));
  return context.finish(from_channels_last(context, layout, out));
}

Status lower_fused(LowerContext& context, int spatial, bool depthwise) {
  BLADE_ASSIGN_OR_RETURN(std::string filter_format, string_attr_or(context.node(), "filter_format", "HWIO"));
  if (filter_format != "HWIO") return unimplemented("its filter has the layout " + filter_format);
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, spatial + 2));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(0)));
  BLADE_ASSIGN_OR_RETURN(ir::ValueId out, emit_conv(context, layout, spatial, depthwise, "conv", x));
  BLADE_ASSIGN_OR_RETURN(out, apply_fused_ops(context, layout, out, 2));
  return context.finish(from_channels_last(context, layout, out));
}

}  // namespace

Result<ChannelsLast> channels_last(LowerContext& context, int rank) {
  BLADE_ASSIGN_OR_RETURN(std::string format, string_attr_or(context.node(), "data_format", ""));
  if (format.empty() || format == "NHWC" || format == "NDHWC") return ChannelsLast{};
  if (format == "NCHW" || format == "NCDHW") return ChannelsLast{true, rank};
  return unimplemented("its data format is " + format);
}

Result<ir::ValueId> to_channels_last(LowerContext& context, const ChannelsLast& layout, ir::ValueId value) {
  if (!layout.move) return value;
  std::vector<int64_t> perm = {0};
  for (int i = 2; i < layout.rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return context.emit(ir::Op::kTranspose, "to_channels_last", {value}, ir::PermAttrs{std::move(perm)});
}

Result<ir::ValueId> from_channels_last(LowerContext& context, const ChannelsLast& layout, ir::ValueId value) {
  if (!layout.move) return value;
  std::vector<int64_t> perm = {0, layout.rank - 1};
  for (int i = 1; i + 1 < layout.rank; ++i) perm.push_back(i);
  return context.emit(ir::Op::kTranspose, "", {value}, ir::PermAttrs{std::move(perm)});
}

Result<ir::Padding> read_padding(LowerContext& context, int spatial, bool channels_first,
                                 std::vector<int64_t>* explicit_pads) {
  BLADE_ASSIGN_OR_RETURN(std::string name, string_attr(context.node(), "padding"));
  if (name == "SAME") return ir::Padding::kSame;
  if (name == "VALID") return ir::Padding::kValid;
  if (name != "EXPLICIT") return invalid_argument("has the padding '" + name + "', expected SAME, VALID or EXPLICIT");
  BLADE_ASSIGN_OR_RETURN(auto pads, ints_attr(context.node(), "explicit_paddings"));
  if (static_cast<int>(pads.size()) != 2 * (spatial + 2)) {
    return invalid_argument("has " + std::to_string(pads.size()) + " explicit paddings, expected " +
                            std::to_string(2 * (spatial + 2)));
  }
  int first = channels_first ? 2 : 1, channel = channels_first ? 1 : spatial + 1;
  for (int dim : {0, channel}) {
    if (pads[2 * dim] != 0 || pads[2 * dim + 1] != 0) return invalid_argument("pads its batch or channels");
  }
  explicit_pads->assign(pads.begin() + 2 * first, pads.begin() + 2 * (first + spatial));
  for (int64_t pad : *explicit_pads) {
    if (pad < 0) return invalid_argument("has a negative padding");
  }
  return ir::Padding::kExplicit;
}

namespace {

// What TensorFlow's own 3-D kernels cut off in front of x with SAME padding, in each of its dims.
Result<std::vector<int64_t>> left_over(LowerContext& context, ir::ValueId x, ir::Padding padding,
                                       const std::vector<int64_t>& window, const std::vector<int64_t>& strides) {
  const size_t spatial = window.size();
  std::vector<int64_t> begin(spatial + 2, 0);
  for (size_t i = 0; padding == ir::Padding::kSame && i < spatial; ++i) {
    if (strides[i] - window[i] < 2) continue;  // at most one element is left over, and half of that is none
    const ir::Shape& shape = context.shape(x);
    const int axis = static_cast<int>(i) + 1;
    if (!shape.has_rank() || !shape.dim(axis).is_known()) {
      return unimplemented("its windows leave gaps, and where they start follows from sizes that are not known");
    }
    const int64_t in = shape.dim(axis).value();
    if (in == 0) continue;
    const int64_t last_start = (in - 1) / strides[i] * strides[i];
    begin[i + 1] = std::max<int64_t>(0, in - last_start - window[i]) / 2;
  }
  return begin;
}

bool is_nothing(const std::vector<int64_t>& begin) {
  return std::all_of(begin.begin(), begin.end(), [](int64_t b) { return b == 0; });
}

}  // namespace

Result<ir::ValueId> cut_left_over(LowerContext& context, ir::ValueId x, ir::Padding padding,
                                  const std::vector<int64_t>& window, const std::vector<int64_t>& strides) {
  BLADE_ASSIGN_OR_RETURN(const auto begin, left_over(context, x, padding, window, strides));
  if (is_nothing(begin)) return x;
  Emitter e(context);
  const ir::ValueId cut =
      e.emit(ir::Op::kSlice, "left_over", {x, e.ints(begin), e.ints(std::vector<int64_t>(begin.size(), -1))});
  BLADE_RETURN_IF_ERROR(e.status());
  return cut;
}

Status refuse_left_over(LowerContext& context, ir::ValueId x, ir::Padding padding, const std::vector<int64_t>& window,
                        const std::vector<int64_t>& strides) {
  BLADE_ASSIGN_OR_RETURN(const auto begin, left_over(context, x, padding, window, strides));
  if (is_nothing(begin)) return Status();
  return unimplemented("its windows leave gaps, and where they start depends on whether TensorFlow uses oneDNN");
}

Status lower_conv(LowerContext& context, int argument) { return lower_plain_conv(context, argument, false); }
Status lower_depthwise_conv(LowerContext& context, int) { return lower_plain_conv(context, 2, true); }
Status lower_fused_conv(LowerContext& context, int argument) { return lower_fused(context, argument, false); }
Status lower_fused_depthwise_conv(LowerContext& context, int) { return lower_fused(context, 2, true); }

// FusedPadConv2D and (`argument` 1) FusedResizeAndPadConv2D: a mirrored border, before it a bilinear resize.
Status lower_pad_conv(LowerContext& context, int argument) {
  BLADE_ASSIGN_OR_RETURN(std::string mode, string_attr(context.node(), "mode"));
  if (mode != "REFLECT" && mode != "SYMMETRIC") {
    return invalid_argument("has the mode '" + mode + "', expected REFLECT or SYMMETRIC");
  }
  ir::ValueId x = context.input(0);
  const ir::DType type = context.dtype(x);
  Emitter e(context);
  if (argument == 1) {
    ir::ResizeAttrs resize;
    BLADE_ASSIGN_OR_RETURN(resize.align_corners, bool_attr_or(context.node(), "resize_align_corners", false));
    x = e.cast(e.emit(ir::Op::kResize, "resize", {x, context.input(1)}, resize), type);
  }
  const ir::PadAttrs pad{mode == "REFLECT" ? ir::PadMode::kReflect : ir::PadMode::kSymmetric};
  x = e.emit(ir::Op::kPad, "pad", {x, context.input(argument + 1)}, pad);
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish(emit_conv(context, ChannelsLast{}, 2, false, "", x, argument + 2));
}

// The gradient of a depthwise convolution: zeros between the elements of x, then a convolution with the turned filter,
// [h, w, multiplier, channels] in as many groups as channels.
Status lower_depthwise_conv_transpose(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, 4));
  BLADE_ASSIGN_OR_RETURN(ConvGeometry geometry, read_geometry(context, 2, layout.move));
  for (int64_t d : geometry.dilations) {
    if (d != 1) return unimplemented("it is dilated, which TensorFlow's own CPU kernel passes over");
  }
  BLADE_ASSIGN_OR_RETURN(auto sizes, context.ints(0, "output size"));
  auto filter = context.shape(context.input(1)).static_dims();
  if (!filter || filter->size() != 4) return unimplemented("the shape of its filter is not known");
  if (sizes.size() == 2) sizes = {0, sizes[0], sizes[1], 0};
  if (sizes.size() != 4) return invalid_argument("has an output size of " + std::to_string(sizes.size()) + " numbers");
  const int64_t out[2] = {sizes[layout.move ? 2 : 1], sizes[layout.move ? 3 : 2]};
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(2)));
  const ir::Shape shape = context.shape(x);
  if (!shape.has_rank() || shape.rank() != 4 || !shape.dim(1).is_known() || !shape.dim(2).is_known()) {
    return unimplemented("the height and width of its gradient are not known");
  }
  const int64_t channels = (*filter)[2], multiplier = (*filter)[3], wide = channels * multiplier;
  Emitter e(context);
  ir::ConvAttrs attrs;
  attrs.strides = {1, 1};
  attrs.dilations = geometry.dilations;
  attrs.padding = ir::Padding::kExplicit;
  attrs.groups = channels;
  for (int i = 0; i < 2; ++i) {
    const int64_t in = shape.dim(i + 1).value(), stride = geometry.strides[i];
    const int64_t reach = ((*filter)[i] - 1) * geometry.dilations[i] + 1, spread = (in - 1) * stride + 1;
    int64_t before = 0;
    if (geometry.padding == ir::Padding::kSame) before = std::max<int64_t>(0, spread + reach - 1 - out[i]) / 2;
    if (geometry.padding == ir::Padding::kExplicit) before = geometry.explicit_pads[2 * i];
    const int64_t first = reach - 1 - before, last = out[i] - (spread + first - reach + 1);
    if (in < 1 || first < 0 || last < 0) return unimplemented("its paddings reach further than its window");
    attrs.explicit_pads.insert(attrs.explicit_pads.end(), {first, last});
  }
  const int64_t height = shape.dim(1).value(), width = shape.dim(2).value();
  const int64_t sh = geometry.strides[0], sw = geometry.strides[1];
  if (sh > 1 || sw > 1) {
    const ir::ValueId apart = e.reshape("apart", x, {-1, height, 1, width, 1, wide});
    const ir::ValueId pads = context.add_constant(ir::make_tensor<int64_t>(
        ir::DType::kInt64, {6, 2}, std::vector<int64_t>{0, 0, 0, 0, 0, sh - 1, 0, 0, 0, sw - 1, 0, 0}));
    const ir::ValueId spread = e.emit(ir::Op::kPad, "zeros", {apart, pads, e.scalar(context.dtype(x), 0)},
                                      ir::PadAttrs{ir::PadMode::kConstant});
    const ir::ValueId whole = e.reshape("spread", spread, {-1, height * sh, width * sw, wide});
    x = e.emit(ir::Op::kSlice, "cut",
               {whole, e.ints({0, 0, 0, 0}), e.ints({-1, (height - 1) * sh + 1, (width - 1) * sw + 1, -1})});
  }
  const ir::ValueId turned = e.emit(ir::Op::kReverse, "turned", {context.input(1)}, ir::AxesAttrs{{0, 1}});
  const ir::ValueId weights = e.emit(ir::Op::kTranspose, "weights", {turned}, ir::PermAttrs{{0, 1, 3, 2}});
  const ir::ValueId result = e.emit(ir::Op::kConv, layout.move ? "channels_last" : "", {x, weights}, std::move(attrs));
  BLADE_RETURN_IF_ERROR(e.status());
  return context.finish(from_channels_last(context, layout, result));
}

Status lower_conv_transpose(LowerContext& context, int argument) {
  const int spatial = argument;
  BLADE_ASSIGN_OR_RETURN(ChannelsLast layout, channels_last(context, spatial + 2));
  BLADE_ASSIGN_OR_RETURN(ConvGeometry geometry, read_geometry(context, spatial, layout.move));
  ir::ValueId size = context.input(0);
  const ir::Shape& size_shape = context.shape(size);
  if (!size_shape.has_rank() || size_shape.rank() != 1 || size_shape.dim(0) != ir::Dim(spatial + 2)) {
    return unimplemented("its output size is not a vector of " + std::to_string(spatial + 2) + " numbers");
  }
  if (layout.move) {
    std::vector<int64_t> perm = {0};
    for (int i = 2; i < spatial + 2; ++i) perm.push_back(i);
    perm.push_back(1);
    ir::ValueId indices = context.add_ints(ir::DType::kInt32, perm);
    BLADE_ASSIGN_OR_RETURN(size, context.emit(ir::Op::kGather, "size", {size, indices}, ir::GatherAttrs{}));
  }
  BLADE_ASSIGN_OR_RETURN(ir::ValueId x, to_channels_last(context, layout, context.input(2)));
  ir::ConvTransposeAttrs attrs;
  attrs.strides = geometry.strides;
  attrs.dilations = geometry.dilations;
  attrs.padding = geometry.padding;
  attrs.explicit_pads = geometry.explicit_pads;
  BLADE_ASSIGN_OR_RETURN(ir::ValueId out, context.emit(ir::Op::kConvTranspose, layout.move ? "channels_last" : "",
                                                       {x, context.input(1), size}, std::move(attrs)));
  return context.finish(from_channels_last(context, layout, out));
}

}  // namespace blade::tensorflow
