// Mixed precision: float32 work that tensor cores do faster becomes float16 (sums stay float32 inside the kernels),
// what lies between such nodes follows, and casts stand at the borders.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/half.h"
#include "passes/constants.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

constexpr float kLargestHalf = 65504.0f;

// Takes part by itself: most of a network's arithmetic.
bool leads(ir::Op op) { return op == ir::Op::kConv || op == ir::Op::kConvTranspose || op == ir::Op::kMatMul; }

// Takes part where its data already is float16: gains bandwidth, and loses no more than the store of its result does.
// Softmax and normalization stay float32, as their results feed on small differences.
bool follows(const ir::Node& node) {
  switch (node.op) {
    case ir::Op::kPointwise:
    case ir::Op::kPool:
    case ir::Op::kResize:
    case ir::Op::kIdentity:
    case ir::Op::kReshape:
    case ir::Op::kExpandDims:
    case ir::Op::kSqueeze:
    case ir::Op::kTranspose:
    case ir::Op::kConcat:
    case ir::Op::kSplit:
    case ir::Op::kSlice:
    case ir::Op::kStridedSlice:
    case ir::Op::kPack:
    case ir::Op::kUnpack:
    case ir::Op::kTile:
    case ir::Op::kBroadcastTo:
    case ir::Op::kGather:
    case ir::Op::kReverse:
    case ir::Op::kDepthToSpace:
    case ir::Op::kSpaceToDepth:
    case ir::Op::kPad:
      return true;
    case ir::Op::kReduce: {
      const ir::ReduceKind kind = node.get<ir::ReduceAttrs>().kind;
      return kind == ir::ReduceKind::kMean || kind == ir::ReduceKind::kMax || kind == ir::ReduceKind::kMin;
    }
    default:
      return false;
  }
}

class MixedPrecision {
 public:
  MixedPrecision(ir::Graph& graph, const PassOptions& options) : graph_(graph), options_(options) {}

