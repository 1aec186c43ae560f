// Loads and imports, and settles what the model and the user's data say about each other.
#include "optimizer/import_model.h"

#include <algorithm>
#include <span>

#include "frontends/tensorflow/proto/saved_model.h"
#include "optimizer/measuring_data.h"
#include "optimizer/product_types.h"
#include "optimizer/rounding_outputs.h"
#include "optimizer/switches.h"
#include "optimizer/tensorflow_library.h"

namespace blade::optimizer {
namespace {

class ModelImport {
 public:
  ModelImport(const OptimizeRequest& request, OptimizeOptions& options) : request_(request), options_(options) {}

  Result<ModelToOptimize> run() {
    BLADE_RETURN_IF_ERROR(load());
    BLADE_RETURN_IF_ERROR(replace_users_names());
    note_earlier_engines();
    BLADE_RETURN_IF_ERROR(to_ir());
    BLADE_RETURN_IF_ERROR(fix_switches());
    BLADE_RETURN_IF_ERROR(refuse_variables());
    widen_tolerance();
    options_.accuracy.roundings = rounding_outputs(model_.imported.graph);
    return std::move(model_);
  }

 private:
  Status load() {
    if (!request_.model_path.empty()) {
      BLADE_ASSIGN_OR_RETURN(model_.loaded, tensorflow::load_model(request_.model_path, options_.signature));
      return {};
    }
    auto bytes = tensorflow::SharedBytes::borrow(request_.model_bytes);
    BLADE_ASSIGN_OR_RETURN(model_.loaded.graph, tensorflow::parse_graph_def(std::move(bytes), options_.model_name));
    model_.loaded.format = "frozen_pb";
    return {};
  }

  Status replace_users_names() {
    const tensorflow::ModelNames names(model_.loaded);
    BLADE_RETURN_IF_ERROR(replace_names(names, options_));
    model_.test_data = request_.test_data;
    for (Feed& feed : model_.test_data) {
      std::vector<std::string> given;
      for (const NamedTensor& one : feed) given.push_back(one.name);
      BLADE_ASSIGN_OR_RETURN(std::vector<std::string> tensors, names.inputs(given));
      for (size_t i = 0; i < feed.size(); ++i) feed[i].name = std::move(tensors[i]);
    }
    return {};
  }

  void note_earlier_engines() {
    const auto& nodes = model_.loaded.graph->nodes;
    const auto of_blade = [](const tensorflow::NodeDef& node) { return node->op == "BladeInProfile"; };
    if (std::none_of(nodes.begin(), nodes.end(), of_blade)) return;
    model_.messages.push_back(
        "Blade made this model: the baseline is that, with its engines; optimize the original to compare with it");
  }

  // Placeholders of which the graph says nothing have the rank of the user's data. With other ranks the original graph
  // runs: they are outside the profiles, or what the guards of regions that do not read the placeholder compare.
  Status to_ir() {
    tensorflow::ImportOptions& how = model_.import_options;
    how.may_feed_defaults = true;
    how.inputs = options_.inputs.empty() ? model_.loaded.inputs : options_.inputs;
    how.outputs = options_.outputs.empty() ? model_.loaded.outputs : options_.outputs;
    for (const Feed& feed : model_.test_data) {
      for (const NamedTensor& one : feed) how.fed.push_back(one.name);
    }
    how.rank_of = [this](const std::string& tensor, size_t index) {
      return rank_of_data(options_, tensor, index, model_.test_data);
    };
    BLADE_ASSIGN_OR_RETURN(model_.imported, tensorflow::import_graph(model_.loaded.graph, how));
    how.rank_of = nullptr;  // later imports, in which inputs may have other places, take the same
    for (const auto& [tensor, assumed] : model_.imported.ranks) {
      how.input_shapes[tensor].assign(static_cast<size_t>(assumed.rank), -1);
    }
    return {};
  }

  Status fix_switches() {
    if (!options_.inputs.empty()) return {};  // the user wants to feed them
    const auto switches = constant_switches(model_.imported.graph, model_.test_data);
    if (switches.empty() || !load_tensorflow(options_.tensorflow_dir).ok()) return {};
    model_.import_options.fixed = switches;
    BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel fixed,
                           tensorflow::import_graph(model_.loaded.graph, model_.import_options));
    if (nodes_left(fixed.graph) >= nodes_left(model_.imported.graph)) {
      model_.import_options.fixed.clear();
      return {};
    }
    model_.imported = std::move(fixed);
    std::vector<std::string> names;
    for (const auto& [name, value] : switches) names.push_back(name);
    BLADE_RETURN_IF_ERROR(free_needless_switches(names));
    for (const auto& [name, value] : model_.import_options.fixed) model_.messages.push_back(about_switch(name, *value));
    return {};
  }

  // A switch between parts that Blade has both of is an input, and so is a number that nothing hangs on: no run need
  // take the original graph for them. Each try is an import, so as many as go are freed at once.
  Status free_needless_switches(std::span<const std::string> names) {
    auto& fixed = model_.import_options.fixed;
    if (names.size() < fixed.size()) {
      const auto before = fixed;
      for (const std::string& name : names) fixed.erase(name);
      BLADE_ASSIGN_OR_RETURN(tensorflow::ImportedModel free,
                             tensorflow::import_graph(model_.loaded.graph, model_.import_options));
      if (nodes_left(free.graph) <= nodes_left(model_.imported.graph)) {
        model_.imported = std::move(free);
        return {};
      }
      fixed = before;
    }
    if (names.size() == 1) return {};
    BLADE_RETURN_IF_ERROR(free_needless_switches(names.first(names.size() / 2)));
    return free_needless_switches(names.subspan(names.size() / 2));
  }

  // Variables of training that no output needs are no harm.
  Status refuse_variables() const {
    const std::vector<bool> needed = ir::nodes_that_outputs_need(model_.imported.graph);
    for (const std::string& variable : tensorflow::variable_nodes(model_.loaded.graph)) {
      for (ir::NodeId id = 0; id < model_.imported.graph.num_node_slots(); ++id) {
        if (!needed[id] || model_.imported.graph.node(id).name != variable) continue;
        return failed_precondition("the graph is not frozen: its outputs read the variable '" + variable +
                                   "'; freeze it (tf.compat.v1.graph_util.convert_variables_to_constants), or give "
                                   "blade.optimize a SavedModel directory, which it freezes itself");
      }
    }
    return {};
  }

  // A model whose products are of 16 bits rounds at places of its own: as where such a precision is asked for.
  void widen_tolerance() {
    const ProductTypes types = product_types(model_.imported.graph);
    options_.model_in_bfloat16 = 2 * types.bfloat16 > types.all;
    if (types.float16 + types.bfloat16 == 0) return;
    double& factor = options_.tolerance_factor;
    factor = std::max(factor, types.bfloat16 > 0 ? 20.0 : 10.0);
    model_.messages.push_back(std::string("the model itself computes in ") + (factor == 20 ? "bfloat16" : "float16") +
                              ": the tolerances count " + (factor == 20 ? "twenty" : "ten") + " times");
  }

  const OptimizeRequest& request_;
  OptimizeOptions& options_;
  ModelToOptimize model_;
};

}  // namespace

Result<ModelToOptimize> import_model(const OptimizeRequest& request, OptimizeOptions& options) {
  return ModelImport(request, options).run();
}

}  // namespace blade::optimizer
