// Resizing, crops and windows of images, and the choice of boxes.
#include <algorithm>

#include "frontends/tensorflow/lower.h"
#include "ir/ops/attrs_visit.h"

namespace blade::tensorflow {

Status lower_resize(LowerContext& context, int argument) {
  ir::ResizeAttrs attrs;
  attrs.kind = static_cast<ir::ResizeKind>(argument);
  BLADE_ASSIGN_OR_RETURN(attrs.align_corners, bool_attr_or(context.node(), "align_corners", false));
  BLADE_ASSIGN_OR_RETURN(attrs.half_pixel_centers, bool_attr_or(context.node(), "half_pixel_centers", false));
  Emitter e(context);
  ir::ValueId x = context.input(0);
  // TensorFlow computes in float32 whatever it reads; only nearest neighbours keep their type.
  if (attrs.kind != ir::ResizeKind::kNearest) x = e.cast(x, ir::DType::kFloat32);
  return e.finish(e.emit(ir::Op::kResize, "", {x, context.input(1)}, attrs));
}

Status lower_scale_and_translate(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(const std::string kernel, string_attr_or(context.node(), "kernel_type", "lanczos3"));
  ir::SampleAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.antialias, bool_attr_or(context.node(), "antialias", true));
  const auto& names = ir::EnumNames<ir::SampleKind>::value;
  const auto found = std::find(std::begin(names), std::end(names), kernel);
  if (found == std::end(names)) return invalid_argument("has the kernel type '" + kernel + "'");
  attrs.kind = static_cast<ir::SampleKind>(found - std::begin(names));
  Emitter e(context);
  const ir::ValueId x = e.cast(context.input(0), ir::DType::kFloat32);
  return e.finish(
      e.emit(ir::Op::kScaleAndTranslate, "", {x, context.input(1), context.input(2), context.input(3)}, attrs));
}

// `argument`: the op's version, 2 to 5.
Status lower_non_max_suppression(LowerContext& context, int argument) {
  ir::NonMaxSuppressionAttrs attrs;
  attrs.version = argument;
  BLADE_ASSIGN_OR_RETURN(attrs.pad_to_max_output_size, bool_attr_or(context.node(), "pad_to_max_output_size", false));
  for (int i = 0; i < context.num_inputs(); ++i) {
    if (i != 2 && context.dtype(context.input(i)) != ir::DType::kFloat32) {
      return unimplemented("its boxes and limits are not all float32");
    }
  }
  const int outputs = argument == 5 ? 3 : argument == 4 ? 2 : 1;
  BLADE_ASSIGN_OR_RETURN(auto values,
                         context.emit_many(ir::Op::kNonMaxSuppression, "", context.inputs(), outputs, attrs));
  return context.finish(std::move(values));
}

// Each channel of each image is spread around its own mean.
Status lower_adjust_contrast(LowerContext& context, int) {
  using ir::PointwiseOp;
  BLADE_ASSIGN_OR_RETURN(int rank, context.rank(context.input(0), "its images"));
  if (rank < 3) return invalid_argument("has images of " + std::to_string(rank) + " dims, expected 3 or more");
  const ir::DType type = context.dtype(context.input(0));
  Emitter e(context);
  const ir::ValueId x = e.cast(context.input(0), ir::DType::kFloat32);
  ir::ReduceAttrs reduce;
  reduce.kind = ir::ReduceKind::kMean;
  reduce.axes = {rank - 3, rank - 2};
  reduce.keep_dims = true;
  const ir::ValueId mean = e.emit(ir::Op::kReduce, "mean", {x}, reduce);
  const ir::ValueId spread = e.pointwise(PointwiseOp::kMul, "spread",
                                         {e.pointwise(PointwiseOp::kSub, "centred", {x, mean}), context.input(1)});
  return e.finish(e.cast(e.pointwise(PointwiseOp::kAdd, "moved", {spread, mean}), type));
}

Status lower_crop_and_resize(LowerContext& context, int) {
  BLADE_ASSIGN_OR_RETURN(std::string method, string_attr_or(context.node(), "method", "bilinear"));
  if (method != "bilinear" && method != "nearest") {
    return invalid_argument("has the method '" + method + "', expected bilinear or nearest");
  }
  ir::CropAndResizeAttrs attrs;
  attrs.nearest = method == "nearest";
  BLADE_ASSIGN_OR_RETURN(attrs.extrapolation, float_attr_or(context.node(), "extrapolation_value", 0));
  return context.finish(context.emit(ir::Op::kCropAndResize, "", context.inputs(), attrs));
}

Status lower_combined_non_max_suppression(LowerContext& context, int) {
  ir::CombinedNonMaxSuppressionAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.pad_per_class, bool_attr_or(context.node(), "pad_per_class", false));
  BLADE_ASSIGN_OR_RETURN(attrs.clip_boxes, bool_attr_or(context.node(), "clip_boxes", true));
  BLADE_ASSIGN_OR_RETURN(auto outputs,
                         context.emit_many(ir::Op::kCombinedNonMaxSuppression, "", context.inputs(), 4, attrs));
  return context.finish(std::move(outputs));
}

// `argument`: spatial dims.
Status lower_extract_patches(LowerContext& context, int argument) {
  ir::ExtractPatchesAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.window, context.spatial_ints("ksizes", argument, false, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.strides, context.spatial_ints("strides", argument, false, 1));
  attrs.dilations.assign(argument, 1);
  if (argument == 2) {
    BLADE_ASSIGN_OR_RETURN(attrs.dilations, context.spatial_ints("rates", argument, false, 1));
  }
  std::vector<int64_t> pads;
  BLADE_ASSIGN_OR_RETURN(attrs.padding, read_padding(context, argument, false, &pads));
  ir::ValueId x = context.input(0);
  if (argument == 3) {
    BLADE_ASSIGN_OR_RETURN(x, cut_left_over(context, x, attrs.padding, attrs.window, attrs.strides));
  }
  return context.finish(context.emit(ir::Op::kExtractPatches, "", {x}, std::move(attrs)));
}

Status lower_dilation(LowerContext& context, int) {
  ir::DilationAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.strides, context.spatial_ints("strides", 2, false, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.dilations, context.spatial_ints("rates", 2, false, 1));
  std::vector<int64_t> pads;
  BLADE_ASSIGN_OR_RETURN(attrs.padding, read_padding(context, 2, false, &pads));
  return context.finish(context.emit(ir::Op::kDilation, "", {context.input(0), context.input(1)}, std::move(attrs)));
}

Status lower_max_pool_argmax(LowerContext& context, int) {
  ir::MaxPoolArgmaxAttrs attrs;
  BLADE_ASSIGN_OR_RETURN(attrs.window, context.spatial_ints("ksize", 2, false, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.strides, context.spatial_ints("strides", 2, false, 1));
  BLADE_ASSIGN_OR_RETURN(attrs.padding, read_padding(context, 2, false, &attrs.explicit_pads));
  BLADE_ASSIGN_OR_RETURN(attrs.include_batch, bool_attr_or(context.node(), "include_batch_in_index", false));
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr_or(context.node(), "Targmax", DataType::kInt64));
  attrs.index_dtype = to_ir(type);
  BLADE_ASSIGN_OR_RETURN(auto outputs,
                         context.emit_many(ir::Op::kMaxPoolArgmax, "", {context.input(0)}, 2, std::move(attrs)));
  return context.finish(std::move(outputs));
}

}  // namespace blade::tensorflow
