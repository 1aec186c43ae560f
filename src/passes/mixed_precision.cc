// Mixed precision: float32 work that the device does faster in a 16-bit type becomes that type (sums stay float32
// inside the kernels), what lies between such nodes follows, and casts stand at the borders.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "backends/depth_taps.h"
#include "base/half.h"
#include "ir/op_classes.h"
#include "passes/balanced_rounding.h"
#include "passes/constants.h"
#include "passes/passes_internal.h"

namespace blade::passes {
namespace {

// What a device has kernels for. A leading node takes part by itself: most of a network's arithmetic. A following one
// takes part where its data already is narrow: it gains bandwidth, and loses no more than the store of its result does.
struct Rules {
  bool on_gpu;
  ir::DType narrow;
  float largest;  // number that the type holds
  bool (*leads)(const ir::Graph&, const ir::Node&);
  bool (*follows)(const ir::Graph&, const ir::Node&);
  bool (*reads_images)(const ir::Graph&, const ir::Node&);  // a convolution that rounds a float32 input as it loads it
};

// Weighted means of pixels are float32 by definition, whatever the image is.
bool resizes_to_float32(const ir::Node& node) {
  return node.op == ir::Op::kResize && node.get<ir::ResizeAttrs>().kind != ir::ResizeKind::kNearest;
}

// Softmax stays float32, as its results feed on small differences.
bool moves_or_folds(const ir::Node& node) {
  if (ir::is_view_op(node.op)) return true;
  switch (node.op) {
    case ir::Op::kPointwise:
    case ir::Op::kPool:
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
    case ir::Op::kResize:
      return !resizes_to_float32(node);
    default:
      return false;
  }
}

// A 2-D convolution of few channels with static weights of a moderate size.
bool is_first_layer(const ir::Graph& graph, const ir::Node& node) {
  if (node.op != ir::Op::kConv) return false;
  const auto& attrs = node.get<ir::ConvAttrs>();
  const ir::Shape &x = graph.value(node.inputs[0]).shape, &w = graph.value(node.inputs[1]).shape;
  if (attrs.groups != 1 || attrs.strides.size() != 2 || attrs.dilations != std::vector<int64_t>{1, 1}) return false;
  const bool known = x.has_rank() && x.dim(-1).is_known() && w.is_static() && graph.value(node.inputs[1]).is_constant();
  return known && x.dim(-1).value() <= 4 && w.dim(0).value() <= 11 && w.dim(1).value() <= 11;
}

// ---- A GPU: tensor cores.
bool leads_on_gpu(const ir::Graph&, const ir::Node& node) {
  return ir::multiplies_matrices(node.op) || node.op == ir::Op::kAttention;
}

bool follows_on_gpu(const ir::Graph&, const ir::Node& node) {
  // Sums and parameters of a normalization are float32 in any case.
  if (node.op == ir::Op::kLayerNorm) return true;
  if (node.op != ir::Op::kReduce) return moves_or_folds(node);
  const ir::ReduceKind kind = node.get<ir::ReduceAttrs>().kind;
  return kind == ir::ReduceKind::kMean || kind == ir::ReduceKind::kMax || kind == ir::ReduceKind::kMin;
}

constexpr float kLargestBFloat16 = 0x1.FEp127f;

constexpr Rules kGpu = {true, ir::DType::kFloat16, 65504.0f, leads_on_gpu, follows_on_gpu, is_first_layer};
constexpr Rules kGpuInBFloat16 = {true,         ir::DType::kBFloat16, kLargestBFloat16,
                                  leads_on_gpu, follows_on_gpu,       is_first_layer};

// ---- A CPU: dot products of pairs. Kernels want weights that are packed once, in one or two spatial dims, or on the
// tile registers of AMX in three; a depthwise convolution is bound by what it reads and only follows.
bool is_depthwise_conv(const ir::Graph& graph, const ir::Node& node) {
  const ir::Shape& w = graph.value(node.inputs[1]).shape;
  const int64_t groups = node.get<ir::ConvAttrs>().groups;
  return groups > 1 && w.has_rank() && w.rank() > 1 && w.dim(-2).is_known() && w.dim(-2).value() == 1;
}

bool is_volume(const ir::Node& node) {
  return node.op == ir::Op::kConv && node.get<ir::ConvAttrs>().strides.size() > 2;
}

bool has_cpu_kernel(const ir::Graph& graph, const ir::Node& node) {
  const ir::Value& weights = graph.value(node.inputs[1]);
  if (!weights.is_constant() || !is_volume(node)) return weights.is_constant();
  return node.get<ir::ConvAttrs>().groups == 1 && weights.shape.is_static() &&
         weights.shape.dim(0).value() <= backends::kMostDepthTaps;
}

bool has_transposed_kernel(const ir::Graph& graph, const ir::Node& node) {
  const auto& attrs = node.get<ir::ConvTransposeAttrs>();
  return attrs.strides.size() <= 2 && graph.value(node.inputs[1]).is_constant() &&
         std::all_of(attrs.dilations.begin(), attrs.dilations.end(), [](int64_t d) { return d == 1; });
}

bool leads_on_cpu(const ir::Graph& graph, const ir::Node& node) {
  if (node.op == ir::Op::kMatMul) return true;
  if (node.op == ir::Op::kConvTranspose) return has_transposed_kernel(graph, node);
  return node.op == ir::Op::kConv && has_cpu_kernel(graph, node) && !is_depthwise_conv(graph, node);
}

// Whether products are all that read the value, if need be through views.
bool is_for_products(const ir::Graph& graph, ir::ValueId value) {
  const std::vector<ir::NodeId> readers = graph.consumers()[value];
  return !graph.is_output(value) && !readers.empty() && std::all_of(readers.begin(), readers.end(), [&](ir::NodeId id) {
    const ir::Node& reader = graph.node(id);
    if (reader.inputs[0] != value) return false;
    return ir::is_view_op(reader.op) ? is_for_products(graph, reader.outputs[0]) : leads_on_cpu(graph, reader);
  });
}

// A mean over pixels whose readers round it in any case.
bool is_mean_before_products(const ir::Graph& graph, const ir::Node& node) {
  if (node.op != ir::Op::kReduce || node.get<ir::ReduceAttrs>().kind != ir::ReduceKind::kMean) return false;
  const ir::Shape& x = graph.value(node.inputs[0]).shape;
  const auto& axes = node.get<ir::ReduceAttrs>().axes;
  if (!x.has_rank() || x.rank() < 2 || std::find(axes.begin(), axes.end(), x.rank() - 1) != axes.end()) return false;
  if (!x.dim(-1).is_known() || x.dim(-1).value() < 2) return false;
  return is_for_products(graph, node.outputs[0]);
}

bool follows_on_cpu(const ir::Graph& graph, const ir::Node& node);

// Where no reader takes part, a view behind a product would only have it rounded: the product writes float32 itself.
bool leads_to_narrow(const ir::Graph& graph, const ir::Node& view) {
  const std::vector<ir::NodeId> readers = graph.consumers()[view.outputs[0]];
  return std::any_of(readers.begin(), readers.end(), [&](ir::NodeId id) {
    return leads_on_cpu(graph, graph.node(id)) || follows_on_cpu(graph, graph.node(id));
  });
}

bool follows_on_cpu(const ir::Graph& graph, const ir::Node& node) {
  if (node.op == ir::Op::kConv) return has_cpu_kernel(graph, node) && is_depthwise_conv(graph, node);
  if (node.op == ir::Op::kAttention) return true;
  if (ir::is_view_op(node.op)) return leads_to_narrow(graph, node);
  return moves_or_folds(node) || resizes_to_float32(node) || is_mean_before_products(graph, node);
}

bool reads_images_on_cpu(const ir::Graph& graph, const ir::Node& node) {
  return is_first_layer(graph, node) && graph.value(node.inputs[1]).shape.dim(1).value() > 1;
}

constexpr Rules kCpu = {false,        ir::DType::kBFloat16, kLargestBFloat16,
                        leads_on_cpu, follows_on_cpu,       reads_images_on_cpu};

class MixedPrecision {
 public:
  MixedPrecision(ir::Graph& graph, const PassOptions& options, const Rules& rules)
      : graph_(graph), options_(options), rules_(rules) {}

