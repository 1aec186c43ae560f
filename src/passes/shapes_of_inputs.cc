// ShapesOfInputs: where the dims of a computed value are known to be those of the graph's inputs, these are asked for
// them. What asked the value no longer counts among its readers, which keep it from being fused.
#include <algorithm>

#include "ir/infer.h"
#include "passes/constants.h"
#include "passes/passes_internal.h"
#include "passes/rewriter.h"

namespace blade::passes {
namespace {

using ir::Dim;
using ir::Node;
using ir::Op;
using ir::ValueId;

// A dim of an input.
struct Place {
  ValueId input = ir::kNone;
  int axis = 0;
};

class ShapesOfInputs {
 public:
  ShapesOfInputs(Rewriter& rewriter, const ir::Contents& contents) : rewriter_(rewriter), contents_(contents) {
    for (ValueId input : rewriter_.graph().inputs()) {
      const ir::Shape& shape = rewriter_.shape(input);
      for (int axis = 0; shape.has_rank() && axis < shape.rank(); ++axis) {
        if (shape.dim(axis).is_known()) continue;
        if (!find(shape.dim(axis))) places_.push_back({shape.dim(axis), {input, axis}});
      }
    }
  }

  bool rewrite(Node& node) { return become_size(node) || become_sizes(node); }

 private:
  // A number that follows from shapes.
  bool become_size(Node& node) {
    if (node.outputs.size() != 1 || node.op == Op::kForeign) return false;
    const ValueId value = node.outputs[0];
    const auto& content = contents_[value];
    const ir::DType dtype = rewriter_.dtype(value);
    if (!content || content->size() != 1 || !rewriter_.shape(value).has_rank() || rewriter_.shape(value).rank() != 0 ||
        (dtype != ir::DType::kInt32 && dtype != ir::DType::kInt64)) {
      return false;
    }
    const auto place = find(content->front());
    if (!place || is_size_of_input(node)) return false;
    rewriter_.change(node, Op::kGather, {shape_of(node, place->input, dtype), scalar(place->axis, ir::DType::kInt32)},
                     ir::GatherAttrs{});
    return true;
  }
  bool is_size_of_input(const Node& node) {
    const Node* shape = node.op == Op::kGather ? rewriter_.producer(node.inputs[0], Op::kShapeOf) : nullptr;
    return shape != nullptr && rewriter_.producer(shape->inputs[0]) == nullptr;
  }

  // The shape of a computed value.
  bool become_sizes(Node& node) {
    if (node.op != Op::kShapeOf || node.get<ir::ShapeOfAttrs>().kind != ir::ShapeOfKind::kShape) return false;
    const ValueId value = node.inputs[0];
    const ir::Shape shape = rewriter_.shape(value);
    if (rewriter_.producer(value) == nullptr || !shape.has_rank() || shape.rank() == 0) return false;
    for (Dim dim : shape.dims()) {
      if (!dim.is_known() && !find(dim)) return false;
    }
    const ir::DType dtype = node.get<ir::ShapeOfAttrs>().dtype;
    std::vector<ValueId> sizes;
    for (Dim dim : shape.dims()) sizes.push_back(size(node, dim, dtype));
    rewriter_.change(node, Op::kPack, std::move(sizes), ir::AxisAttrs{0});
    return true;
  }

  std::optional<Place> find(Dim dim) const {
    const auto found =
        std::find_if(places_.begin(), places_.end(), [&](const auto& entry) { return entry.first == dim; });
    return found == places_.end() ? std::nullopt : std::optional(found->second);
  }

  ValueId scalar(int64_t value, ir::DType dtype) {
    return rewriter_.add_constant(
        with_dims(dtype == ir::DType::kInt64 ? int64_tensor({value}) : int32_tensor({value}), {}), "");
  }

  ValueId shape_of(const Node& made_for, ValueId input, ir::DType dtype) {
    return rewriter_
        .insert(made_for, Op::kShapeOf, {input}, ir::ShapeOfAttrs{ir::ShapeOfKind::kShape, dtype}, dtype,
                ir::Shape({Dim(rewriter_.shape(input).rank())}), "of_input")
        .outputs[0];
  }
  ValueId size(const Node& made_for, Dim dim, ir::DType dtype) {
    if (dim.is_known()) return scalar(dim.value(), dtype);
    const Place place = *find(dim);
    return rewriter_
        .insert(made_for, Op::kGather, {shape_of(made_for, place.input, dtype), scalar(place.axis, ir::DType::kInt32)},
                ir::GatherAttrs{}, dtype, ir::Shape::scalar(), "size")
        .outputs[0];
  }

  Rewriter& rewriter_;
  const ir::Contents& contents_;
  std::vector<std::pair<Dim, Place>> places_;  // a handful
};

}  // namespace

Result<PassResult> shapes_of_inputs(ir::Graph& graph, const PassOptions&) {
  PassResult result;
  BLADE_ASSIGN_OR_RETURN(const ir::Contents contents, ir::infer_contents(graph, {}));
  BLADE_ASSIGN_OR_RETURN(Rewriter rewriter, Rewriter::create(graph));
  ShapesOfInputs shapes(rewriter, contents);
  for (ir::NodeId id : rewriter.order()) {
    if (!rewriter.is_dead(id) && shapes.rewrite(graph.node(id))) ++result.changes;
  }
  rewriter.finish();
  return result;
}

}  // namespace blade::passes
