// Finds frames and conditionals and cuts them out. Control edges inside them are left out, with the checks and prints
// that they alone ask for; what else they ask for is said.
#include "frontends/tensorflow/control_flow_groups.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <unordered_map>

#include "frontends/tensorflow/flatten.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {
namespace {

constexpr int64_t kMaxBranches = 1024;

using TensorKey = std::pair<int, int>;
TensorKey key(const TensorRef& ref) { return {ref.node, ref.port}; }

// Whether it may do something that TensorFlow's session or the world outside keeps.
bool may_have_effect(const NodeDef& node) {
  static constexpr const char* kNone[] = {"Const",          "Enter",         "Exit",     "NextIteration",
                                          "RefEnter",       "RefExit",       "LoopCond", "RefNextIteration",
                                          "ControlTrigger", "ReadVariableOp"};
  const OpSpec* spec = find_op(node->op);
  const bool is_covered = spec != nullptr && spec->lower != nullptr;
  return !is_covered && !is_switch(node) && !is_or_ref(node, "Merge") && !is_one_of(node, kNone) &&
         !is_placeholder(node) && !is_random(node) && !node->op.starts_with("Stateless");
}

// Copies what some tensors need into a graph whose inputs stand for tensors of the outside.
class Cutter {
 public:
  Cutter(const GraphDef& graph, const NodeIndex& index, const ControlFlowGroup& group,
         const std::vector<char>& is_member)
      : graph_(graph), index_(index), group_(group), is_member_(is_member) {}

  // `operand`: tensors that are the operands inside. Tensors from outside that are no operand yet become one.
  Result<SubSource> cut(const std::vector<TensorRef>& outputs, const std::map<TensorKey, int>& operand,
                        std::vector<TensorRef>& operands, std::map<TensorKey, int>& extra) {
    SubSource part;
    std::vector<NodeDef> copies;
    std::set<int> seen;
    std::vector<int> pending;
    const auto name_of = [&](const TensorRef& ref) -> std::string {
      if (const auto it = operand.find(key(ref)); it != operand.end()) return input_name(it->second);
      if (!is_member_[ref.node]) {
        const auto [it, is_new] = extra.try_emplace(key(ref), static_cast<int>(operands.size()));
        if (is_new) operands.push_back(ref);
        return input_name(it->second);
      }
      if (seen.insert(ref.node).second) pending.push_back(ref.node);
      const std::string& name = graph_->nodes[ref.node]->name;
      return ref.port == 0 ? name : name + ":" + std::to_string(ref.port);
    };
    for (const TensorRef& ref : outputs) part.outputs.push_back(name_of(ref));
    while (!pending.empty()) {
      const int node = pending.back();
      pending.pop_back();
      NodeDef copy = graph_->nodes[node];
      NodeFields& fields = copy.edit();
      fields.attrs.erase("_class");
      fields.inputs.clear();
      for (const TensorRef& ref : index_.inputs(node)) fields.inputs.push_back(name_of(ref));
      copies.push_back(std::move(copy));
    }
    find_effects(seen, part);
    part.graph = graph_;
    part.graph.edit().nodes = std::move(copies);
    return part;
  }

  // Placeholders for all operands, once it is known how many there are.
  void add_inputs(SubSource& part, size_t count) const {
    auto& nodes = part.graph.edit().nodes;
    for (size_t i = 0; i < count; ++i) {
      NodeFields fields;
      fields.name = input_name(static_cast<int>(i));
      fields.op = "Placeholder";
      fields.attrs.emplace("dtype", AttrValue::of_type(DataType::kFloat));  // the operand's own type counts
      part.inputs.push_back(fields.name);
      nodes.push_back(NodeDef(std::move(fields)));
    }
  }

 private:
  // Among the members that control edges of `copied` lead to.
  void find_effects(const std::set<int>& copied, SubSource& part) const {
    std::set<int> seen = copied;
    std::vector<int> pending(copied.begin(), copied.end());
    const auto reach = [&](int node) {
      if (is_member_[node] && seen.insert(node).second) pending.push_back(node);
    };
    while (!pending.empty()) {
      const int at = pending.back();
      pending.pop_back();
      for (int before : index_.control_inputs(at)) reach(before);
      if (copied.contains(at)) continue;
      const NodeDef& node = graph_->nodes[at];
      const std::string text = "'" + node->name + "' (" + node->op + ")";
      if (is_left_out(node->op)) {
        if (node->op.starts_with("Print")) part.prints.push_back(text);
        continue;
      }
      if (part.effect.empty() && may_have_effect(node)) part.effect = text;
      for (const TensorRef& ref : index_.inputs(at)) reach(ref.node);
    }
  }