  Result<PassResult> run() {
    BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph_.topological_order());
    for (ir::NodeId id : order) {
      if (!is_on_host(graph_.node(id)) && takes_part(graph_.node(id))) convert(id);
    }
    graph_.remove_dead_nodes();
    result_.changes = static_cast<int>(converted_);
    return std::move(result_);
  }

 private:
  // On a GPU what waits for a size that only the run finds, or for a loop, runs on the host: in float32.
  bool is_on_host(const ir::Node& node) {
    if (!rules_.on_gpu) return false;
    const bool late =
        std::holds_alternative<ir::SubGraphsAttrs>(node.attrs) ||
        std::any_of(node.inputs.begin(), node.inputs.end(), [&](ir::ValueId v) { return late_.contains(v); });
    bool any = false;
    for (size_t o = 0; o < node.outputs.size(); ++o) {
      if (!late && !ir::finds_size_of(node, static_cast<int>(o))) continue;
      late_.insert(node.outputs[o]);
      any = late;
    }
    return any;
  }

  bool is_float(ir::ValueId id) const { return graph_.value(id).dtype == ir::DType::kFloat32; }
  bool is_half(ir::ValueId id) const { return half_.contains(id); }

  // The first inputs that carry data; the rest are shapes, bounds and epilogue operands.
  size_t data_inputs(const ir::Node& node) const {
    switch (node.op) {
      case ir::Op::kConv:
      case ir::Op::kConvTranspose:
      case ir::Op::kMatMul:
        return 2;
      case ir::Op::kAttention:
        return 3;
      case ir::Op::kPointwise:
      case ir::Op::kConcat:
      case ir::Op::kPack:
        return node.inputs.size();
      default:
        return 1;
    }
  }

