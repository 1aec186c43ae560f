// Checks that a graph hangs together and puts its nodes in order.
#include "frontends/tensorflow/node_index.h"

#include <algorithm>
#include <numeric>
#include <queue>
#include <unordered_set>

#include "frontends/tensorflow/op_table.h"
#include "ir/watchers.h"

namespace blade::tensorflow {
namespace {

bool closes_loop(const GraphDef& graph, const NodeDef& node, const std::vector<TensorRef>& inputs) {
  if (node->op != "Merge" && node->op != "RefMerge") return false;
  return std::any_of(inputs.begin(), inputs.end(), [&](const TensorRef& ref) {
    const std::string& op = graph->nodes[ref.node]->op;
    return op == "NextIteration" || op == "RefNextIteration";
  });
}

int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      int above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string join(const std::vector<std::string>& names, size_t most) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < most; ++i) out += (i == 0 ? "'" : ", '") + names[i] + "'";
  if (names.size() > most) out += " and " + std::to_string(names.size() - most) + " more";
  return out;
}

}  // namespace

std::string tensor_name(const NodeDef& node, int port) { return node->name + ":" + std::to_string(port); }

std::vector<std::string> closest_names(std::string_view name, const std::vector<std::string>& names) {
  constexpr size_t kLongestCompared = 200;
  std::vector<std::pair<int, size_t>> ranked;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].size() > kLongestCompared || name.size() > kLongestCompared) continue;
    int distance = edit_distance(name, names[i]);
    if (distance <= static_cast<int>(std::max(name.size(), names[i].size())) / 2) ranked.emplace_back(distance, i);
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<std::string> out;
  for (size_t i = 0; i < ranked.size() && i < 3; ++i) out.push_back(names[ranked[i].second]);
  return out;
}

bool is_random(const NodeDef& node) {
  static constexpr const char* kOps[] = {"RandomUniform",
                                         "RandomUniformInt",
                                         "RandomStandardNormal",
                                         "TruncatedNormal",
                                         "StatelessRandomUniform",
                                         "StatelessRandomNormal",
                                         "StatelessTruncatedNormal",
                                         "StatelessRandomUniformV2",
                                         "StatelessRandomNormalV2",
                                         "StatelessRandomUniformInt",
                                         "StatelessTruncatedNormalV2",
                                         "ParameterizedTruncatedNormal"};
  return is_one_of(node, kOps);
}

bool is_left_out(std::string_view op) {
  static constexpr const char* kOps[] = {"NoOp", "Print", "CheckNumericsV2"};
  return std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps) || ir::only_watches(op);
}

bool is_placeholder(const NodeDef& node) { return needs_feed(node) || node->op == "PlaceholderWithDefault"; }
bool needs_feed(const NodeDef& node) { return node->op == "Placeholder" || node->op == "PlaceholderV2"; }
bool is_string_placeholder(const NodeDef& node) {
  if (!is_placeholder(node)) return false;
  const auto type = type_attr(node, "dtype");
  return type.ok() && *type == DataType::kString;
}

Result<NodeIndex> NodeIndex::build(const GraphDef& graph) {
  NodeIndex index;
  const int count = static_cast<int>(graph->nodes.size());
  index.inputs_.resize(count);
  index.control_inputs_.resize(count);
  index.used_ports_.resize(count);
  index.back_edge_.assign(count, 0);
  for (int i = 0; i < count; ++i) {
    const NodeDef& node = graph->nodes[i];
    if (node->name.empty()) return invalid_argument("node " + std::to_string(i) + " (" + node->op + ") has no name");
    if (!index.by_name_.emplace(node->name, i).second) {
      return invalid_argument("two nodes are named '" + node->name +
                              "'; every node of a graph needs a name of its own");
    }
  }
  for (int i = 0; i < count; ++i) {
    const NodeDef& node = graph->nodes[i];
    for (const std::string& input : node->inputs) {
      InputRef ref = parse_input(input);
      int producer = index.find(ref.node);
      if (producer < 0) {
        return invalid_argument("node '" + node->name + "' (" + node->op + ") reads '" + input +
                                "', but the graph has no node '" + std::string(ref.node) + "'");
      }
      if (ref.control) {
        index.control_inputs_[i].push_back(producer);
        continue;
      }
      const NodeDef& source = graph->nodes[producer];
      int outputs = source->op == "Const" || source->op == "Placeholder" ? 1 : -1;  // -1: not known
      if (const OpSpec* spec = find_op(source->op)) {
        auto types = tensor_types(spec->outputs, source);
        if (types.ok()) outputs = static_cast<int>(types->size());
      }
      if (outputs >= 0 && ref.index >= outputs) {
        return invalid_argument("node '" + node->name + "' (" + node->op + ") reads output " +
                                std::to_string(ref.index) + " of '" + source->name + "' (" + source->op +
                                "), which has " + std::to_string(outputs));
      }
      constexpr int kMostPorts = 1 << 16;
      if (ref.index < 0 || ref.index >= kMostPorts) {
        return invalid_argument("node '" + node->name + "' reads '" + input + "', which is no output's name");
      }
      index.inputs_[i].push_back({producer, ref.index});
      auto& used = index.used_ports_[producer];
      if (static_cast<int>(used.size()) <= ref.index) used.resize(ref.index + 1);
      used[ref.index] = true;
    }
  }
  for (int i = 0; i < count; ++i) index.back_edge_[i] = closes_loop(graph, graph->nodes[i], index.inputs_[i]);
  BLADE_RETURN_IF_ERROR(index.order_nodes(graph));
  index.inherit_controls_of_constants(graph);
  return index;
}