  Result<PassResult> run() {
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph_.topological_order());
    for (ir::NodeId id : order) {
      if (takes_part(graph_.node(id))) convert(id);
    }
    graph_.remove_dead_nodes();
    result_.changes = static_cast<int>(converted_);
    return std::move(result_);
  }

 private:
  bool is_float(ir::ValueId id) const { return graph_.value(id).dtype == ir::DType::kFloat32; }
  bool is_half(ir::ValueId id) const { return half_.contains(id); }

  // The first inputs that carry data; the rest are shapes, bounds and epilogue operands.
  size_t data_inputs(const ir::Node& node) const {
    switch (node.op) {
      case ir::Op::kConv:
      case ir::Op::kConvTranspose:
      case ir::Op::kMatMul:
        return 2;
      case ir::Op::kPointwise:
      case ir::Op::kConcat:
      case ir::Op::kPack:
        return node.inputs.size();
      default:
        return 1;
    }
  }

  bool takes_part(const ir::Node& node) {
    if (std::find(options_.keep_float32.begin(), options_.keep_float32.end(), node.name) !=
        options_.keep_float32.end()) {
      result_.notes.push_back("node '" + node.name + "' stays float32 as asked");
      return false;
    }
    for (ir::ValueId output : node.outputs) {
      if (!is_float(output)) return false;
    }
    const size_t data = std::min(data_inputs(node), node.inputs.size());
    for (size_t i = 0; i < data; ++i) {
      if (!is_float(node.inputs[i])) return false;
      if (!fits(node.inputs[i])) {
        result_.notes.push_back("node '" + node.name + "' stays float32: a constant exceeds float16");
        return false;
      }
    }
    if (leads(node.op)) return true;
    if (!follows(node)) return false;
    return std::any_of(node.inputs.begin(), node.inputs.begin() + static_cast<ptrdiff_t>(data),
                       [&](ir::ValueId id) { return is_half(id); });
  }

  // First layers take float32 images as they come: kernels for few channels convert while they load.
  bool reads_images(const ir::Node& node) const {
    if (node.op != ir::Op::kConv) return false;
    const auto& attrs = node.get<ir::ConvAttrs>();
    const ir::Shape &x = graph_.value(node.inputs[0]).shape, &w = graph_.value(node.inputs[1]).shape;
    if (attrs.groups != 1 || attrs.strides.size() != 2 || attrs.dilations != std::vector<int64_t>{1, 1}) return false;
    const bool known =
        x.has_rank() && x.dim(-1).is_known() && w.is_static() && graph_.value(node.inputs[1]).is_constant();
    return known && x.dim(-1).value() <= 4 && w.dim(0).value() <= 11 && w.dim(1).value() <= 11;
  }

  // Of an input that only this node reads the cast costs nothing: it is done while the input is copied to the device.
  bool is_own_input(ir::ValueId id) const {
    const auto& inputs = graph_.inputs();
    return std::find(inputs.begin(), inputs.end(), id) != inputs.end() && graph_.consumers()[id].size() == 1 &&
           !graph_.is_output(id);
  }

  bool fits(ir::ValueId id) const {
    for (float value : float_values(graph_, id)) {
      if (std::fabs(value) > kLargestHalf) return false;
    }
    return true;
  }

  void convert(ir::NodeId id) {
    const size_t data = data_inputs(graph_.node(id));
    std::vector<ir::ValueId> inputs = graph_.node(id).inputs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      // Constant operands of an epilogue (biases) keep their precision: kernels add them in float32.
      const bool bias = i >= data && leads(graph_.node(id).op) && graph_.value(inputs[i]).is_constant();
      const bool image = i == 0 && !is_half(inputs[0]) && reads_images(graph_.node(id)) && !is_own_input(inputs[0]);
      if (is_float(inputs[i]) && !bias && !image) inputs[i] = as_half(inputs[i]);
    }
    graph_.node(id).inputs = std::move(inputs);
    // Readers keep reading the float32 name of the result, which is now a cast of the float16 one; those that take part
    // look through it.
    for (size_t o = 0; o < graph_.node(id).outputs.size(); ++o) {
      const ir::ValueId output = graph_.node(id).outputs[o];
      const ir::Shape shape = graph_.value(output).shape;
      ir::Node& cast = graph_.add_node(ir::Op::kCast, graph_.unique_name(graph_.node(id).name + "/float32"), {output},
                                       1, ir::CastAttrs{ir::DType::kFloat32});
      cast.origin = graph_.node(id).origin;
      const ir::ValueId wide = cast.outputs[0];
      const ir::NodeId cast_id = cast.id;
      graph_.value(wide).dtype = ir::DType::kFloat32;
      graph_.value(wide).shape = shape;
      graph_.replace_uses(output, wide);
      graph_.node(cast_id).inputs = {output};
      graph_.value(output).dtype = ir::DType::kFloat16;
      half_[wide] = output;
    }
    ++converted_;
  }

  // The float16 form of a float32 value.
  ir::ValueId as_half(ir::ValueId id) {
    if (const auto found = half_.find(id); found != half_.end()) return found->second;
    ir::ValueId narrow = ir::kNone;
    if (graph_.value(id).is_constant()) {
      const std::vector<float> values = float_values(graph_, id);
      std::vector<Float16> halves;
      halves.reserve(values.size());
      for (float value : values) halves.emplace_back(value);
      narrow =
          graph_.add_constant(ir::make_tensor<Float16>(ir::DType::kFloat16, graph_.value(id).constant->dims, halves),
                              graph_.value(id).name);
    } else {
      const ir::Shape shape = graph_.value(id).shape;
      ir::Node& cast =
          graph_.add_node(ir::Op::kCast, graph_.unique_name("float16"), {id}, 1, ir::CastAttrs{ir::DType::kFloat16});
      narrow = cast.outputs[0];
      graph_.value(narrow).dtype = ir::DType::kFloat16;
      graph_.value(narrow).shape = shape;
    }
    half_[id] = narrow;
    return narrow;
  }

  ir::Graph& graph_;
  const PassOptions& options_;
  PassResult result_;
  std::map<ir::ValueId, ir::ValueId> half_;  // float32 value -> its float16 form
  int converted_ = 0;
};

}  // namespace

Result<PassResult> mixed_precision(ir::Graph& graph, const PassOptions& options) {
  if (!options.half_precision) return PassResult();
  return MixedPrecision(graph, options).run();
}

}  // namespace blade::passes
