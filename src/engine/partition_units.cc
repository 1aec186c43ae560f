// Builds partition units: grouping, condensing cycles between groups, reasons to stay behind and control-flow contexts.
#include "engine/partition_units.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "engine/union_find.h"

namespace blade::engine {
namespace {

constexpr size_t kMaxContextDepth = 64;

// Calls fn(producer node, value or kNone for control) for every edge into `node`.
template <class Fn>
void for_each_predecessor(const ir::Graph& graph, const ir::Node& node, Fn&& fn) {
  for (ir::ValueId input : node.inputs) {
    if (graph.value(input).producer != ir::kNone) fn(graph.value(input).producer, input);
  }
  for (ir::NodeId before : node.control_inputs) {
    if (graph.is_live(before)) fn(before, ir::kNone);
  }
}

UnionFind group_nodes(const ir::Graph& graph, const std::vector<ir::NodeId>& order) {
  UnionFind groups(graph.num_node_slots());
  std::unordered_map<int32_t, ir::NodeId> first_of_origin;
  for (ir::NodeId id : order) {
    const ir::Node& node = graph.node(id);
    if (node.origin != ir::kNone) groups.join(first_of_origin.try_emplace(node.origin, id).first->second, id);
    for_each_predecessor(graph, node, [&](ir::NodeId producer, ir::ValueId value) {
      if (value != ir::kNone && graph.value(value).name.empty()) groups.join(producer, id);
    });
  }
  return groups;
}

// Strongly connected components of the groups, so that joining nodes never leaves a cycle. Tarjan's algorithm with its
// own stack; components come out consumers first.
class Components {
 public:
  explicit Components(const std::vector<std::vector<int>>& predecessors)
      : edges_(predecessors), index_(edges_.size(), -1), low_(edges_.size(), 0), component(edges_.size(), -1) {
    for (int v = 0; v < static_cast<int>(edges_.size()); ++v) {
      if (index_[v] < 0) visit(v);
    }
  }

 private:
  struct Frame {
    int node;
    size_t next;
  };
  void open(int v) {
    index_[v] = low_[v] = counter_++;
    stack_.push_back(v);
    frames_.push_back({v, 0});
  }
  void close(int v) {
    if (low_[v] == index_[v]) {
      int member;
      do {
        member = stack_.back();
        stack_.pop_back();
        component[member] = count;
      } while (member != v);
      ++count;
    }
    frames_.pop_back();
    if (!frames_.empty()) low_[frames_.back().node] = std::min(low_[frames_.back().node], low_[v]);
  }
  void visit(int root) {
    open(root);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      const int v = frame.node;
      if (frame.next == edges_[v].size()) {
        close(v);
        continue;
      }
      const int w = edges_[v][frame.next++];
      if (index_[w] < 0) {
        open(w);
      } else if (component[w] < 0) {
        low_[v] = std::min(low_[v], index_[w]);
      }
    }
  }

  const std::vector<std::vector<int>>& edges_;
  std::vector<int> index_, low_, stack_;
  std::vector<Frame> frames_;
  int counter_ = 0;

 public:
  std::vector<int> component;  // along predecessor edges, so producers get lower numbers: a topological order
  int count = 0;
};

std::string reason_to_stay(const ir::Graph& graph, const ir::Node& node) {
  if (node.op == ir::Op::kForeign) {
    const auto& attrs = node.get<ir::ForeignAttrs>();
    return attrs.reason.empty() ? "op '" + attrs.source_op + "' is not supported" : attrs.reason;
  }
  for (const auto* values : {&node.inputs, &node.outputs}) {
    for (ir::ValueId id : *values) {
      const ir::Value& value = graph.value(id);
      const std::string which = value.name.empty() ? "" : " '" + value.name + "'";
      if (value.dtype == ir::DType::kOpaque)
        return "tensor" + which + " has a type that only the source framework knows";
      if (value.dtype == ir::DType::kInvalid) return "the type of tensor" + which + " is not known";
    }
  }
  return "";
}

void find_reasons(const ir::Graph& graph, Units& units) {
  units.reason.resize(units.size());
  for (int u = 0; u < units.size(); ++u) {
    for (ir::NodeId id : units.members[u]) {
      if (units.reason[u].empty()) units.reason[u] = reason_to_stay(graph, graph.node(id));
    }
  }
}

// Sets of conditions that an execution depends on, interned. A Switch adds (its predicate, which output) for what reads
// the output, a Merge keeps what all its inputs have in common.
class Contexts {
 public:
  using Set = std::vector<int>;
  Contexts() { intern({}); }