  std::string input_name(int i) const { return graph_->nodes[group_.main]->name + "/operand_" + std::to_string(i); }

  const GraphDef& graph_;
  const NodeIndex& index_;
  const ControlFlowGroup& group_;
  const std::vector<char>& is_member_;
};

// --- loops

// Frames as a tree; 0 is the graph itself.
class Frames {
 public:
  Frames(const GraphDef& graph, const NodeIndex& index) : of_(graph->nodes.size(), 0) {
    parent_.push_back(-1);
    for (int node : index.order()) of_[node] = visit(graph, index, node);
  }
  int of(int node) const { return of_[node]; }
  int count() const { return static_cast<int>(parent_.size()); }
  int parent(int frame) const { return parent_[frame]; }
  // The frame directly inside the graph that holds `frame`.
  int outermost(int frame) const {
    while (frame > 0 && parent_[frame] > 0) frame = parent_[frame];
    return frame;
  }

 private:
  int depth(int frame) const {
    int d = 0;
    for (; frame > 0; frame = parent_[frame]) ++d;
    return d;
  }
  int visit(const GraphDef& graph, const NodeIndex& index, int node) {
    int frame = 0;
    const auto join = [&](int other) { frame = depth(other) > depth(frame) ? other : frame; };
    for (const TensorRef& ref : index.inputs(node)) {
      if (!is_or_ref(graph->nodes[ref.node], "NextIteration") || !is_or_ref(graph->nodes[node], "Merge"))
        join(of_[ref.node]);
    }
    for (int producer : index.control_inputs(node)) join(of_[producer]);
    if (is_or_ref(graph->nodes[node], "Enter")) {
      const auto name = string_attr(graph->nodes[node], "frame_name");
      const auto [it, is_new] = numbers_.try_emplace({frame, name.ok() ? *name : ""}, count());
      if (is_new) parent_.push_back(frame);
      return it->second;
    }
    return is_or_ref(graph->nodes[node], "Exit") ? std::max(0, parent_[frame]) : frame;
  }

  std::vector<int> of_, parent_;
  std::map<std::pair<int, std::string>, int> numbers_;
};

class LoopFinder {
 public:
  LoopFinder(const GraphDef& graph, const NodeIndex& index) : graph_(graph), index_(index), frames_(graph, index) {}

  std::vector<ControlFlowGroup> run() {
    std::vector<ControlFlowGroup> groups;
    for (int frame = 1; frame < frames_.count(); ++frame) {
      if (frames_.parent(frame) != 0) continue;
      ControlFlowGroup group;
      group.is_loop = true;
      std::vector<char> is_member(graph_->nodes.size(), 0);
      for (int node : index_.order()) {
        const bool leaves = is_or_ref(graph_->nodes[node], "Exit") && !index_.inputs(node).empty() &&
                            frames_.of(index_.inputs(node)[0].node) == frame;
        if (frames_.outermost(frames_.of(node)) != frame && !leaves) continue;
        group.members.push_back(node);
        is_member[node] = 1;
      }
      const Status status = describe(frame, is_member, group);
      if (!status.ok()) group.problem = status.message();
      if (group.main < 0) group.main = group.members.front();
      groups.push_back(std::move(group));
    }
    return groups;
  }

 private:
  const NodeDef& node_at(int node) const { return graph_->nodes[node]; }

