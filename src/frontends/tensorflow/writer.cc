// Decides which nodes the optimized graph needs, working back from its outputs, and writes them.
#include "frontends/tensorflow/writer.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/checksum.h"
#include "frontends/tensorflow/new_nodes.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/op_table.h"
#include "frontends/tensorflow/region_functions.h"
#include "frontends/tensorflow/used_functions.h"
#include "ir/watchers.h"

namespace blade::tensorflow {
namespace {

bool passes_through(const NodeDef& node) {
  static constexpr const char* kOps[] = {"Identity",      "StopGradient",    "PreventGradient", "Snapshot",
                                         "CheckNumerics", "CheckNumericsV2", "EnsureShape"};
  return is_one_of(node, kOps);
}

constexpr const char* kRegionNodes[] = {"blade/engine_", "blade/in_profile_", "blade/region_"};

class Writer {
 public:
  Writer(const ImportedModel& model, const ir::Graph& graph, std::span<const RegionToWrite> regions)
      : model_(model), graph_(graph), regions_(regions.begin(), regions.end()) {}

  Result<GraphDef> run() {
    BLADE_ASSIGN_OR_RETURN(index_, NodeIndex::build(model_.source));
    BLADE_RETURN_IF_ERROR(prepare());
    do {
      BLADE_RETURN_IF_ERROR(plan());
    } while (leave_shared_outside());
    return assemble();
  }

 private:
  struct Plan {
    bool original = false;  // the NodeDef itself, with `inputs`
    std::vector<std::string> inputs;
    std::set<int> repeated;  // ports that a region gives
    std::string alias;       // an Identity of this tensor
    ir::ValueId folded = ir::kNone;
  };

  const NodeDef& node_at(int node) const { return model_.source->nodes[node]; }

  Status plan() {
    plans_.assign(index_.size(), {});
    region_used_.assign(regions_.size(), 0);
    region_controls_.clear();
    BLADE_RETURN_IF_ERROR(make_functions());
    for (const std::string& input : model_.inputs) {
      int node = index_.find(parse_input(input).node);
      if (node_at(node)->op.starts_with("Placeholder")) keep(node);
    }
    for (int node = 0; node < index_.size(); ++node) {
      if (index_.is_unread_placeholder(model_.source, node)) keep(node);
    }
    keep_defaults();
    for (size_t i = 0; i < model_.outputs.size(); ++i) BLADE_RETURN_IF_ERROR(demand_output(i));
    BLADE_RETURN_IF_ERROR(visit_pending());
    keep_initializers();
    return visit_pending();
  }

  Status prepare() {
    live_.assign(index_.size(), 0);
    foreign_node_.assign(index_.size(), ir::kNone);
    staying_ = model_.foreign;
    has_foreign_ = std::any_of(model_.foreign.begin(), model_.foreign.end(), [](char stays) { return stays != 0; });
    for (ir::NodeId id = 0; id < graph_.num_node_slots(); ++id) {
      if (!graph_.is_live(id)) continue;
      const ir::Node& node = graph_.node(id);
      if (node.origin < 0 || node.origin >= index_.size()) continue;
      live_[node.origin] = 1;
      if (node.op == ir::Op::kForeign) foreign_node_[node.origin] = id;
    }
    // Nobody waits for checks that were stripped: what they look at would be computed in TensorFlow as well.
    for (int node = 0; node < index_.size(); ++node) {
      if (!live_[node] && ir::only_watches(node_at(node)->op)) staying_[node] = 0;
    }
    for (ir::ValueId id = 0; id < graph_.num_values(); ++id) {
      const ir::Value& value = graph_.value(id);
      if (value.is_constant() && !value.name.empty()) constants_.emplace(value.name, id);
    }
    find_readers_of_assumptions();
    forget_shapes_of_assumed_ranks();
    int number = 0;
    for (size_t r = 0; r < regions_.size(); ++r) {
      while (taken(number)) ++number;
      numbers_.push_back(number++);
      const RegionToWrite& region = regions_[r];
      for (size_t i = 0; i < region.outputs.size(); ++i) made_by_.emplace(region.outputs[i].name, std::pair(r, i));
    }
    movable_.assign(index_.size(), 0);
    for (int node = 0; node < index_.size(); ++node) {
      movable_[node] = model_.foreign[node] && foreign_node_[node] == ir::kNone && is_random(node_at(node));
    }
    return Status();
  }

