// Ops that join tensors along an axis or take them apart: Concat, Split, Pack, Unpack.
#include "ir/ops/infer_support.h"

namespace blade::ir {
namespace {

// Interleaves parts of `outer` rows; part p has widths[p] elements a row.
std::vector<Dim> join_rows(const std::vector<std::vector<Dim>>& parts, int64_t outer) {
  std::vector<Dim> out;
  for (int64_t row = 0; row < outer; ++row) {
    for (const auto& part : parts) {
      const auto width = static_cast<int64_t>(part.size()) / outer;
      out.insert(out.end(), part.begin() + row * width, part.begin() + (row + 1) * width);
    }
  }
  return out;
}

// Contents of all inputs, unknown elements where one is not known; nullopt when none is known or sizes are not.
std::optional<std::vector<std::vector<Dim>>> all_contents(InferContext& c) {
  bool any = false;
  for (int i = 0; i < c.num_inputs(); ++i) any |= c.input_content(i) != nullptr;
  if (!any) return std::nullopt;
  std::vector<std::vector<Dim>> out;
  for (int i = 0; i < c.num_inputs(); ++i) {
    auto elements = elements_or_fresh(c, i, "element");
    if (!elements || !c.input_shape(i).is_static()) return std::nullopt;
    out.push_back(std::move(*elements));
  }
  return out;
}

void join_contents(InferContext& c, int64_t axis) {
  const auto dims = c.input_shape(0).static_dims();
  auto parts = all_contents(c);
  if (!dims || !parts) return;
  const int64_t outer = count_dims(*dims, 0, static_cast<size_t>(axis));
  if (outer > 0) c.set_output_content(0, join_rows(*parts, outer));
}

// Content of one part of input 0: `size` from `begin` along the axis.
void part_content(InferContext& c, int output, int64_t axis, int64_t begin, int64_t size) {
  const auto* content = c.input_content(0);
  const auto dims = c.input_shape(0).static_dims();
  if (content == nullptr || !dims) return;
  Dims offset(dims->size(), 0), out = *dims;
  offset[axis] = begin;
  out[axis] = size;
  c.set_output_content(output, pick_content(*content, *dims, offset, Dims(dims->size(), 1), out));
}

Status check_all_same_dtype(InferContext& c) {
  for (int i = 1; i < c.num_inputs(); ++i) BLADE_RETURN_IF_ERROR(check_same_dtype(c, 0, i));
  return Status();
}

// Sizes of Split's parts: as given (one may be -1), or equal.
Result<std::vector<Dim>> split_sizes(InferContext& c, const SplitAttrs& a, Dim whole) {
  SymbolTable& s = c.symbols();
  const auto parts = static_cast<int64_t>(c.node().outputs.size());
  if (a.sizes.empty()) {
    if (whole.is_known() && whole.value() % parts != 0) {
      return infer_error(c, "splits a dim of ", whole.value(), " into ", parts, " equal parts, expected a multiple");
    }
    return std::vector<Dim>(parts, s.floor_div(whole, parts));
  }
  if (static_cast<int64_t>(a.sizes.size()) != parts) {
    return infer_error(c, "has ", a.sizes.size(), " sizes for ", parts, " outputs, expected one each");
  }
  Dim rest = whole;
  int wildcard = -1;
  std::vector<Dim> out;
  for (size_t i = 0; i < a.sizes.size(); ++i) {
    if (a.sizes[i] < -1 || (a.sizes[i] == -1 && wildcard >= 0)) {
      return infer_error(c, "has a part of size ", a.sizes[i], ", expected 0 or more (one may be -1)");
    }
    if (a.sizes[i] == -1) wildcard = static_cast<int>(i);
    if (a.sizes[i] >= 0) rest = s.sub(rest, a.sizes[i]);
    out.push_back(a.sizes[i] == -1 ? Dim(0) : Dim(a.sizes[i]));
  }
  const auto left = s.constant(rest);
  if (left && (*left < 0 || (*left > 0 && wildcard < 0))) {
    return infer_error(c, "has parts that leave ", *left, " of a dim of ", s.to_string(whole),
                       ", expected their sum to be it");
  }
  if (wildcard >= 0) out[wildcard] = rest;
  return out;
}

}  // namespace

Status infer_concat(InferContext& c) {
  const int64_t axis = c.node().get<AxisAttrs>().axis;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, kAnyNumber));
  BLADE_RETURN_IF_ERROR(check_all_same_dtype(c));
  Shape out;
  Dim total = 0;
  bool total_known = true;
  for (int i = 0; i < c.num_inputs(); ++i) {
    const Shape& x = c.input_shape(i);
    if (!x.has_rank()) {
      total_known = false;
      continue;
    }
    BLADE_RETURN_IF_ERROR(check_axis(c, axis, x.rank()));
    total = c.symbols().add(total, x.dim(static_cast<int>(axis)));
    Shape rest = x;
    rest.set_dim(static_cast<int>(axis), 0);
    BLADE_ASSIGN_OR_RETURN(out, merge_shapes(c, out, rest, "inputs (but for the axis joined)"));
  }
  if (out.has_rank()) out.set_dim(static_cast<int>(axis), total_known ? total : c.fresh_dim("joined"));
  c.set_output(0, c.input_dtype(0), std::move(out));
  join_contents(c, axis);
  return Status();
}