  Status describe(int frame, const std::vector<char>& is_member, ControlFlowGroup& group) {
    std::vector<int> merges, constants;
    for (int node : group.members) {
      if (frames_.of(node) != frame) continue;
      if (is_or_ref(node_at(node), "LoopCond")) {
        if (group.main >= 0) return unimplemented("its frame has more than one LoopCond");
        group.main = node;
      }
      const auto& inputs = index_.inputs(node);
      const bool closes =
          is_or_ref(node_at(node), "Merge") && std::any_of(inputs.begin(), inputs.end(), [&](const TensorRef& ref) {
            return is_or_ref(node_at(ref.node), "NextIteration") && frames_.of(ref.node) == frame;
          });
      if (closes) merges.push_back(node);
      if (is_or_ref(node_at(node), "Enter")) {
        const auto constant = bool_attr_or(node_at(node), "is_constant", false);
        if (constant.ok() && *constant) constants.push_back(node);
      }
    }
    if (group.main < 0 || index_.inputs(group.main).size() != 1) return unimplemented("its frame has no LoopCond");

    std::map<TensorKey, int> tested, looped;  // operands as the condition and as the body see them
    std::vector<TensorRef> next;
    std::unordered_map<int, int> variable_of;  // Merge -> number
    for (int merge : merges) {
      const auto& inputs = index_.inputs(merge);
      if (inputs.size() != 2 || !is_or_ref(node_at(inputs[0].node), "Enter") ||
          !is_or_ref(node_at(inputs[1].node), "NextIteration")) {
        return unimplemented("'" + node_at(merge)->name + "' does not join an Enter and a NextIteration");
      }
      const int number = static_cast<int>(group.operands.size());
      group.operands.push_back(index_.inputs(inputs[0].node)[0]);
      group.results.push_back({-1, 0});
      next.push_back(index_.inputs(inputs[1].node)[0]);
      variable_of[merge] = number;
      tested[{merge, 0}] = looped[{merge, 0}] = number;
    }
    for (int enter : constants) {
      tested[{enter, 0}] = looped[{enter, 0}] = static_cast<int>(group.operands.size());
      group.operands.push_back(index_.inputs(enter)[0]);
    }
    BLADE_RETURN_IF_ERROR(find_switches(frame, group, variable_of, looped));
    Cutter cutter(graph_, index_, group, is_member);
    std::map<TensorKey, int> extra;
    BLADE_ASSIGN_OR_RETURN(SubSource condition,
                           cutter.cut({index_.inputs(group.main)[0]}, tested, group.operands, extra));
    BLADE_ASSIGN_OR_RETURN(SubSource body, cutter.cut(next, looped, group.operands, extra));
    for (SubSource* part : {&condition, &body}) cutter.add_inputs(*part, group.operands.size());
    group.parts = {std::move(condition), std::move(body)};
    return {};
  }

  // Switch nodes of variables: what the body reads, and through Exit what the outside gets.
  Status find_switches(int frame, ControlFlowGroup& group, const std::unordered_map<int, int>& variable_of,
                       std::map<TensorKey, int>& looped) {
    std::unordered_map<int, int> switch_of;
    for (int node : group.members) {
      const auto& inputs = index_.inputs(node);
      if (frames_.of(node) != frame || !is_or_ref(node_at(node), "Switch") || inputs.size() != 2) continue;
      const auto merge = variable_of.find(inputs[0].node);
      if (inputs[1].node != group.main || merge == variable_of.end()) continue;
      looped[{node, 1}] = merge->second;
      switch_of[node] = merge->second;
    }
    for (int node : group.members) {
      const auto& inputs = index_.inputs(node);
      if (!is_or_ref(node_at(node), "Exit") || inputs.empty() || frames_.of(inputs[0].node) != frame) continue;
      const auto from = switch_of.find(inputs[0].node);
      if (from == switch_of.end() || inputs[0].port != 0) {
        return unimplemented("'" + node_at(node)->name + "' leaves the loop with something else than a variable");
      }
      TensorRef& result = group.results[from->second];
      if (result.node >= 0) return unimplemented("a variable leaves the loop twice");
      result = {node, 0};
    }
    return {};
  }

  const GraphDef& graph_;
  const NodeIndex& index_;
  Frames frames_;
};

// --- conditionals

// Under which outcomes of which predicates a tensor exists.
using Conditions = std::set<std::pair<TensorKey, int>>;

class BranchFinder {
 public:
  BranchFinder(const GraphDef& graph, const NodeIndex& index, const std::vector<ControlFlowGroup>& loops)
      : graph_(graph), index_(index), conditions_(graph->nodes.size()), root_(graph->nodes.size()) {
    for (size_t i = 0; i < root_.size(); ++i) root_[i] = static_cast<int>(i);
    for (const ControlFlowGroup& loop : loops) loops_.emplace_back().members = loop.members;
  }

  std::vector<ControlFlowGroup> run() {
    const std::vector<int> order = order_with_groups(graph_, index_, loops_, &loop_of_);
    if (!loops_.empty() && loop_of_[loops_[0].members[0]] < 0)
      return {};  // loops that cannot be taken one after another
    for (int node : order) {
      loop_of_[node] < 0 ? visit(node) : visit_loop(loops_[loop_of_[node]].members);
    }
    std::map<int, std::vector<int>> components;
    for (int node : index_.order()) {
      if (involved_.contains(node)) components[find(node)].push_back(node);
    }
    std::vector<ControlFlowGroup> groups;
    for (auto& [root, members] : components) {
      ControlFlowGroup group;
      group.members = std::move(members);
      std::vector<char> is_member(graph_->nodes.size(), 0);
      for (int node : group.members) is_member[node] = 1;
      const Status status = describe(is_member, group);
      if (!status.ok()) group.problem = status.message();
      if (group.main < 0) group.main = group.members.front();
      groups.push_back(std::move(group));
    }
    return groups;
  }

