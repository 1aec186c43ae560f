// Builds the functions of one region: the engine, its original nodes, and the call of these.
#include "frontends/tensorflow/region_functions.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/checksum.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {
namespace {

class OriginalFunction {
 public:
  OriginalFunction(const ImportedModel& model, const NodeIndex& index, const RegionToWrite& region,
                   const std::vector<char>& movable)
      : model_(model), index_(index), region_(region), movable_(movable) {}

  Result<RegionFunctions> build(const RegionFunctionNames& names) {
    choose_prefix();
    for (const BoundaryTensor& input : region_.inputs) add_arg(input.name, from_ir(input.dtype));
    BLADE_RETURN_IF_ERROR(collect_body());
    RegionFunctions out;
    out.extra_inputs = extra_;
    for (int node = 0; node < index_.size(); ++node) {
      if (in_body_[node] && movable_[node]) out.moved.push_back(node);
    }
    out.beside = held_for(out.moved);
    out.input_types = {DataType::kUint8};
    out.input_types.insert(out.input_types.end(), arg_types_.begin(), arg_types_.end());
    for (const BoundaryTensor& output : region_.outputs) out.output_types.push_back(from_ir(output.dtype));
    BLADE_ASSIGN_OR_RETURN(out.original, original(out, names.original));
    out.graph = graph(out, names);
    out.session = session(out, names);
    out.fallback = fallback(out, names);
    out.engine = engine(out, names.engine);
    return out;
  }

 private:
  const NodeDef& node_at(int node) const { return model_.source->nodes[node]; }

  // Arguments and nodes of a function share one space of names.
  void choose_prefix() {
    auto taken = [&] {
      return std::any_of(model_.source->nodes.begin(), model_.source->nodes.end(),
                         [&](const NodeDef& node) { return node->name.starts_with(prefix_); });
    };
    while (taken()) prefix_ += "x_";
  }

  void add_arg(const std::string& tensor, DataType type) {
    args_.emplace(tensor, prefix_ + "in_" + std::to_string(args_.size()));
    arg_types_.push_back(type);
  }

  // Everything that the outputs need, back to the region's inputs.
  Status collect_body() {
    in_body_.assign(index_.size(), 0);
    in_group_.assign(index_.size(), 0);
    for (const auto& [main, members] : model_.groups) {
      for (int32_t member : members) in_group_[member] = 1;
    }
    std::vector<int> pending;
    auto need = [&](const TensorRef& ref) -> Status {
      std::string name = tensor_name(node_at(ref.node), ref.port);
      if (args_.contains(name) || in_body_[ref.node]) return Status();
      const NodeDef& node = node_at(ref.node);
      const bool outside = model_.foreign[ref.node] && !movable_[ref.node] && stored(ref.node) == nullptr;
      if (outside || node->op.starts_with("Placeholder")) return add_extra(name, ref);
      in_body_[ref.node] = 1;
      pending.push_back(ref.node);
      return Status();
    };
    for (const BoundaryTensor& output : region_.outputs) {
      BLADE_ASSIGN_OR_RETURN(TensorRef ref, index_.find_tensor(model_.source, output.name, "region output", {}));
      outputs_.push_back(ref);
      BLADE_RETURN_IF_ERROR(need(ref));
    }
    while (!pending.empty()) {
      int node = pending.back();
      pending.pop_back();
      for (const TensorRef& ref : index_.inputs(node)) BLADE_RETURN_IF_ERROR(need(ref));
      for (int producer : group_controls(node)) BLADE_RETURN_IF_ERROR(need({producer, 0}));
    }
    return Status();
  }

  // `nodes` and what they need in the body, up to the region's nodes.
  std::vector<int> held_for(const std::vector<int>& nodes) const {
    std::vector<int> out = nodes;
    for (size_t i = 0; i < out.size(); ++i) {
      for (const auto& [node, port] : index_.inputs(out[i])) {
        const bool held = in_body_[node] && !args_.contains(tensor_name(node_at(node), port));
        if (held && std::ranges::find(region_.origins, node) == region_.origins.end() &&
            std::ranges::find(out, node) == out.end()) {
          out.push_back(node);
        }
      }
    }
    return out;
  }

