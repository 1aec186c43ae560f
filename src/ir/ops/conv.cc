// Shapes of convolutions and pooling: spatial arithmetic as TensorFlow's, on symbolic dims.
#include "ir/half_types.h"
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// One spatial dim of a window that slides.
struct Window {
  Dim in, size;  // size: of the window, before dilation
  int64_t stride, dilation;
  Padding padding;
  int64_t pad_begin, pad_end;
};

// Ceil(in / stride) for SAME, (in + pads - effective + stride) / stride otherwise.
Result<Dim> windows_across(InferContext& c, const Window& w) {
  SymbolTable& s = c.symbols();
  if (w.padding == Padding::kSame) return s.ceil_div(w.in, w.stride);
  const Dim effective = s.add(s.mul(s.sub(w.size, 1), w.dilation), 1);
  const Dim padded = s.add(w.in, w.pad_begin + w.pad_end);
  const Dim reach = s.add(s.sub(padded, effective), w.stride);
  if (const auto known = s.constant(reach)) {
    // TensorFlow divides towards zero: only a whole stride short is an error.
    if (*known <= -w.stride) {
      return infer_error(c, "slides a window of ", s.to_string(effective), " over a dim of ", s.to_string(padded),
                         " (with padding), expected a dim at least as large");
    }
    return *known < 0 ? Dim(0) : Dim(*known / w.stride);
  }
  return s.floor_div(reach, w.stride);
}

Status check_positive(const InferContext& c, const std::vector<int64_t>& values, size_t count, const char* name) {
  if (values.size() != count) {
    return infer_error(c, "has ", values.size(), " ", name, ", expected ", count, " (one a spatial dim)");
  }
  for (int64_t v : values) {
    if (v < 1 || v > (int64_t{1} << 31)) return infer_error(c, "has ", v, " among its ", name, ", expected 1 or more");
  }
  return Status();
}

Status check_spatial_rank(const InferContext& c, size_t spatial) {
  if (spatial >= 1 && spatial <= 3) return Status();
  return infer_error(c, "has ", spatial, " strides, expected 1 to 3 (one a spatial dim)");
}

Status check_pads(const InferContext& c, Padding padding, const std::vector<int64_t>& pads, size_t spatial) {
  const size_t expected = padding == Padding::kExplicit ? 2 * spatial : 0;
  if (padding == Padding::kExplicit && pads.size() != expected) {
    return infer_error(c, "has ", pads.size(), " explicit pads, expected ", expected);
  }
  for (int64_t p : pads) {
    if (p < 0 || p > (int64_t{1} << 31)) return infer_error(c, "has an explicit pad of ", p, ", expected 0 or more");
  }
  return Status();
}

int64_t pad_at(Padding padding, const std::vector<int64_t>& pads, size_t i) {
  return padding == Padding::kExplicit ? pads[i] : 0;
}

}  // namespace

Status check_epilogue(InferContext& c, const PointwiseProgram& program, int first, const Shape& out) {
  const int operands = c.num_inputs() - first;
  if (program.empty()) {
    if (operands == 0) return Status();
    return infer_error(c, "has ", operands, " operands for an epilogue that it does not have");
  }
  if (const Status status = verify(program); !status.ok())
    return infer_error(c, "has a bad epilogue: ", status.message());
  if (program.num_inputs != operands + 1) {
    return infer_error(c, "has an epilogue of ", program.num_inputs, " inputs and ", operands,
                       " operands for it, expected one operand fewer than inputs");
  }
  for (int i = first; i < c.num_inputs(); ++i) {
    const Shape& shape = c.input_shape(i);
    if (!shape.has_rank() || !out.has_rank() || shape.rank() == 0) continue;
    if (shape.rank() == 1 && out.rank() >= 1) {
      BLADE_RETURN_IF_ERROR(merge_dims(c, shape.dim(0), out.dim(-1), "an epilogue operand's last dim").status());
      continue;
    }
    BLADE_RETURN_IF_ERROR(merge_shapes(c, shape, out, "an epilogue operand and the output").status());
  }
  return Status();
}

// What convolutions and transposed ones demand of their attributes and ranks; `operands` come before the epilogue's.
template <class Attrs>
Status check_windows(InferContext& c, const Attrs& a, int operands) {
  const size_t spatial = a.strides.size();
  BLADE_RETURN_IF_ERROR(check_arity(c, operands, kAnyNumber));
  BLADE_RETURN_IF_ERROR(check_spatial_rank(c, spatial));
  BLADE_RETURN_IF_ERROR(check_positive(c, a.strides, spatial, "strides"));
  BLADE_RETURN_IF_ERROR(check_positive(c, a.dilations, spatial, "dilations"));
  BLADE_RETURN_IF_ERROR(check_pads(c, a.padding, a.explicit_pads, spatial));
  const int rank = static_cast<int>(spatial) + 2;
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, rank, "an input"));
  return check_rank(c, 1, rank, "a filter");
}