  // After run(): the loop belongs to the branch of a conditional, which holds it.
  bool is_in_branch(const ControlFlowGroup& loop) const { return !conditions_[loop.members.front()].empty(); }

 private:
  const NodeDef& node_at(int node) const { return graph_->nodes[node]; }
  int find(int node) {
    while (root_[node] != node) node = root_[node] = root_[root_[node]];
    return node;
  }
  void join(int a, int b) {
    involved_.insert(a);
    involved_.insert(b);
    root_[find(a)] = find(b);
  }

  // A predicate behind Identity nodes: tf.cond switches by both.
  TensorKey predicate_key(TensorRef ref) const {
    while (node_at(ref.node)->op == "Identity" && index_.inputs(ref.node).size() == 1) ref = index_.inputs(ref.node)[0];
    return key(ref);
  }

  Conditions of_tensor(const TensorRef& ref) const {
    Conditions out = conditions_[ref.node];
    if (is_switch(node_at(ref.node)) && index_.inputs(ref.node).size() == 2) {
      out.insert({predicate_key(index_.inputs(ref.node)[1]), ref.port});
    }
    return out;
  }

  // What holds on all inputs of a Merge but for the predicate that they disagree about.
  static Conditions merged(const Conditions& a, const Conditions& b) {
    Conditions out;
    for (const auto& condition : a) {
      if (b.contains(condition)) out.insert(condition);
    }
    return out;
  }

  void visit(int node) {
    const bool merge = is_or_ref(node_at(node), "Merge") && index_.inputs(node).size() >= 2;
    Conditions all;
    size_t conditional = 0;
    for (const TensorRef& ref : index_.inputs(node)) {
      const Conditions one = of_tensor(ref);
      if (one.empty()) continue;
      join(ref.node, node);
      if (merge && conditional > 0) {
        all = merged(all, one);
      } else {
        all.insert(one.begin(), one.end());
      }
      ++conditional;
    }
    // An arm that exists always (a constant) exists where the other one does not.
    if (merge && conditional == 1) all = without_innermost(std::move(all));
    for (int producer : index_.control_inputs(node)) {
      const Conditions& one = conditions_[producer];
      if (one.empty()) continue;
      // A pivot holds its branch together; what only waits for it computes nothing conditional.
      join(producer, node);
      if (!merge) all.insert(one.begin(), one.end());
    }
    conditions_[node] = std::move(all);
  }

  // All of a loop exists under the conditions of what it reads.
  void visit_loop(const std::vector<int>& members) {
    Conditions all;
    const auto read = [&](int member, int producer, const Conditions& one) {
      if (one.empty() || loop_of_[producer] == loop_of_[member]) return;
      join(producer, member);
      all.insert(one.begin(), one.end());
    };
    for (int member : members) {
      for (const TensorRef& ref : index_.inputs(member)) read(member, ref.node, of_tensor(ref));
      for (int producer : index_.control_inputs(member)) read(member, producer, conditions_[producer]);
    }
    if (all.empty()) return;
    for (int member : members) {
      conditions_[member] = all;
      join(members.front(), member);
    }
  }

  static Conditions without_innermost(Conditions conditions) {
    if (conditions.size() == 1) conditions.clear();
    return conditions;
  }

  // How many branches the switches of a group choose from.
  Result<size_t> branches_of(int node) const {
    if (node_at(node)->op != "_SwitchN") return 2;
    BLADE_ASSIGN_OR_RETURN(const int64_t count, int_attr(node_at(node), "num_outs"));
    if (count < 1 || count > kMaxBranches) return unimplemented("it has " + std::to_string(count) + " branches");
    return static_cast<size_t>(count);
  }

