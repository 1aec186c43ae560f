// Ops that trade spatial dims for channels or batch, and Resize.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// d / block, an error when it is known not to divide.
Result<Dim> divide_exactly(InferContext& c, Dim d, Dim block, const char* what) {
  SymbolTable& s = c.symbols();
  const auto vd = s.constant(d), vb = s.constant(block);
  if (vd && vb && (*vd < 0 || *vd % *vb != 0)) {
    return infer_error(c, "finds ", what, " to be ", *vd, ", expected a multiple of ", *vb);
  }
  return s.floor_div(d, block);
}

Status check_block(InferContext& c, int64_t block) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 4, "an input"));
  if (block >= 2 && block <= (1 << 20)) return Status();
  return infer_error(c, "has a block of ", block, ", expected 2 or more");
}

Shape unknown_rank_4(InferContext& c) {
  std::vector<Dim> out;
  for (int i = 0; i < 4; ++i) out.push_back(c.fresh_dim("dim"));
  return Shape(std::move(out));
}

struct BlockSpec {
  std::vector<Dim> block;
  std::vector<Dim> edges;  // paddings or crops, [m, 2]
};

// Block shape and paddings or crops of SpaceToBatch and BatchToSpace; nullopt when they are not known.
Result<std::optional<BlockSpec>> block_spec(InferContext& c, const char* edges_name) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 3, 3));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 1, "a block shape"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 2, 2, edges_name));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 1, "a block shape"));
  BLADE_RETURN_IF_ERROR(check_index_dtype(c, 2, edges_name));
  const auto *block = c.input_content(1), *edges = c.input_content(2);
  const Shape& x = c.input_shape(0);
  if (block == nullptr || edges == nullptr || !x.has_rank()) return std::optional<BlockSpec>();
  const size_t m = block->size();
  if (edges->size() != 2 * m || static_cast<size_t>(x.rank()) < m + 1) {
    return infer_error(c, "has a block shape of ", m, " and ", edges_name, " of ", edges->size(),
                       " elements for an input of shape ", show(c, x), ", expected two a block dim and rank ", m + 1,
                       " or more");
  }
  for (Dim d : *block) {
    if (const auto v = c.symbols().constant(d); v && *v < 1) {
      return infer_error(c, "has a block dim of ", *v, ", expected 1 or more");
    }
  }
  for (Dim d : *edges) {
    if (const auto v = c.symbols().constant(d); v && *v < 0) {
      return infer_error(c, "has ", edges_name, " of ", *v, ", expected 0 or more");
    }
  }
  return std::optional(BlockSpec{*block, *edges});
}

Shape same_rank_unknown(InferContext& c) {
  const Shape& x = c.input_shape(0);
  if (!x.has_rank()) return Shape::unknown();
  const int rank = x.rank();
  std::vector<Dim> out;
  for (int i = 0; i < rank; ++i) out.push_back(c.fresh_dim("dim"));
  return Shape(std::move(out));
}

}  // namespace

Status infer_depth_to_space(InferContext& c) {
  const int64_t block = c.node().get<BlockAttrs>().block;
  BLADE_RETURN_IF_ERROR(check_block(c, block));
  SymbolTable& s = c.symbols();
  Shape x = c.input_shape(0).has_rank() ? c.input_shape(0) : unknown_rank_4(c);
  BLADE_ASSIGN_OR_RETURN(const Dim channels, divide_exactly(c, x.dim(3), block * block, "the number of channels"));
  c.set_output(0, c.input_dtype(0), Shape({x.dim(0), s.mul(x.dim(1), block), s.mul(x.dim(2), block), channels}));
  return Status();
}

Status infer_space_to_depth(InferContext& c) {
  const int64_t block = c.node().get<BlockAttrs>().block;
  BLADE_RETURN_IF_ERROR(check_block(c, block));
  Shape x = c.input_shape(0).has_rank() ? c.input_shape(0) : unknown_rank_4(c);
  BLADE_ASSIGN_OR_RETURN(const Dim height, divide_exactly(c, x.dim(1), block, "the height"));
  BLADE_ASSIGN_OR_RETURN(const Dim width, divide_exactly(c, x.dim(2), block, "the width"));
  c.set_output(0, c.input_dtype(0), Shape({x.dim(0), height, width, c.symbols().mul(x.dim(3), block * block)}));
  return Status();
}