  // Random numbers that no node needs after the passes (of a dropout that drops nothing) are the original's own:
  // outside it, TensorFlow would compute them, and the shapes that they are asked for in, beside every run of the
  // engine. Where two regions, or others beside one, need the same numbers, they stay outside.
  Status make_functions() {
    for (bool shared = true; std::exchange(shared, false);) {
      functions_.clear();
      std::set<int> moved;
      for (size_t r = 0; r < regions_.size(); ++r) {
        BLADE_ASSIGN_OR_RETURN(functions_.emplace_back(),
                               make_region_functions(model_, index_, regions_[r], movable_,
                                                     {function_name("engine", r), function_name("fallback", r),
                                                      function_name("session", r), function_name("graph", r),
                                                      function_name("original", r)}));
        for (const int node : functions_[r].moved) {
          if (moved.insert(node).second) continue;
          movable_[node] = 0;
          shared = true;
        }
      }
    }
    return Status();
  }

  // Whether nodes outside need random numbers that a region's function was given, which then have to be outside.
  bool leave_shared_outside() {
    bool shared = false;
    for (const RegionFunctions& functions : functions_) {
      for (const int node : functions.moved) {
        if (!plans_[node].original) continue;
        movable_[node] = 0;
        shared = true;
      }
    }
    return shared;
  }

  // A value that is fed instead of a default, and one of another rank than was assumed, has to reach whatever stays in
  // TensorFlow.
  void find_readers_of_assumptions() {
    std::vector<char> has_rank(index_.size(), 0);
    for (const auto& [tensor, assumed] : model_.ranks) has_rank[index_.find(parse_input(tensor).node)] = 1;
    reads_rank_.assign(index_.size(), 0);
    reads_assumed_.assign(index_.size(), 0);
    for (int node : index_.order()) {
      const auto reads = [&](const std::vector<char>& marked) {
        return std::ranges::any_of(index_.inputs(node), [&](const TensorRef& ref) { return marked[ref.node] != 0; });
      };
      reads_rank_[node] = has_rank[node] || reads(reads_rank_);
      reads_assumed_[node] = reads_rank_[node] || has_default(node) || reads(reads_assumed_);
    }
  }

  // Where the original nodes run, the ranks are others.
  void forget_shapes_of_assumed_ranks() {
    for (RegionToWrite& region : regions_) {
      for (auto* tensors : {&region.inputs, &region.outputs}) {
        for (BoundaryTensor& tensor : *tensors) {
          const int node = index_.find(parse_input(tensor.name).node);
          if (node >= 0 && reads_rank_[node]) tensor.shape = ir::Shape::unknown();
        }
      }
    }
  }

  // Whoever feeds one names it, whether or not the outputs still read it.
  void keep_defaults() {
    std::vector<TensorRef> outputs;
    for (const std::string& name : model_.outputs) {
      const InputRef ref = parse_input(name);
      outputs.push_back({index_.find(ref.node), ref.index});
    }
    const std::vector<bool> needed = index_.ancestors(outputs, [](const TensorRef&) { return false; });
    for (int node = 0; node < index_.size(); ++node) {
      if (needed[node] && has_default(node)) keep(node);
    }
  }

  bool has_default(int node) const {
    if (model_.fixed.contains(node_at(node)->name)) return true;
    return node_at(node)->op == "PlaceholderWithDefault" &&
           std::none_of(model_.inputs.begin(), model_.inputs.end(),
                        [&](const std::string& input) { return index_.find(parse_input(input).node) == node; });
  }

  bool taken(int number) const {
    std::string suffix = std::to_string(number);
    return index_.find("blade/engine_" + suffix + "/piece_0") >= 0 ||
           std::any_of(std::begin(kRegionNodes), std::end(kRegionNodes),
                       [&](const char* name) { return index_.find(name + suffix) >= 0; });
  }

  // Functions of a process share one space of names: two models in one graph must not have different ones of one name.
  std::string function_name(const char* kind, size_t r) const {
    const SharedBytes& engine = regions_[r].engine;
    char content[17];
    std::snprintf(content, sizeof(content), "%016" PRIx64,
                  checksum({reinterpret_cast<const std::byte*>(engine.data()), engine.size()}));
    return "blade_" + std::string(kind) + "_" + std::to_string(numbers_[r]) + "_" + content;
  }

  // --- what is needed