  bool is_kept(const ir::Node& node) const {
    if (!rules_.on_gpu && !options_.has_tiles && is_volume(node)) return true;
    return std::find(options_.keep_float32.begin(), options_.keep_float32.end(), node.name) !=
           options_.keep_float32.end();
  }

  // Whether a product that reads the value, if need be through views, stays float32.
  bool is_for_kept(ir::ValueId value) const {
    const std::vector<ir::NodeId> readers = graph_.consumers()[value];
    return std::any_of(readers.begin(), readers.end(), [&](ir::NodeId id) {
      const ir::Node& reader = graph_.node(id);
      if (ir::is_view_op(reader.op)) return is_for_kept(reader.outputs[0]);
      return is_kept(reader) || (reader.inputs.size() > 1 && !fits(reader.inputs[1]));
    });
  }

  bool takes_part(const ir::Node& node) {
    if (is_kept(node)) {
      result_.notes.push_back("node '" + node.name + "' stays float32 as decided");
      return false;
    }
    for (ir::ValueId output : node.outputs) {
      if (!is_float(output)) return false;
    }
    const size_t data = std::min(data_inputs(node), node.inputs.size());
    for (size_t i = 0; i < data; ++i) {
      if (!is_float(node.inputs[i])) return false;
      if (!fits(node.inputs[i])) {
        result_.notes.push_back("node '" + node.name + "' stays float32: a constant exceeds " +
                                ir::dtype_name(rules_.narrow));
        return false;
      }
    }
    if (rules_.leads(graph_, node)) return true;
    if (!rules_.follows(graph_, node)) return false;
    if (!rules_.on_gpu && node.op == ir::Op::kReduce && is_for_kept(node.outputs[0])) return false;
    const auto narrow = std::count_if(node.inputs.begin(), node.inputs.begin() + static_cast<ptrdiff_t>(data),
                                      [&](ir::ValueId id) { return is_half(id); });
    // Keys and values that come from elsewhere (of earlier steps) may be most of what attention reads.
    return node.op == ir::Op::kAttention ? narrow == static_cast<ptrdiff_t>(data) : narrow > 0;
  }

  // Of an input that only one node reads the cast costs nothing on a GPU: it is done while the input is copied there.
  bool is_cast_in_copy(ir::ValueId id) const {
    const auto& inputs = graph_.inputs();
    return rules_.on_gpu && std::find(inputs.begin(), inputs.end(), id) != inputs.end() &&
           graph_.consumers()[id].size() == 1 && !graph_.is_output(id);
  }

  bool fits(ir::ValueId id) const {
    const ir::TensorPtr& constant = graph_.value(id).constant;
    if (constant == nullptr || constant->dtype != ir::DType::kFloat32) return true;
    for (int64_t i = 0; i < constant->element_count(); ++i) {
      if (std::fabs(float_at(*constant, static_cast<size_t>(i))) > rules_.largest) return false;
    }
    return true;
  }