Status infer_space_to_batch(InferContext& c) {
  BLADE_ASSIGN_OR_RETURN(const auto spec, block_spec(c, "paddings"));
  if (!spec) {
    c.set_output(0, c.input_dtype(0), same_rank_unknown(c));
    return Status();
  }
  SymbolTable& s = c.symbols();
  Shape out = c.input_shape(0);
  out.set_dim(0, s.mul(out.dim(0), product(s, spec->block)));
  for (size_t i = 0; i < spec->block.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const Dim padded = s.add(s.add(out.dim(axis), spec->edges[2 * i]), spec->edges[2 * i + 1]);
    BLADE_ASSIGN_OR_RETURN(const Dim d, divide_exactly(c, padded, spec->block[i], "a padded dim"));
    out.set_dim(axis, d);
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

Status infer_batch_to_space(InferContext& c) {
  BLADE_ASSIGN_OR_RETURN(const auto spec, block_spec(c, "crops"));
  if (!spec) {
    c.set_output(0, c.input_dtype(0), same_rank_unknown(c));
    return Status();
  }
  SymbolTable& s = c.symbols();
  Shape out = c.input_shape(0);
  BLADE_ASSIGN_OR_RETURN(const Dim batch, divide_exactly(c, out.dim(0), product(s, spec->block), "the batch size"));
  out.set_dim(0, batch);
  for (size_t i = 0; i < spec->block.size(); ++i) {
    const int axis = static_cast<int>(i) + 1;
    const Dim spread = s.mul(out.dim(axis), spec->block[i]);
    out.set_dim(axis, s.sub(s.sub(spread, spec->edges[2 * i]), spec->edges[2 * i + 1]));
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

namespace {

// Images [n, h, w, c] and a size of two integers to images of that size.
Status infer_new_size(InferContext& c, DType dtype) {
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 4, "an input"));
  BLADE_ASSIGN_OR_RETURN(Shape size, shape_from_input(c, 1, "a size"));
  if (!size.has_rank()) {
    const Dim height = c.fresh_dim("height"), width = c.fresh_dim("width");
    size = Shape({height, width});
  }
  if (size.rank() != 2) return infer_error(c, "has a size of ", size.rank(), " elements, expected 2 (height, width)");
  for (Dim d : size.dims()) {
    if (d == Dim(0)) return infer_error(c, "has a size of 0, expected 1 or more");
  }
  const Dim batch = input_dim(c, 0, 0, "batch"), channels = input_dim(c, 0, 3, "channels");
  c.set_output(0, dtype, Shape({batch, size.dim(0), size.dim(1), channels}));
  return Status();
}

}  // namespace

Status infer_resize(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  // TensorFlow interpolates in float32 whatever comes in.
  const bool keeps_type = c.node().get<ResizeAttrs>().kind == ResizeKind::kNearest;
  return infer_new_size(c, keeps_type ? c.input_dtype(0) : DType::kFloat32);
}

Status infer_scale_and_translate(InferContext& c) {
  BLADE_RETURN_IF_ERROR(check_arity(c, 4, 4));
  for (int i : {2, 3}) {
    BLADE_RETURN_IF_ERROR(check_rank(c, i, 1, i == 2 ? "a scale" : "a translation"));
    const Shape& shape = c.input_shape(i);
    if (!shape.has_rank() || !shape.dim(0).is_known() || shape.dim(0) == Dim(2)) continue;
    return infer_error(c, "has a ", i == 2 ? "scale" : "translation", " of ", shape.dim(0).value(),
                       " elements, expected 2 (height, width)");
  }
  return infer_new_size(c, DType::kFloat32);
}

}  // namespace blade::ir