  Status visit_pending() {
    while (!pending_.empty()) {
      int node = pending_.back();
      pending_.pop_back();
      BLADE_RETURN_IF_ERROR(visit(node));
    }
    return Status();
  }

  // What fills a lookup table that is still there, and the NoOps that users run for it ('init_all_tables').
  void keep_initializers() {
    std::vector<char> fills(index_.size(), 0);
    for (int node : index_.order()) {
      if (is_table_initializer(node_at(node))) {
        fills[node] = !index_.inputs(node).empty() && plans_[index_.inputs(node)[0].node].original;
      } else if (node_at(node)->op == "NoOp") {
        const auto& controls = index_.control_inputs(node);
        fills[node] = std::any_of(controls.begin(), controls.end(), [&](int before) { return fills[before] != 0; });
      }
      if (fills[node]) keep(node);
    }
  }

  void keep(int node) {
    if (plans_[node].original) return;
    plans_[node].original = true;
    pending_.push_back(node);
  }

  Status demand(const std::string& tensor) {
    InputRef ref = parse_input(tensor);
    int node = index_.find(ref.node);
    if (node < 0) return internal_error("the optimized graph needs '" + tensor + "', which the source does not have");
    if (auto made = made_by_.find(tensor); made != made_by_.end()) {
      plans_[node].repeated.insert(ref.index);
      return demand_region(made->second.first);
    }
    const OpSpec* spec = find_op(node_at(node)->op);
    auto constant = constants_.find(tensor);
    if (constant != constants_.end() && spec != nullptr && spec->outputs.size() == 1 && ref.index == 0 &&
        !live_[node] && !reads_assumed_[node]) {
      fold(node, constant->second);
      return Status();
    }
    keep(node);
    return Status();
  }

  // A constant in place of `node` waits for what the node waited for, or for what it was computed from: inside a loop
  // of TensorFlow 1 that is what says which frame a constant belongs to.
  void fold(int node, ir::ValueId constant) {
    if (std::exchange(plans_[node].folded, constant) != ir::kNone || !has_foreign_) return;
    std::set<int> controls;
    std::vector<int> pending = {node};
    for (std::set<int> seen = {node}; !pending.empty();) {
      const int at = pending.back();
      pending.pop_back();
      for (int producer : index_.controls_among(staying_, at)) controls.insert(producer);
      for (const TensorRef& ref : index_.inputs(at)) {
        if (seen.insert(ref.node).second) pending.push_back(ref.node);
      }
    }
    for (int producer : controls) {
      keep(producer);
      plans_[node].inputs.push_back("^" + node_at(producer)->name);
    }
  }

  Status demand_region(size_t r) {
    if (region_used_[r]) return Status();
    region_used_[r] = 1;
    for (const BoundaryTensor& input : regions_[r].inputs) BLADE_RETURN_IF_ERROR(demand(input.name));
    for (const std::string& input : functions_[r].extra_inputs) BLADE_RETURN_IF_ERROR(demand(input));
    for (const std::string& input : ranks_to_guard(regions_[r])) BLADE_RETURN_IF_ERROR(demand(input));
    std::set<int> controls;
    for (int32_t origin : regions_[r].origins) {
      for (int producer : index_.controls_among(staying_, origin)) controls.insert(producer);
    }
    for (int node : functions_[r].beside) {
      for (int producer : index_.controls_among(staying_, node)) {
        if (!waits_for_region(producer, r, index_, regions_, functions_)) controls.insert(producer);
      }
    }
    for (int producer : controls) {
      keep(producer);
      region_controls_[r].push_back(node_at(producer)->name);
    }
    return Status();
  }

  // The passes may have given an output another producer: then a node with the output's name repeats that.
  Status demand_output(size_t i) {
    const std::string& name = model_.outputs[i];
    const ir::Value& value = graph_.value(graph_.outputs()[i]);
    InputRef ref = parse_input(name);
    int node = index_.find(ref.node);
    bool moved = !value.name.empty() && value.name != name && !value.is_constant() && ref.index == 0 &&
                 !made_by_.contains(name) && index_.find(parse_input(value.name).node) >= 0 && !live_[node] &&
                 !reads_assumed_[node];
    if (!moved) return demand(name);
    plans_[node].alias = value.name;
    return demand(value.name);
  }