// The window that spatial dim `i` of the filter moves across `across`.
template <class Attrs>
Window window_of(InferContext& c, const Attrs& a, size_t i, const Dim& across) {
  return {across,
          input_dim(c, 1, static_cast<int>(i), "window"),
          a.strides[i],
          a.dilations[i],
          a.padding,
          pad_at(a.padding, a.explicit_pads, 2 * i),
          pad_at(a.padding, a.explicit_pads, 2 * i + 1)};
}

Status infer_conv(InferContext& c) {
  const auto& a = c.node().get<ConvAttrs>();
  const size_t spatial = a.strides.size();
  const int rank = static_cast<int>(spatial) + 2;
  BLADE_RETURN_IF_ERROR(check_windows(c, a, 2));
  // A float32 image may meet 16-bit weights: the result is 16-bit, as if the image had been cast.
  const bool narrow = is_half(c.input_dtype(1));
  const bool casts = c.input_dtype(0) == DType::kFloat32 && narrow;
  if (!casts) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  if (a.groups < 1) return infer_error(c, "has ", a.groups, " groups, expected 1 or more");

  SymbolTable& s = c.symbols();
  const Shape &x = c.input_shape(0), &w = c.input_shape(1);
  if (x.has_rank() && w.has_rank()) {
    const Dim given = x.dim(-1), taken = s.mul(w.dim(rank - 2), a.groups);
    // The frontend counts groups where the graph tells the channels.
    if (a.groups == 1 && given.is_known() && taken.is_known() && taken.value() > 0 && given.value() > taken.value() &&
        given.value() % taken.value() == 0) {
      return infer_error(c, "finds the number of input channels to be ", given.value(), " and ", taken.value(),
                         ", expected the same size: groups of channels are taken in only where the graph tells their "
                         "number, which was not known");
    }
    BLADE_RETURN_IF_ERROR(merge_dims(c, given, taken, "the number of input channels").status());
  }
  if (w.has_rank() && w.dim(-1).is_known() && w.dim(-1).value() % a.groups != 0) {
    return infer_error(c, "has ", w.dim(-1).value(), " output channels in ", a.groups, " groups, expected a multiple");
  }
  std::vector<Dim> out{input_dim(c, 0, 0, "batch")};
  for (size_t i = 0; i < spatial; ++i) {
    const int axis = static_cast<int>(i) + 1;
    BLADE_ASSIGN_OR_RETURN(const Dim d, windows_across(c, window_of(c, a, i, input_dim(c, 0, axis, "in"))));
    out.push_back(d);
  }
  out.push_back(input_dim(c, 1, rank - 1, "channels"));
  Shape shape(std::move(out));
  BLADE_RETURN_IF_ERROR(check_epilogue(c, a.epilogue, 2, shape));
  c.set_output(0, casts ? c.input_dtype(1) : c.input_dtype(0), std::move(shape));
  return Status();
}

Status infer_conv_transpose(InferContext& c) {
  const auto& a = c.node().get<ConvTransposeAttrs>();
  const size_t spatial = a.strides.size();
  const int rank = static_cast<int>(spatial) + 2;
  BLADE_RETURN_IF_ERROR(check_windows(c, a, 3));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  const Shape &x = c.input_shape(0), &w = c.input_shape(1);
  if (x.has_rank() && w.has_rank()) {
    BLADE_RETURN_IF_ERROR(merge_dims(c, x.dim(-1), w.dim(-1), "the number of input channels").status());
  }
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_from_input(c, 2, "an output size"));
  if (!out.has_rank()) {
    std::vector<Dim> dims;
    for (int i = 0; i < rank; ++i) dims.push_back(c.fresh_dim("out"));
    out = Shape(std::move(dims));
  }
  if (out.rank() != rank) {
    return infer_error(c, "has an output size of ", out.rank(), " elements, expected ", rank);
  }
  if (w.has_rank()) {
    BLADE_ASSIGN_OR_RETURN(const Dim d, merge_dims(c, w.dim(rank - 2), out.dim(-1), "the number of output channels"));
    out.set_dim(-1, d);
  }
  if (x.has_rank()) {
    BLADE_ASSIGN_OR_RETURN(const Dim d, merge_dims(c, x.dim(0), out.dim(0), "the batch size"));
    out.set_dim(0, d);
  }
  for (size_t i = 0; i < spatial; ++i) {
    const int axis = static_cast<int>(i) + 1;
    BLADE_ASSIGN_OR_RETURN(const Dim d, windows_across(c, window_of(c, a, i, out.dim(axis))));
    if (x.has_rank()) BLADE_RETURN_IF_ERROR(merge_dims(c, x.dim(axis), d, "a spatial dim of the input").status());
  }
  BLADE_RETURN_IF_ERROR(check_epilogue(c, a.epilogue, 3, out));
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