  // The outermost switches become operands (`inside`: their outputs); their number of branches.
  Result<size_t> find_switches(ControlFlowGroup& group, std::map<TensorKey, int>& inside) const {
    std::map<TensorKey, int> number;  // tensor from outside -> operand
    size_t branches = 0;
    for (int node : group.members) {
      const auto& inputs = index_.inputs(node);
      if (!conditions_[node].empty() || !is_switch(node_at(node)) || inputs.size() != 2) continue;
      BLADE_ASSIGN_OR_RETURN(const size_t count, branches_of(node));
      if (branches > 0 && (predicate_key(group.predicate) != predicate_key(inputs[1]) || branches != count)) {
        return unimplemented("its switches do not share one predicate");
      }
      group.predicate = inputs[1];
      branches = count;
      const auto [it, is_new] = number.try_emplace(key(inputs[0]), static_cast<int>(group.operands.size()));
      if (is_new) group.operands.push_back(inputs[0]);
      for (size_t port = 0; port < count; ++port) inside[{node, static_cast<int>(port)}] = it->second;
    }
    return branches;
  }

  // What the merge takes from each branch, in the order of the branches. An input that exists always (a constant) is
  // of the branch that no other one is of.
  Result<std::vector<TensorRef>> arms_of(int merge, const TensorRef& predicate, size_t branches) const {
    const auto& inputs = index_.inputs(merge);
    if (index_.used_ports(merge).size() > 1)
      return unimplemented("'" + node_at(merge)->name + "' is asked which branch ran");
    std::vector<TensorRef> arms(branches);
    const TensorRef* unconditional = nullptr;
    bool fits = inputs.size() == branches;
    for (const TensorRef& ref : inputs) {
      const int branch = branch_of(predicate, ref);
      if (branch < 0) {
        fits = fits && unconditional == nullptr;
        unconditional = &ref;
      } else {
        fits = fits && branch < static_cast<int>(branches) && arms[static_cast<size_t>(branch)].node < 0;
        if (fits) arms[static_cast<size_t>(branch)] = ref;
      }
    }
    if (!fits || (unconditional != nullptr && branches < 2))
      return unimplemented("'" + node_at(merge)->name + "' does not join the branches of one predicate");
    for (TensorRef& arm : arms) {
      if (arm.node < 0) arm = *unconditional;
    }
    return arms;
  }

  Status describe(const std::vector<char>& is_member, ControlFlowGroup& group) {
    std::map<TensorKey, int> inside;
    BLADE_ASSIGN_OR_RETURN(const size_t branches, find_switches(group, inside));
    std::vector<std::vector<TensorRef>> arms(branches);
    for (int node : group.members) {
      if (!conditions_[node].empty() || !is_or_ref(node_at(node), "Merge")) continue;
      if (group.main < 0) group.main = node;
      group.results.push_back({node, 0});
    }
    if (branches == 0 || group.main < 0) return unimplemented("its branches do not come together in a Merge");
    for (const TensorRef& result : group.results) {
      BLADE_ASSIGN_OR_RETURN(const std::vector<TensorRef> taken, arms_of(result.node, group.predicate, branches));
      for (size_t i = 0; i < branches; ++i) arms[i].push_back(taken[i]);
    }
    BLADE_RETURN_IF_ERROR(check_leaks(is_member, group));
    Cutter cutter(graph_, index_, group, is_member);
    std::map<TensorKey, int> extra;
    for (const auto& arm : arms) {
      BLADE_ASSIGN_OR_RETURN(SubSource part, cutter.cut(arm, inside, group.operands, extra));
      group.parts.push_back(std::move(part));
    }
    for (SubSource& part : group.parts) cutter.add_inputs(part, group.operands.size());
    return {};
  }

  int branch_of(const TensorRef& predicate, const TensorRef& tensor) const {
    for (const auto& [pred, branch] : of_tensor(tensor)) {
      if (pred == predicate_key(predicate)) return branch;
    }
    return -1;
  }

  // Tensors that exist in one branch only and are read outside of it.
  Status check_leaks(const std::vector<char>& is_member, const ControlFlowGroup& group) const {
    for (int node = 0; node < index_.size(); ++node) {
      if (is_member[node]) continue;
      for (const TensorRef& ref : index_.inputs(node)) {
        if (!is_member[ref.node]) continue;
        const bool is_result = std::any_of(group.results.begin(), group.results.end(),
                                           [&](const TensorRef& result) { return key(result) == key(ref); });
        if (!is_result) return unimplemented("'" + node_at(node)->name + "' reads what exists in one branch only");
      }
    }
    return {};
  }

  const GraphDef& graph_;
  const NodeIndex& index_;
  std::vector<ControlFlowGroup> loops_;  // their members only
  std::vector<int> loop_of_;
  std::vector<Conditions> conditions_;
  std::vector<int> root_;
  std::set<int> involved_;
};

}  // namespace