  // The tensor that input `ref` of `node` comes from after the passes.
  std::string source_of(int node, size_t input, const TensorRef& ref) const {
    std::string tensor = tensor_name(node_at(ref.node), ref.port);
    if (foreign_node_[node] != ir::kNone) {
      const ir::Node& now = graph_.node(foreign_node_[node]);
      if (now.inputs.size() != index_.inputs(node).size()) return tensor;  // closes a loop
      const ir::Value& value = graph_.value(now.inputs[input]);
      const bool known = !value.name.empty() && index_.find(parse_input(value.name).node) >= 0 &&
                         (value.name == tensor || !reads_assumed_[ref.node]);
      return known && !value.is_constant() ? value.name : tensor;
    }
    int producer = ref.node, port = ref.port;
    while (port == 0 && passes_through(node_at(producer)) && !live_[producer] && !model_.foreign[producer] &&
           !made_by_.contains(tensor_name(node_at(producer), 0))) {
      const TensorRef& before = index_.inputs(producer)[0];
      producer = before.node;
      port = before.port;
    }
    return tensor_name(node_at(producer), port);
  }

  Status visit(int node) {
    std::vector<std::string> inputs;
    const auto& refs = index_.inputs(node);
    for (size_t i = 0; i < refs.size(); ++i) {
      std::string tensor = source_of(node, i, refs[i]);
      BLADE_RETURN_IF_ERROR(demand(tensor));
      inputs.push_back(short_name(tensor));
    }
    for (int producer : index_.controls_among(staying_, node)) {
      keep(producer);
      inputs.push_back("^" + node_at(producer)->name);
    }
    plans_[node].inputs = std::move(inputs);
    return Status();
  }

  // --- writing

  // What the engine takes for the value of a placeholder that a run may feed: its default, or the one that is fixed.
  Result<std::string> assumed_value(int node, const std::string& guard) {
    const auto fixed = model_.fixed.find(node_at(node)->name);
    if (fixed == model_.fixed.end()) return plans_[node].inputs[0];
    std::string name = guard + "/" + std::to_string(node);
    BLADE_ASSIGN_OR_RETURN(nodes_.emplace_back(), dense_const(name, *fixed->second));
    return name;
  }

  // The inputs of assumed rank that the engine's profile says nothing of: it has one where all that the region reads
  // are inputs of the model.
  std::vector<std::string> ranks_to_guard(const RegionToWrite& region) const {
    const bool has_profile = std::ranges::all_of(region.inputs, [&](const BoundaryTensor& input) {
      return std::ranges::find(model_.inputs, input.name) != model_.inputs.end();
    });
    std::vector<std::string> tensors;
    for (const auto& [tensor, assumed] : model_.ranks) {
      const auto is_it = [&name = tensor](const BoundaryTensor& input) { return input.name == name; };
      if (!has_profile || std::ranges::none_of(region.inputs, is_it)) tensors.push_back(tensor);
    }
    return tensors;
  }

  // The engine knows such values only, so the guard compares what the placeholders give with those.
  Result<NodeDef> in_profile(const RegionToWrite& region, const RegionFunctions& functions, std::string name,
                             std::vector<std::string> inputs, std::vector<DataType> types) {
    std::vector<std::string> defaults;
    std::vector<DataType> default_types;
    for (size_t i = 0; i < functions.extra_inputs.size(); ++i) {
      const int node = index_.find(parse_input(functions.extra_inputs[i]).node);
      if (!has_default(node)) continue;
      inputs.push_back(short_name(functions.extra_inputs[i]));
      BLADE_ASSIGN_OR_RETURN(defaults.emplace_back(), assumed_value(node, name));
      default_types.push_back(functions.input_types[1 + types.size() + i]);
    }
    for (const std::string& tensor : ranks_to_guard(region)) {
      const AssumedRank& assumed = model_.ranks.at(tensor);
      inputs.push_back(name + "/rank_" + std::to_string(default_types.size()));
      defaults.push_back(inputs.back() + "_assumed");
      default_types.push_back(DataType::kInt32);
      nodes_.push_back(
          make_node(inputs.back(), "Rank", {short_name(tensor)}, {{"T", AttrValue::of_type(assumed.dtype)}}));
      const ir::TensorPtr rank = ir::make_tensor<int32_t>(ir::DType::kInt32, {}, std::span(&assumed.rank, 1));
      BLADE_ASSIGN_OR_RETURN(nodes_.emplace_back(), dense_const(defaults.back(), *rank));
    }
    inputs.insert(inputs.end(), defaults.begin(), defaults.end());
    AttrMap attrs = {{"Tin", AttrValue::of_types(std::move(types))}, {"fallback_counts", AttrValue::of_bool(true)}};
    if (!defaults.empty()) attrs.emplace("Tdefault", AttrValue::of_types(std::move(default_types)));
    return make_node(std::move(name), "BladeInProfile", std::move(inputs), std::move(attrs));
  }

