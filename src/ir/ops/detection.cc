// Shapes of the ops of detectors and recurrent nets that come as one piece.
#include "ir/ops/infer_support.h"

namespace blade::ir {

// image [n, h, w, c], boxes [b, 4] -> float32 [b, crop height, crop width, c].
Status infer_crop_and_resize(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 4, "an image"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 2, "boxes"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 1, "box indices"));
  BLADE_ASSIGN_OR_RETURN(Shape size, shape_from_input(c, 3, "a crop size"));
  if (!size.has_rank()) {
    const Dim height = c.fresh_dim("height"), width = c.fresh_dim("width");
    size = Shape({height, width});
  }
  if (size.rank() != 2) return infer_error(c, "has a crop size of ", size.rank(), " elements, expected 2");
  for (Dim d : size.dims()) {
    if (d == Dim(0)) return infer_error(c, "has a crop size of 0, expected 1 or more");
  }
  const Shape &boxes = c.input_shape(1), &indices = c.input_shape(2);
  if (boxes.has_rank()) BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(1), 4, "the coordinates of a box").status());
  Dim count = input_dim(c, 1, 0, "boxes");
  if (indices.has_rank()) {
    BLADE_ASSIGN_OR_RETURN(count, merge_dims(c, count, indices.dim(0), "the number of boxes and box indices"));
  }
  const Dim channels = input_dim(c, 0, 3, "channels");
  c.set_output(0, DType::kFloat32, Shape({count, size.dim(0), size.dim(1), channels}));
  return Status();
}

// boxes [n, b, q, 4] (q: 1 or classes), scores [n, b, classes], and scalars: most a class, most in all, thresholds of
// overlap and score -> boxes [n, m, 4], scores [n, m], classes [n, m], valid [n].
Status infer_combined_non_max_suppression(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 6, 6, 4));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 4, "boxes"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 3, "scores"));
  const Shape &boxes = c.input_shape(0), &scores = c.input_shape(1);
  if (boxes.has_rank()) {
    BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(3), 4, "the coordinates of a box").status());
    if (scores.has_rank()) {
      BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(0), scores.dim(0), "the batch size").status());
      BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(1), scores.dim(1), "the number of boxes").status());
      if (boxes.dim(2) != Dim(1)) {
        BLADE_RETURN_IF_ERROR(merge_dims(c, boxes.dim(2), scores.dim(2), "the number of classes").status());
      }
    }
  }
  const Dim batch = input_dim(c, 0, 0, "batch");
  BLADE_ASSIGN_OR_RETURN(Dim most, size_from_input(c, 3, "a limit"));
  if (c.node().get<CombinedNonMaxSuppressionAttrs>().pad_per_class) {
    BLADE_ASSIGN_OR_RETURN(const Dim per_class, size_from_input(c, 2, "a limit"));
    const Dim classes = input_dim(c, 1, 2, "classes");
    most = c.symbols().min(most, c.symbols().mul(per_class, classes));
  }
  c.set_output(0, DType::kFloat32, Shape({batch, most, 4}));
  c.set_output(1, DType::kFloat32, Shape({batch, most}));
  c.set_output(2, DType::kFloat32, Shape({batch, most}));
  c.set_output(3, DType::kInt32, Shape({batch}));
  return Status();
}

}  // namespace blade::ir