Status infer_split(InferContext& c) {
  const auto& a = c.node().get<SplitAttrs>();
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1, kAnyNumber));
  const Shape x = c.input_shape(0);
  BLADE_RETURN_IF_ERROR(check_axis(c, a.axis, rank_or_unknown(x)));
  const auto parts = static_cast<int>(c.node().outputs.size());
  if (!x.has_rank()) {
    for (int i = 0; i < parts; ++i) c.set_output(i, c.input_dtype(0), Shape::unknown());
    return Status();
  }
  BLADE_ASSIGN_OR_RETURN(const std::vector<Dim> sizes, split_sizes(c, a, x.dim(static_cast<int>(a.axis))));
  std::optional<int64_t> begin = 0;
  for (int i = 0; i < parts; ++i) {
    Shape out = x;
    out.set_dim(static_cast<int>(a.axis), sizes[i]);
    c.set_output(i, c.input_dtype(0), std::move(out));
    if (begin && sizes[i].is_known()) {
      part_content(c, i, a.axis, *begin, sizes[i].value());
      *begin += sizes[i].value();
    } else {
      begin = std::nullopt;
    }
  }
  return Status();
}

Status infer_pack(InferContext& c) {
  const int64_t axis = c.node().get<AxisAttrs>().axis;
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, kAnyNumber));
  BLADE_RETURN_IF_ERROR(check_all_same_dtype(c));
  Shape out;
  for (int i = 0; i < c.num_inputs(); ++i) {
    BLADE_ASSIGN_OR_RETURN(out, merge_shapes(c, out, c.input_shape(i), "inputs"));
  }
  BLADE_RETURN_IF_ERROR(check_axis(c, axis, out.has_rank() ? out.rank() + 1 : -1));
  if (out.has_rank()) {
    std::vector<Dim> dims = out.dims();
    dims.insert(dims.begin() + axis, Dim(c.num_inputs()));
    out = Shape(std::move(dims));
  }
  c.set_output(0, c.input_dtype(0), std::move(out));
  join_contents(c, axis);
  return Status();
}

Status infer_unpack(InferContext& c) {
  const int64_t axis = c.node().get<UnpackAttrs>().axis;
  const auto parts = static_cast<int>(c.node().outputs.size());  // none: an empty dim
  BLADE_RETURN_IF_ERROR(check_arity(c, 1, 1, parts));
  const Shape x = c.input_shape(0);
  BLADE_RETURN_IF_ERROR(check_axis(c, axis, rank_or_unknown(x)));
  Shape out;
  if (x.has_rank()) {
    BLADE_RETURN_IF_ERROR(merge_dims(c, x.dim(static_cast<int>(axis)), parts, "the axis taken apart").status());
    std::vector<Dim> dims = x.dims();
    dims.erase(dims.begin() + axis);
    out = Shape(std::move(dims));
  }
  for (int i = 0; i < parts; ++i) {
    c.set_output(i, c.input_dtype(0), out);
    part_content(c, i, axis, i, 1);
  }
  return Status();
}

}  // namespace blade::ir