  Status write_region(size_t r) {
    const RegionToWrite& region = regions_[r];
    const RegionFunctions& functions = functions_[r];
    std::string suffix = std::to_string(numbers_[r]), engine = "blade/engine_" + suffix;
    for (NodeDef& node : engine_nodes(region, engine)) nodes_.push_back(std::move(node));
    std::vector<std::string> inputs = {engine};
    for (const BoundaryTensor& input : region.inputs) inputs.push_back(short_name(input.name));
    std::vector<DataType> types(functions.input_types.begin() + 1,
                                functions.input_types.begin() + 1 + static_cast<std::ptrdiff_t>(region.inputs.size()));
    BLADE_ASSIGN_OR_RETURN(NodeDef guard, in_profile(region, functions, "blade/in_profile_" + suffix, inputs, types));
    nodes_.push_back(std::move(guard));

    inputs.insert(inputs.begin(), "blade/in_profile_" + suffix);
    for (const std::string& extra : functions.extra_inputs) inputs.push_back(short_name(extra));
    for (const std::string& control : region_controls_[r]) inputs.push_back("^" + control);
    std::vector<TensorShapeProto> shapes;
    for (const BoundaryTensor& output : region.outputs) shapes.push_back(shape_proto(output.shape));
    AttrMap attrs;
    attrs.emplace("Tcond", AttrValue::of_type(DataType::kBool));
    attrs.emplace("Tin", AttrValue::of_types(functions.input_types));
    attrs.emplace("Tout", AttrValue::of_types(functions.output_types));
    attrs.emplace("then_branch", AttrValue::of_func(functions.engine->signature.name));
    attrs.emplace("else_branch", AttrValue::of_func(functions.fallback->signature.name));
    attrs.emplace("output_shapes", AttrValue::of_shapes(std::move(shapes)));
    attrs.emplace("_lower_using_switch_merge", AttrValue::of_bool(true));
    nodes_.push_back(make_node("blade/region_" + suffix, "StatelessIf", std::move(inputs), std::move(attrs)));
    return {};
  }

  std::string region_tensor(const std::pair<size_t, size_t>& made) const {
    return short_name("blade/region_" + std::to_string(numbers_[made.first]) + ":" + std::to_string(made.second));
  }

  // A node with the original name that gives the ports of it that others read.
  NodeDef repeat(int node, const std::set<int>& ports) const {
    std::vector<std::string> inputs;
    std::vector<DataType> types;
    for (int port = 0; port <= *ports.rbegin(); ++port) {
      auto made = made_by_.find(tensor_name(node_at(node), port));
      // A port that nobody reads repeats the last one.
      if (made == made_by_.end()) made = made_by_.find(tensor_name(node_at(node), *ports.rbegin()));
      inputs.push_back(region_tensor(made->second));
      types.push_back(from_ir(regions_[made->second.first].outputs[made->second.second].dtype));
    }
    bool one = inputs.size() == 1;
    AttrMap attrs;
    attrs.emplace("T", one ? AttrValue::of_type(types[0]) : AttrValue::of_types(types));
    return make_node(node_at(node)->name, one ? "Identity" : "IdentityN", std::move(inputs), std::move(attrs));
  }

  Result<NodeDef> alias(int node) const {
    const OpSpec* spec = find_op(node_at(node)->op);
    if (spec == nullptr) return internal_error("output '" + node_at(node)->name + "' is of no known op");
    BLADE_ASSIGN_OR_RETURN(auto types, tensor_types(spec->outputs, node_at(node)));
    return make_node(node_at(node)->name, "Identity", {short_name(plans_[node].alias)},
                     {{"T", AttrValue::of_type(types[0])}});
  }