void NodeIndex::inherit_controls_of_constants(const GraphDef& graph) {
  for (int i = 0; i < size(); ++i) {
    // A constant that a branch gives has an edge of that branch, which what joins the branches has not.
    if (is_or_ref(graph->nodes[i], "Merge")) continue;
    for (const TensorRef& ref : inputs_[i]) {
      if (graph->nodes[ref.node]->op != "Const") continue;
      auto& own = control_inputs_[i];
      for (int producer : control_inputs_[ref.node]) {
        if (std::find(own.begin(), own.end(), producer) == own.end()) own.push_back(producer);
      }
    }
  }
}

Status NodeIndex::order_nodes(const GraphDef& graph) {
  const int count = size();
  std::vector<int> waiting(count, 0);
  std::vector<std::vector<int>> followers(count);
  auto follow = [&](int node, int producer) {
    ++waiting[node];
    followers[producer].push_back(node);
  };
  for (int i = 0; i < count; ++i) {
    for (const TensorRef& ref : inputs_[i]) {
      const std::string& op = graph->nodes[ref.node]->op;
      if (back_edge_[i] && (op == "NextIteration" || op == "RefNextIteration")) continue;
      follow(i, ref.node);
    }
    for (int producer : control_inputs_[i]) follow(i, producer);
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < count; ++i) {
    if (waiting[i] == 0) ready.push(i);
  }
  while (!ready.empty()) {
    int node = ready.top();
    ready.pop();
    order_.push_back(node);
    for (int next : followers[node]) {
      if (--waiting[next] == 0) ready.push(next);
    }
  }
  if (static_cast<int>(order_.size()) == count) return Status();
  // Every node left waits for another one left: going back from any of them ends up on a cycle.
  auto blocking = [&](int node) {
    for (const TensorRef& ref : inputs_[node]) {
      if (waiting[ref.node] > 0) return ref.node;
    }
    for (int producer : control_inputs_[node]) {
      if (waiting[producer] > 0) return producer;
    }
    return node;
  };
  int node = 0;
  while (waiting[node] == 0) ++node;
  for (int step = 0; step < count; ++step) node = blocking(node);
  return invalid_argument("the graph has a cycle through node '" + graph->nodes[node]->name + "' (" +
                          graph->nodes[node]->op + "); only loops through NextIteration may go round");
}

int NodeIndex::find(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? -1 : it->second;
}

Result<TensorRef> NodeIndex::find_tensor(const GraphDef& graph, std::string_view name, std::string_view role,
                                         const std::vector<std::string>& candidates) const {
  InputRef ref = parse_input(name);
  int node = ref.control ? -1 : find(ref.node);
  if (node >= 0) {
    const NodeDef& def = graph->nodes[node];
    const OpSpec* spec = find_op(def->op);
    auto types =
        spec == nullptr ? Result<std::vector<DataType>>(std::vector<DataType>{}) : tensor_types(spec->outputs, def);
    if (spec == nullptr || !types.ok() || ref.index < static_cast<int>(types->size()))
      return TensorRef{node, ref.index};
    return not_found("the " + std::string(role) + " '" + std::string(name) + "' is output " +
                     std::to_string(ref.index) + " of a node (" + def->op + ") that has " +
                     std::to_string(types->size()));
  }
  std::string message = "the graph has no node '" + std::string(ref.node) + "', given as " + std::string(role);
  std::vector<std::string> all;
  for (const auto& [known, i] : by_name_) all.emplace_back(known);
  std::sort(all.begin(), all.end());
  if (auto close = closest_names(ref.node, all); !close.empty()) message += "; the closest names are " + join(close, 3);
  if (!candidates.empty()) message += "; likely " + std::string(role) + "s are " + join(candidates, 10);
  return not_found(message);
}

std::vector<bool> NodeIndex::ancestors(const std::vector<TensorRef>& roots,
                                       const std::function<bool(const TensorRef&)>& is_given) const {
  std::vector<bool> needed(size(), false);
  std::vector<int> pending;
  auto need = [&](int node) {
    if (!needed[node]) pending.push_back(node);
    needed[node] = true;
  };
  auto need_tensor = [&](const TensorRef& ref) {
    if (!is_given(ref)) need(ref.node);
  };
  for (const TensorRef& root : roots) need_tensor(root);
  while (!pending.empty()) {
    int node = pending.back();
    pending.pop_back();
    for (const TensorRef& ref : inputs_[node]) need_tensor(ref);
    for (int producer : control_inputs_[node]) need(producer);
  }
  return needed;
}

std::vector<int> NodeIndex::controls_among(const std::vector<char>& marked, int node) const {
  std::vector<int> found, pending = control_inputs_[node];
  std::unordered_set<int> seen;
  while (!pending.empty()) {
    int producer = pending.back();
    pending.pop_back();
    if (!seen.insert(producer).second) continue;
    if (marked[producer]) {
      found.push_back(producer);
    } else {
      pending.insert(pending.end(), control_inputs_[producer].begin(), control_inputs_[producer].end());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace blade::tensorflow
