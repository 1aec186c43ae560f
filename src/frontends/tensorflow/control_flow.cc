// Finds which nodes run inside loops and branches of TensorFlow 1's control flow (Switch, Merge, Enter, Exit).
#include <algorithm>
#include <map>
#include <set>

#include "frontends/tensorflow/node_index.h"

namespace blade::tensorflow {
namespace {

// The conditions that a tensor exists under: branches ("pred:0" taken or not) and frames of loops.
using ConditionNames = std::set<std::string>;

class ControlFlow {
 public:
  ControlFlow(const GraphDef& graph, const NodeIndex& index) : graph_(graph), index_(index), of_(graph->nodes.size()) {}

  std::vector<std::string> run() {
    std::vector<std::string> reasons(of_.size());
    bool any = std::any_of(graph_->nodes.begin(), graph_->nodes.end(),
                           [](const NodeDef& node) { return is_switch(node) || is_or_ref(node, "Enter"); });
    if (!any) return reasons;
    for (int node : index_.order()) {
      of_[node] = visit(node);
      bool in_frame = std::any_of(of_[node].begin(), of_[node].end(), [](const auto& c) { return c[0] == 'f'; });
      if (!of_[node].empty()) {
        reasons[node] = in_frame ? "it runs inside a while loop of TensorFlow 1"
                                 : "it runs in one branch of a tf.cond or tf.switch_case of TensorFlow 1";
      }
    }
    return reasons;
  }

 private:
  ConditionNames of_tensor(const TensorRef& ref) const {
    ConditionNames out = of_[ref.node];
    const NodeDef& node = graph_->nodes[ref.node];
    if (is_switch(node) && index_.inputs(ref.node).size() > 1) {
      const TensorRef& pred = index_.inputs(ref.node)[1];
      std::string key = "b";
      key += tensor_name(graph_->nodes[pred.node], pred.port);
      key += "=" + std::to_string(ref.port);
      out.insert(std::move(key));
    }
    return out;
  }

  ConditionNames visit(int node) {
    const NodeDef& def = graph_->nodes[node];
    ConditionNames all;
    bool merge = is_or_ref(def, "Merge"), first = true;
    for (const TensorRef& ref : index_.inputs(node)) {
      if (merge && is_or_ref(graph_->nodes[ref.node], "NextIteration")) continue;
      ConditionNames one = of_tensor(ref);
      if (merge && !first) {
        std::erase_if(all, [&](const std::string& c) { return !one.contains(c); });
      } else {
        all.merge(one);
      }
      first = false;
    }
    // A Merge runs when one of its inputs is there; what it waits for inside the branches does not make it conditional.
    if (!merge) {
      for (int producer : index_.control_inputs(node)) all.insert(of_[producer].begin(), of_[producer].end());
    }
    if (is_or_ref(def, "Enter")) {
      auto frame = string_attr(def, "frame_name");
      std::string key = "f";
      key += frame.ok() ? *frame : def->name;
      outside_[key].insert(all.begin(), all.end());
      all.insert(key);
    } else if (is_or_ref(def, "Exit")) {
      leave_frame(all);
    }
    return all;
  }

  // Back to the conditions around the innermost frame.
  void leave_frame(ConditionNames& conditions) {
    const ConditionNames* around = nullptr;
    for (const std::string& c : conditions) {
      auto frame = outside_.find(c);
      if (frame != outside_.end() && (around == nullptr || frame->second.size() > around->size()))
        around = &frame->second;
    }
    if (around != nullptr) conditions = ConditionNames(*around);
  }

  const GraphDef& graph_;
  const NodeIndex& index_;
  std::vector<ConditionNames> of_;
  std::map<std::string, ConditionNames> outside_;
};

}  // namespace

std::vector<std::string> control_flow_reasons(const GraphDef& graph, const NodeIndex& index) {
  return ControlFlow(graph, index).run();
}

}  // namespace blade::tensorflow