  Status write_node(int node) {
    const Plan& plan = plans_[node];
    if (plan.original) {
      NodeDef out = node_at(node);
      if (normalized(out->inputs) != plan.inputs) out.edit().inputs = plan.inputs;
      nodes_.push_back(std::move(out));
    } else if (!plan.repeated.empty()) {
      nodes_.push_back(repeat(node, plan.repeated));
    } else if (!plan.alias.empty()) {
      BLADE_ASSIGN_OR_RETURN(NodeDef out, alias(node));
      nodes_.push_back(std::move(out));
    } else if (plan.folded != ir::kNone) {
      BLADE_ASSIGN_OR_RETURN(NodeDef out, dense_const(node_at(node)->name, *graph_.value(plan.folded).constant));
      out.edit().inputs = plan.inputs;
      nodes_.push_back(std::move(out));
    }
    return Status();
  }

  // Inputs in one spelling, control inputs sorted as visit() leaves them.
  std::vector<std::string> normalized(const std::vector<std::string>& inputs) const {
    std::vector<std::string> out;
    std::vector<int> controls;
    for (const std::string& input : inputs) {
      InputRef ref = parse_input(input);
      if (ref.control) {
        controls.push_back(index_.find(ref.node));
      } else {
        out.push_back(short_name(std::string(ref.node) + ":" + std::to_string(ref.index)));
      }
    }
    std::sort(controls.begin(), controls.end());
    controls.erase(std::unique(controls.begin(), controls.end()), controls.end());
    for (int producer : controls) out.push_back("^" + node_at(producer)->name);
    return out;
  }

  std::optional<FunctionLibrary> library() const {
    LibraryFields fields;
    if (model_.source->library) {
      std::vector<std::span<const NodeDef>> callers = {nodes_};
      for (const RegionFunctions& functions : functions_) callers.emplace_back(functions.original->nodes);
      fields = used_functions(**model_.source->library, callers);
    }
    for (size_t r = 0; r < regions_.size(); ++r) {
      if (!region_used_[r]) continue;
      for (const FunctionDef* function : functions_[r].all()) fields.functions.push_back(*function);
    }
    if (fields.functions.empty()) return std::nullopt;
    return FunctionLibrary(std::move(fields));
  }

  Result<GraphDef> assemble() {
    for (int node = 0; node < index_.size(); ++node) {
      if (node_at(node)->op.starts_with("Placeholder")) BLADE_RETURN_IF_ERROR(write_node(node));
    }
    for (size_t r = 0; r < regions_.size(); ++r) {
      if (region_used_[r]) BLADE_RETURN_IF_ERROR(write_region(r));
    }
    for (int node = 0; node < index_.size(); ++node) {
      if (!node_at(node)->op.starts_with("Placeholder")) BLADE_RETURN_IF_ERROR(write_node(node));
    }
    drop_dangling_colocations(nodes_);
    GraphFields fields = *model_.source;
    fields.library = library();
    fields.nodes = std::move(nodes_);
    return GraphDef(std::move(fields));
  }

  const ImportedModel& model_;
  const ir::Graph& graph_;
  std::vector<RegionToWrite> regions_;
  NodeIndex index_;
  std::vector<Plan> plans_;
  std::vector<char> live_;           // source nodes that still have IR nodes
  std::vector<char> reads_rank_;     // source nodes that an input of assumed rank reaches
  std::vector<char> reads_assumed_;  // the same, and those that a PlaceholderWithDefault other than the inputs reaches
  std::vector<ir::NodeId> foreign_node_;
  bool has_foreign_ = false;
  std::vector<char> movable_;  // random nodes that a region's original may draw itself
  std::vector<char> staying_;  // model_.foreign without the checks that were stripped: what control edges lead to
  std::unordered_map<std::string, ir::ValueId> constants_;
  std::unordered_map<std::string, std::pair<size_t, size_t>> made_by_;  // tensor -> region, output
  std::vector<RegionFunctions> functions_;
  std::vector<int> numbers_;  // k of blade/region_k
  std::vector<char> region_used_;
  std::map<size_t, std::vector<std::string>> region_controls_;
  std::vector<int> pending_;
  std::vector<NodeDef> nodes_;
};

}  // namespace

Result<GraphDef> write_optimized(const ImportedModel& model, const ir::Graph& graph,
                                 std::span<const RegionToWrite> regions) {
  if (graph.outputs().size() != model.outputs.size()) {
    return internal_error("the graph to write has " + std::to_string(graph.outputs().size()) + " outputs, expected " +
                          std::to_string(model.outputs.size()));
  }
  return Writer(model, graph, regions).run();
}

}  // namespace blade::tensorflow