  void convert(ir::NodeId id) {
    const size_t data = data_inputs(graph_.node(id));
    const bool is_matrix = ir::multiplies_matrices(graph_.node(id).op);
    std::vector<ir::ValueId> inputs = graph_.node(id).inputs;
    for (size_t i = 0; i < inputs.size(); ++i) {
      // Constant operands of an epilogue (biases) keep their precision: kernels add them in float32. So do masks, whose
      // numbers may be too large for float16.
      const bool bias = i >= data && is_matrix && graph_.value(inputs[i]).is_constant();
      const bool mask = i >= data && graph_.node(id).op == ir::Op::kAttention;
      const bool parameter = i >= data && graph_.node(id).op == ir::Op::kLayerNorm;
      const bool image =
          i == 0 && !is_half(inputs[0]) && rules_.reads_images(graph_, graph_.node(id)) && !is_cast_in_copy(inputs[0]);
      if (!is_float(inputs[i]) || bias || mask || parameter || image) continue;
      if (i == 1 && is_matrix && graph_.value(inputs[i]).is_constant()) round_weights(graph_.node(id));
      inputs[i] = as_half(inputs[i]);
    }
    graph_.node(id).inputs = std::move(inputs);
    ++converted_;
    if (resizes_to_float32(graph_.node(id))) {
      as_half(graph_.node(id).outputs[0]);
      return;
    }
    // Readers keep reading the float32 name of the result, which is now a cast of the narrow one; those that take part
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
      graph_.value(output).dtype = rules_.narrow;
      half_[wide] = output;
    }
  }

  // The narrow form of a float32 value.
  ir::ValueId as_half(ir::ValueId id) {
    if (const auto found = half_.find(id); found != half_.end()) return found->second;
    ir::ValueId narrow = ir::kNone;
    if (graph_.value(id).is_constant()) {
      const ir::TensorPtr constant =
          rules_.narrow == ir::DType::kFloat16 ? rounded<Float16>(id) : rounded<BFloat16>(id);
      narrow = graph_.add_constant(constant, graph_.value(id).name);
    } else {
      const ir::Shape shape = graph_.value(id).shape;
      ir::Node& cast = graph_.add_node(ir::Op::kCast, graph_.unique_name(ir::dtype_name(rules_.narrow)), {id}, 1,
                                       ir::CastAttrs{rules_.narrow});
      narrow = cast.outputs[0];
      graph_.value(narrow).dtype = rules_.narrow;
      graph_.value(narrow).shape = shape;
    }
    half_[id] = narrow;
    return narrow;
  }

  // bfloat16 keeps so little of weights that it matters how their errors add up.
  void round_weights(const ir::Node& node) {
    const ir::ValueId id = node.inputs[1];
    const ir::Tensor& weights = *graph_.value(id).constant;
    if (rules_.narrow != ir::DType::kBFloat16 || weights.dims.size() < 2 || is_half(id)) return;
    WeightDims dims;
    dims.taps = node.op == ir::Op::kConv;
    dims.transposed =
        node.op == ir::Op::kConvTranspose || (node.op == ir::Op::kMatMul && node.get<ir::MatMulAttrs>().transpose_b);
    const InputMoments* moments = nullptr;
    if (options_.input_moments != nullptr) {
      const auto found = options_.input_moments->find(node.name);
      if (found != options_.input_moments->end()) moments = &found->second;
    }
    const ir::TensorPtr rounded = round_balanced(weights, dims, moments);
    half_[id] = graph_.add_constant(rounded, graph_.value(id).name);
  }

  template <class T>
  ir::TensorPtr rounded(ir::ValueId id) const {
    const ir::Tensor& constant = *graph_.value(id).constant;
    std::vector<T> values(static_cast<size_t>(constant.element_count()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = T(float_at(constant, i));
    return ir::make_tensor<T>(rules_.narrow, graph_.value(id).constant->dims, std::span<const T>(values));
  }

  ir::Graph& graph_;
  const PassOptions& options_;
  const Rules& rules_;
  PassResult result_;
  std::map<ir::ValueId, ir::ValueId> half_;  // float32 value -> its narrow form
  std::set<ir::ValueId> late_;               // what a host that waits for data makes
  int converted_ = 0;
};

}  // namespace

Result<PassResult> mixed_precision_gpu(ir::Graph& graph, const PassOptions& options) {
  const Rules& rules = options.narrow_type == kGpu.narrow ? kGpu : kGpuInBFloat16;
  if (!options.on_device || options.narrow_type != rules.narrow) return PassResult();
  return MixedPrecision(graph, options, rules).run();
}

Result<PassResult> mixed_precision_cpu(ir::Graph& graph, const PassOptions& options) {
  if (options.on_device || options.narrow_type != kCpu.narrow) return PassResult();
  return MixedPrecision(graph, options, kCpu).run();
}

}  // namespace blade::passes