  int intern(Set set) {
    std::sort(set.begin(), set.end());
    set.erase(std::unique(set.begin(), set.end()), set.end());
    // Too deep to track: a context of its own, which only makes regions smaller.
    if (set.size() > kMaxContextDepth) set = {fresh()};
    const auto [it, is_new] = ids_.try_emplace(std::move(set), static_cast<int>(sets_.size()));
    if (is_new) sets_.push_back(&it->first);
    return it->second;
  }
  const Set& set(int id) const { return *sets_[id]; }
  int fresh() { return next_element_++; }
  int element(ir::ValueId predicate, int output) {
    const auto [it, is_new] = elements_.try_emplace({predicate, output}, next_element_);
    if (is_new) ++next_element_;
    return it->second;
  }
  int unite(int a, int b) {
    if (a == b || set(b).empty()) return a;
    Set both = set(a);
    both.insert(both.end(), set(b).begin(), set(b).end());
    return intern(std::move(both));
  }
  int intersect(int a, int b) {
    if (a == b) return a;
    Set common;
    std::set_intersection(set(a).begin(), set(a).end(), set(b).begin(), set(b).end(), std::back_inserter(common));
    return intern(std::move(common));
  }

 private:
  std::map<Set, int> ids_;
  std::vector<const Set*> sets_;
  std::map<std::pair<ir::ValueId, int>, int> elements_;
  int next_element_ = 0;
};

// The context in which a reader of `producer`'s output runs.
int context_after(const ir::Graph& graph, ir::NodeId producer, ir::ValueId value, int context, Contexts& contexts) {
  const ir::Node& node = graph.node(producer);
  if (node.op != ir::Op::kForeign || value == ir::kNone || node.inputs.empty()) return context;
  const std::string& op = node.get<ir::ForeignAttrs>().source_op;
  if (op != "Switch" && op != "RefSwitch" && op != "_SwitchN") return context;
  Contexts::Set set = contexts.set(context);
  set.push_back(contexts.element(node.inputs.back(), graph.value(value).output_index));
  return contexts.intern(std::move(set));
}

bool is_merge(const ir::Graph& graph, const std::vector<ir::NodeId>& members) {
  if (members.size() != 1 || graph.node(members[0]).op != ir::Op::kForeign) return false;
  const std::string& op = graph.node(members[0]).get<ir::ForeignAttrs>().source_op;
  return op == "Merge" || op == "RefMerge";
}

void find_contexts(const ir::Graph& graph, Units& units) {
  Contexts contexts;
  units.context.resize(units.size(), 0);
  for (int u = 0; u < units.size(); ++u) {
    const bool merge = is_merge(graph, units.members[u]);
    int context = 0;
    size_t edges = 0;
    for (ir::NodeId id : units.members[u]) {
      for_each_predecessor(graph, graph.node(id), [&](ir::NodeId producer, ir::ValueId value) {
        const int p = units.of_node[producer];
        if (p == u) return;
        const int before = context_after(graph, producer, value, units.context[p], contexts);
        context = merge && edges > 0 ? contexts.intersect(context, before) : contexts.unite(context, before);
        ++edges;
      });
    }
    // A constant arm hides the context that the merge returns to.
    if (merge && edges < graph.node(units.members[u][0]).inputs.size()) context = contexts.intern({contexts.fresh()});
    units.context[u] = context;
  }
}

void sort_unique(std::vector<int>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

Result<Units> make_units(const ir::Graph& graph) {
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  UnionFind groups = group_nodes(graph, order);
  std::vector<int> group_of(graph.num_node_slots(), -1);
  std::vector<std::vector<int>> group_edges;
  std::unordered_map<int, int> numbers;
  for (ir::NodeId id : order)
    group_of[id] = numbers.try_emplace(groups.find(id), static_cast<int>(numbers.size())).first->second;
  group_edges.resize(numbers.size());
  for (ir::NodeId id : order) {
    for_each_predecessor(graph, graph.node(id), [&](ir::NodeId producer, ir::ValueId) {
      if (group_of[producer] != group_of[id]) group_edges[group_of[id]].push_back(group_of[producer]);
    });
  }
  for (auto& edges : group_edges) sort_unique(edges);

  const Components components(group_edges);
  Units units;
  units.of_node.resize(graph.num_node_slots(), -1);
  units.members.resize(components.count);
  units.predecessors.resize(components.count);
  for (ir::NodeId id : order) {
    units.of_node[id] = components.component[group_of[id]];
    units.members[units.of_node[id]].push_back(id);
  }
  for (size_t g = 0; g < group_edges.size(); ++g) {
    const int u = components.component[g];
    for (int p : group_edges[g]) {
      if (components.component[p] != u) units.predecessors[u].push_back(components.component[p]);
    }
  }
  for (auto& edges : units.predecessors) sort_unique(edges);
  find_reasons(graph, units);
  find_contexts(graph, units);
  return units;
}

}  // namespace blade::engine
