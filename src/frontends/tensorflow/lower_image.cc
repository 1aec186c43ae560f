// Resizing of images and the choice of boxes.
#include "frontends/tensorflow/lower.h"

namespace blade::tensorflow {

Status lower_resize(LowerContext& context, int argument) {
  ir::ResizeAttrs attrs;
  attrs.kind = static_cast<ir::ResizeKind>(argument);
  BLADE_ASSIGN_OR_RETURN(attrs.align_corners, bool_attr_or(context.node(), "align_corners", false));
  BLADE_ASSIGN_OR_RETURN(attrs.half_pixel_centers, bool_attr_or(context.node(), "half_pixel_centers", false));
  return context.finish(context.emit(ir::Op::kResize, "", context.inputs(), attrs));
}

// `argument`: the op's version, 2 to 5.
Status lower_non_max_suppression(LowerContext& context, int argument) {
  if (argument == 5) return unimplemented("Blade has no kernel of soft suppression");
  ir::NonMaxSuppressionAttrs attrs;
  attrs.version = argument;
  BLADE_ASSIGN_OR_RETURN(attrs.pad_to_max_output_size, bool_attr_or(context.node(), "pad_to_max_output_size", false));
  for (int i = 0; i < context.num_inputs(); ++i) {
    if (i != 2 && context.dtype(context.input(i)) != ir::DType::kFloat32) {
      return unimplemented("its boxes and limits are not all float32");
    }
  }
  const int outputs = argument == 4 ? 2 : 1;
  BLADE_ASSIGN_OR_RETURN(auto values,
                         context.emit_many(ir::Op::kNonMaxSuppression, "", context.inputs(), outputs, attrs));
  return context.finish(std::move(values));
}

}  // namespace blade::tensorflow