  // In a frame or a branch a control edge says where a node without inputs belongs.
  std::vector<int> group_controls(int node) const {
    std::vector<int> out;
    if (!in_group_[node]) return out;
    for (int producer : index_.control_inputs(node)) {
      if (in_group_[producer]) out.push_back(producer);
    }
    return out;
  }

  Status add_extra(const std::string& name, const TensorRef& ref) {
    const NodeDef& node = node_at(ref.node);
    DataType type = DataType::kInvalid;
    if (node->op.starts_with("Placeholder")) {
      BLADE_ASSIGN_OR_RETURN(type, type_attr(node, "dtype"));
    } else if (const OpSpec* spec = find_op(node->op)) {
      BLADE_ASSIGN_OR_RETURN(auto types, tensor_types(spec->outputs, node));
      if (ref.port < static_cast<int>(types.size())) type = types[ref.port];
    }
    if (const auto known = model_.known_types.find(name); known != model_.known_types.end()) type = known->second;
    if (type == DataType::kInvalid) {
      return internal_error("a region's original nodes need '" + name + "', whose type is not known");
    }
    extra_.push_back(name);
    add_arg(name, type);
    return Status();
  }

  const StoredConstant* stored(int node) const {
    if (in_group_[node]) return nullptr;  // would read the engine from outside its frame
    for (const StoredConstant& weight : region_.weights) {
      if (weight.origin == node) return &weight;
    }
    return nullptr;
  }

  // A tensor as the function's nodes call it.
  Result<std::string> text(const TensorRef& ref) const {
    const NodeDef& node = node_at(ref.node);
    if (auto arg = args_.find(tensor_name(node, ref.port)); arg != args_.end()) return arg->second;
    if (stored(ref.node) != nullptr) return node->name + ":weight:0";
    if (node->op == "Const") return node->name + ":output:0";
    const OpSpec* spec = find_op(node->op);
    if (spec == nullptr)
      return internal_error("node '" + node->name + "' (" + node->op + ") of a region is of no known op");
    BLADE_ASSIGN_OR_RETURN(std::string output, output_name(*spec, node, ref.port));
    return node->name + ":" + output;
  }

  Result<NodeDef> stored_weight(int node, const StoredConstant& weight) const {
    const NodeDef& source = node_at(node);
    BLADE_ASSIGN_OR_RETURN(TensorProto proto, tensor_attr(source, "value"));
    BLADE_ASSIGN_OR_RETURN(DataType type, proto.dtype());
    BLADE_ASSIGN_OR_RETURN(TensorShapeProto shape, proto.shape());
    uint64_t bytes = data_type_size(type);
    for (int64_t d : shape.dims) bytes *= static_cast<uint64_t>(d);
    if (bytes != weight.bytes || weight.offset > region_.engine.size() ||
        weight.bytes > region_.engine.size() - weight.offset) {
      return internal_error("the weight '" + source->name + "' of " + std::to_string(bytes) +
                            " bytes does not lie in the engine where it is said to");
    }
    NodeFields fields;
    fields.name = source->name;
    fields.op = "BladeStoredWeight";
    fields.device = source->device;
    fields.inputs = {prefix_ + "engine"};
    fields.attrs.emplace("offset", AttrValue::of_int(static_cast<int64_t>(weight.offset)));
    fields.attrs.emplace("dims", AttrValue::of_ints(shape.dims));
    const auto* data = reinterpret_cast<const std::byte*>(region_.engine.data()) + weight.offset;
    fields.attrs.emplace("checksum", AttrValue::of_int(static_cast<int64_t>(checksum({data, weight.bytes}))));
    fields.attrs.emplace("dtype", AttrValue::of_type(type));
    return NodeDef(std::move(fields));
  }