namespace {

// [batch, windows..., channels] of windows of fixed size over input 0.
Result<Shape> shape_of_windows(InferContext& c, const std::vector<int64_t>& size, const std::vector<int64_t>& strides,
                               const std::vector<int64_t>& dilations, Padding padding,
                               const std::vector<int64_t>& pads) {
  const size_t spatial = strides.size();
  BLADE_RETURN_IF_ERROR(check_spatial_rank(c, spatial));
  BLADE_RETURN_IF_ERROR(check_positive(c, strides, spatial, "strides"));
  BLADE_RETURN_IF_ERROR(check_positive(c, size, spatial, "window sizes"));
  BLADE_RETURN_IF_ERROR(check_positive(c, dilations, spatial, "dilations"));
  BLADE_RETURN_IF_ERROR(check_pads(c, padding, pads, spatial));
  const int rank = static_cast<int>(spatial) + 2;
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, rank, "an input"));
  std::vector<Dim> out{input_dim(c, 0, 0, "batch")};
  for (size_t i = 0; i < spatial; ++i) {
    const Window window{input_dim(c, 0, static_cast<int>(i) + 1, "in"),
                        size[i],
                        strides[i],
                        dilations[i],
                        padding,
                        pad_at(padding, pads, 2 * i),
                        pad_at(padding, pads, 2 * i + 1)};
    BLADE_ASSIGN_OR_RETURN(const Dim d, windows_across(c, window));
    out.push_back(d);
  }
  out.push_back(input_dim(c, 0, rank - 1, "channels"));
  return Shape(std::move(out));
}

}  // namespace

Status infer_pool(InferContext& c) {
  const auto& a = c.node().get<PoolAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  const std::vector<int64_t> ones(a.strides.size(), 1);
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_of_windows(c, a.window, a.strides, ones, a.padding, a.explicit_pads));
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

Status infer_max_pool_argmax(InferContext& c) {
  const auto& a = c.node().get<MaxPoolArgmaxAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1, 2));
  const std::vector<int64_t> ones(a.strides.size(), 1);
  BLADE_ASSIGN_OR_RETURN(const Shape out, shape_of_windows(c, a.window, a.strides, ones, a.padding, a.explicit_pads));
  c.set_output(0, c.input_dtype(0), out);
  c.set_output(1, a.index_dtype, out);
  return Status();
}

Status infer_extract_patches(InferContext& c) {
  const auto& a = c.node().get<ExtractPatchesAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1));
  BLADE_ASSIGN_OR_RETURN(Shape out, shape_of_windows(c, a.window, a.strides, a.dilations, a.padding, {}));
  Dim elements = out.dim(-1);
  for (int64_t size : a.window) elements = c.symbols().mul(elements, size);
  out.set_dim(-1, elements);
  c.set_output(0, c.input_dtype(0), std::move(out));
  return Status();
}

Status infer_dilation(InferContext& c) {
  const auto& a = c.node().get<DilationAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 2, 2));
  BLADE_RETURN_IF_ERROR(check_rank(c, 0, 4, "an input"));
  BLADE_RETURN_IF_ERROR(check_rank(c, 1, 3, "a filter"));
  BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, 1));
  BLADE_RETURN_IF_ERROR(check_positive(c, a.strides, 2, "strides"));
  BLADE_RETURN_IF_ERROR(check_positive(c, a.dilations, 2, "dilations"));
  if (a.padding == Padding::kExplicit) return infer_error(c, "has explicit padding, expected SAME or VALID");
  std::vector<Dim> out{input_dim(c, 0, 0, "batch")};
  for (int i = 0; i < 2; ++i) {
    const Window window{
        input_dim(c, 0, i + 1, "in"), input_dim(c, 1, i, "window"), a.strides[i], a.dilations[i], a.padding, 0, 0};
    BLADE_ASSIGN_OR_RETURN(const Dim d, windows_across(c, window));
    out.push_back(d);
  }
  BLADE_ASSIGN_OR_RETURN(const Dim channels, merge_dims(c, input_dim(c, 0, 3, "channels"),
                                                        input_dim(c, 1, 2, "channels"), "the number of channels"));
  out.push_back(channels);
  c.set_output(0, c.input_dtype(0), Shape(std::move(out)));
  return Status();
}

}  // namespace blade::ir