std::vector<ControlFlowGroup> find_control_flow_groups(const GraphDef& graph, const NodeIndex& index) {
  const bool any = std::any_of(graph->nodes.begin(), graph->nodes.end(),
                               [](const NodeDef& node) { return is_switch(node) || is_or_ref(node, "Enter"); });
  if (!any) return {};
  std::vector<ControlFlowGroup> groups = LoopFinder(graph, index).run();
  BranchFinder finder(graph, index, groups);
  std::vector<ControlFlowGroup> branches = finder.run();
  std::erase_if(groups, [&](const ControlFlowGroup& loop) { return finder.is_in_branch(loop); });
  for (ControlFlowGroup& group : branches) groups.push_back(std::move(group));
  return groups;
}

std::vector<int> order_with_groups(const GraphDef& graph, const NodeIndex& index,
                                   const std::vector<ControlFlowGroup>& groups, std::vector<int>* group_of) {
  const int count = index.size();
  group_of->assign(count, -1);
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].problem.empty()) continue;
    for (int node : groups[g].members) (*group_of)[node] = static_cast<int>(g);
  }
  std::vector<int> head(count), position(count);
  for (int i = 0; i < count; ++i) position[index.order()[i]] = i;
  for (int node = 0; node < count; ++node) {
    head[node] = (*group_of)[node] < 0 ? node : groups[(*group_of)[node]].members.front();
  }
  std::vector<int> waiting(count, 0);
  std::vector<std::vector<int>> followers(count);
  const auto follow = [&](int node, int producer) {
    if (head[node] == head[producer]) return;
    ++waiting[head[node]];
    followers[head[producer]].push_back(head[node]);
  };
  for (int node = 0; node < count; ++node) {
    for (const TensorRef& ref : index.inputs(node)) {
      if (!is_or_ref(graph->nodes[node], "Merge") || !is_or_ref(graph->nodes[ref.node], "NextIteration"))
        follow(node, ref.node);
    }
    for (int producer : index.control_inputs(node)) follow(node, producer);
  }
  const auto later = [&](int a, int b) { return position[a] > position[b]; };
  std::priority_queue<int, std::vector<int>, decltype(later)> ready(later);
  std::vector<int> order;
  size_t heads = 0;
  for (int node = 0; node < count; ++node) {
    if (head[node] != node) continue;
    ++heads;
    if (waiting[node] == 0) ready.push(node);
  }
  while (!ready.empty()) {
    const int node = ready.top();
    ready.pop();
    order.push_back(node);
    for (int next : followers[node]) {
      if (--waiting[next] == 0) ready.push(next);
    }
  }
  if (order.size() == heads) return order;
  group_of->assign(count, -1);
  return index.order();
}

Result<SubSource> function_source(const GraphDef& graph, const NameAttrList& function, const std::string& prefix,
                                  size_t num_inputs) {
  const FunctionDef* definition = graph->library ? (*graph->library)->find_function(function.name) : nullptr;
  if (definition == nullptr) {
    return invalid_argument("it calls the function '" + function.name + "', which the graph's library does not have");
  }
  SubSource part;
  NodeFields call;
  call.name = prefix;
  call.op = "PartitionedCall";
  call.attrs.emplace("f", AttrValue::of_func(function.name, function.attrs));
  std::vector<NodeDef> nodes;
  for (size_t i = 0; i < num_inputs; ++i) {
    NodeFields fields;
    fields.name = prefix + "/operand_" + std::to_string(i);
    fields.op = "Placeholder";
    fields.attrs.emplace("dtype", AttrValue::of_type(DataType::kFloat));  // the operand's own type counts
    part.inputs.push_back(fields.name);
    call.inputs.push_back(fields.name);
    nodes.push_back(NodeDef(std::move(fields)));
  }
  nodes.push_back(NodeDef(std::move(call)));
  GraphDef caller = graph;
  caller.edit().nodes = std::move(nodes);
  BLADE_ASSIGN_OR_RETURN(FlatGraph flat, flatten(caller));
  part.graph = std::move(flat.graph);
  part.kept_calls = std::move(flat.kept_calls);
  const size_t outputs = (*definition)->signature.output_args.size();
  for (size_t i = 0; i < outputs; ++i) part.outputs.push_back(i == 0 ? prefix : prefix + ":" + std::to_string(i));
  return part;
}

}  // namespace blade::tensorflow