  Result<NodeDef> body_node(int node) const {
    if (const StoredConstant* weight = stored(node)) return stored_weight(node, *weight);
    NodeDef out = node_at(node);
    // TensorFlow passes over an attribute without a value in a graph, but not in a function.
    auto is_empty = [](const auto& attr) { return attr.second.kind() == AttrValue::Kind::kNone; };
    bool has_empty = std::any_of(out->attrs.begin(), out->attrs.end(), is_empty);
    if (out->inputs.empty() && out->find_attr("_class") == nullptr && !has_empty) return out;
    NodeFields& fields = out.edit();
    fields.inputs.clear();  // what it waited for, StatelessIf waits for
    fields.attrs.erase("_class");
    std::erase_if(fields.attrs, is_empty);
    for (const TensorRef& ref : index_.inputs(node)) {
      BLADE_ASSIGN_OR_RETURN(std::string input, text(ref));
      fields.inputs.push_back(std::move(input));
    }
    for (int producer : group_controls(node)) fields.inputs.push_back("^" + node_at(producer)->name);
    return out;
  }

  OpDef signature(const RegionFunctions& types, const std::string& name) const {
    OpDef out;
    out.name = name;
    auto arg = [&](std::string arg_name, DataType type) {
      ArgDef def;
      def.name = prefix_ + arg_name;
      def.type = type;
      return def;
    };
    out.input_args.push_back(arg("engine", DataType::kUint8));
    for (size_t i = 1; i < types.input_types.size(); ++i) {
      out.input_args.push_back(arg("in_" + std::to_string(i - 1), types.input_types[i]));
    }
    for (size_t i = 0; i < types.output_types.size(); ++i) {
      out.output_args.push_back(arg("out_" + std::to_string(i), types.output_types[i]));
    }
    return out;
  }

  Result<FunctionDef> original(const RegionFunctions& types, const std::string& name) const {
    FunctionFields fields;
    fields.signature = signature(types, name);
    // Inlined, every node of it would pass on in each run of the engine that it is not needed.
    fields.attrs.emplace("_noinline", AttrValue::of_bool(true));
    for (size_t i = 0; i < region_.inputs.size(); ++i) {
      AttrMap known = {{"_output_shapes", AttrValue::of_shapes({shape_proto(region_.inputs[i].shape)})}};
      fields.arg_attrs.emplace(static_cast<uint32_t>(i + 1), std::move(known));
    }
    for (int node = 0; node < index_.size(); ++node) {
      if (!in_body_[node]) continue;
      BLADE_ASSIGN_OR_RETURN(NodeDef def, body_node(node));
      fields.nodes.push_back(std::move(def));
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      BLADE_ASSIGN_OR_RETURN(std::string tensor, text(outputs_[i]));
      fields.ret.emplace(prefix_ + "out_" + std::to_string(i), std::move(tensor));
    }
    return FunctionDef(std::move(fields));
  }

  // A function of one node that takes, after the inputs that it has, the first `num_args` arguments and gives all
  // results.
  FunctionDef of_one_node(const RegionFunctions& types, const std::string& name, NodeFields node, size_t num_args,
                          const std::string& output) const {
    FunctionFields fields;
    fields.signature = signature(types, name);
    for (size_t i = 0; i < num_args; ++i) node.inputs.push_back(fields.signature.input_args[i].name);
    for (size_t i = 0; i < types.output_types.size(); ++i) {
      fields.ret.emplace(fields.signature.output_args[i].name, node.name + ":" + output + ":" + std::to_string(i));
    }
    fields.nodes.emplace_back(std::move(node));
    return FunctionDef(std::move(fields));
  }

  FunctionDef session(const RegionFunctions& types, const RegionFunctionNames& names) const {
    NodeFields node;
    node.name = prefix_ + "run";
    node.op = "BladeOriginal";
    node.attrs.emplace("original", AttrValue::of_func(names.original));
    node.attrs.emplace("Tin", AttrValue::of_types({types.input_types.begin() + 1, types.input_types.end()}));
    node.attrs.emplace("Tout", AttrValue::of_types(types.output_types));
    return of_one_node(types, names.session, std::move(node), types.input_types.size(), "outputs");
  }

  // TensorFlow rewrites a function for oneDNN only if it is called by this op.
  FunctionDef graph(const RegionFunctions& types, const RegionFunctionNames& names) const {
    NodeFields node;
    node.name = prefix_ + "call";
    node.op = "PartitionedCall";
    node.attrs.emplace("f", AttrValue::of_func(names.original));
    node.attrs.emplace("Tin", AttrValue::of_types(types.input_types));
    node.attrs.emplace("Tout", AttrValue::of_types(types.output_types));
    return of_one_node(types, names.graph, std::move(node), types.input_types.size(), "output");
  }

  FunctionDef fallback(const RegionFunctions& types, const RegionFunctionNames& names) const {
    NodeFields ready;
    ready.name = prefix_ + "ready";
    ready.op = "BladeOriginalReady";
    ready.inputs = {prefix_ + "engine"};
    ready.attrs.emplace("original", AttrValue::of_func(names.original));
    NodeFields node;
    node.name = prefix_ + "run";
    node.op = "StatelessIf";
    node.inputs = {ready.name + ":ready:0"};
    node.attrs.emplace("Tcond", AttrValue::of_type(DataType::kBool));
    node.attrs.emplace("Tin", AttrValue::of_types(types.input_types));
    node.attrs.emplace("Tout", AttrValue::of_types(types.output_types));
    node.attrs.emplace("then_branch", AttrValue::of_func(names.session));
    node.attrs.emplace("else_branch", AttrValue::of_func(names.graph));
    node.attrs.emplace("_lower_using_switch_merge", AttrValue::of_bool(true));
    FunctionDef out = of_one_node(types, names.fallback, std::move(node), types.input_types.size(), "output");
    out.edit().nodes.insert(out.edit().nodes.begin(), NodeDef(std::move(ready)));
    return out;
  }

  FunctionDef engine(const RegionFunctions& types, const std::string& name) const {
    NodeFields node;
    node.name = prefix_ + "run";
    node.op = "BladeEngine";
    const size_t num_args = 1 + region_.inputs.size();
    node.attrs.emplace("Tin",
                       AttrValue::of_types({types.input_types.begin() + 1, types.input_types.begin() + num_args}));
    node.attrs.emplace("Tout", AttrValue::of_types(types.output_types));
    return of_one_node(types, name, std::move(node), num_args, "outputs");
  }

  const ImportedModel& model_;
  const NodeIndex& index_;
  const RegionToWrite& region_;
  const std::vector<char>& movable_;
  std::string prefix_ = "blade_";
  std::unordered_map<std::string, std::string> args_;  // tensor -> argument
  std::vector<DataType> arg_types_;
  std::vector<std::string> extra_;
  std::vector<char> in_body_;
  std::vector<char> in_group_;  // nodes of loops and conditionals that the region holds as one
  std::vector<TensorRef> outputs_;
};

}  // namespace

bool waits_for_region(int node, size_t r, const NodeIndex& index, std::span<const RegionToWrite> regions,
                      std::span<const RegionFunctions> functions) {
  std::vector<int> region_of(index.size(), -1);
  for (size_t q = 0; q < regions.size(); ++q) {
    for (const int32_t origin : regions[q].origins) region_of[origin] = static_cast<int>(q);
  }
  std::vector<char> seen(index.size(), 0), reached(regions.size(), 0);
  std::vector<int> pending;
  const auto reach = [&](int before) {
    if (!std::exchange(seen[before], 1)) pending.push_back(before);
  };
  for (reach(node); !pending.empty();) {
    const int at = pending.back(), q = region_of[at];
    pending.pop_back();
    if (q == static_cast<int>(r)) return true;
    for (const TensorRef& ref : index.inputs(at)) reach(ref.node);
    for (const int before : index.control_inputs(at)) reach(before);
    if (q < 0 || std::exchange(reached[q], 1)) continue;
    for (const int32_t origin : regions[q].origins) reach(origin);
    for (const int beside : functions[q].beside) reach(beside);
  }
  return false;
}

std::string short_name(const std::string& tensor) {
  return tensor.ends_with(":0") ? tensor.substr(0, tensor.size() - 2) : tensor;
}

TensorShapeProto shape_proto(const ir::Shape& shape) {
  TensorShapeProto out;
  out.unknown_rank = !shape.has_rank();
  for (ir::Dim d : shape.dims()) out.dims.push_back(d.is_known() ? d.value() : -1);
  return out;
}

Result<RegionFunctions> make_region_functions(const ImportedModel& model, const NodeIndex& index,
                                              const RegionToWrite& region, const std::vector<char>& movable,
                                              const RegionFunctionNames& names) {
  return OriginalFunction(model, index, region, movable).build(names);
}

}  // namespace blade::tensorflow
