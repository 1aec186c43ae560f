// Grows regions over the nodes an engine can run. Two stages: nodes on the same "level" (how often a path had to leave
// and come back) are joined where they touch, then neighbouring regions are joined where no other path leads between
// them.
#include "engine/partition.h"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "engine/coverage.h"
#include "engine/partition_units.h"
#include "engine/union_find.h"
#include "ir/op_classes.h"

namespace blade::engine {
namespace {

// Reachability takes a square of bits; graphs with more pieces after the first stage keep the result of that.
constexpr int kMaxPiecesToJoin = 8192;

// -1 for units that stay, else the context: only units of one colour may share a region.
std::vector<int> colours(const Units& units) {
  std::vector<int> colour(units.size());
  for (int u = 0; u < units.size(); ++u) colour[u] = units.reason[u].empty() ? units.context[u] : -1;
  return colour;
}

// Levels never fall along an edge and rise where the colour changes, so no path leaves a level and comes back to it.
UnionFind join_levels(const Units& units, const std::vector<int>& colour) {
  std::vector<int> level(units.size(), 0);
  for (int u = 0; u < units.size(); ++u) {
    for (int p : units.predecessors[u]) level[u] = std::max(level[u], level[p] + (colour[p] != colour[u] ? 1 : 0));
  }
  UnionFind pieces(units.size());
  for (int u = 0; u < units.size(); ++u) {
    if (colour[u] < 0) continue;
    for (int p : units.predecessors[u]) {
      if (level[p] == level[u]) pieces.join(p, u);  // so they are of one colour
    }
  }
  return pieces;
}

// A directed acyclic graph of pieces under contraction of edges, with reachability kept as bits.
class PieceGraph {
 public:
  PieceGraph(std::vector<std::set<int>> successors, std::vector<int> colour)
      : successors_(std::move(successors)), colour_(std::move(colour)), words_((colour_.size() + 63) / 64) {
    reach_.assign(colour_.size(), std::vector<uint64_t>(words_, 0));
    compute_reach();
  }

  // Contracts until nothing changes; calls fn(kept, gone) for each contraction.
  template <class Fn>
  void contract_all(Fn&& fn) {
    bool changed = true;
    while (changed) {
      changed = false;
      for (int u = 0; u < size(); ++u) {
        if (colour_[u] < 0 || gone_.contains(u)) continue;
        for (int v = next_partner(u); v >= 0; v = next_partner(u)) {
          contract(u, v);
          fn(u, v);
          changed = true;
        }
      }
    }
  }

 private:
  int size() const { return static_cast<int>(colour_.size()); }
  bool reaches(int from, int to) const { return (reach_[from][to / 64] >> (to % 64)) & 1; }
  void set_bit(int row, int bit) { reach_[row][bit / 64] |= uint64_t{1} << (bit % 64); }
  void clear_bit(int row, int bit) { reach_[row][bit / 64] &= ~(uint64_t{1} << (bit % 64)); }
  void merge_row(int into, int from) {
    for (size_t w = 0; w < words_; ++w) reach_[into][w] |= reach_[from][w];
  }

  void compute_reach() {
    std::vector<int> state(size(), 0), stack;
    for (int root = 0; root < size(); ++root) {
      stack.push_back(root);
      while (!stack.empty()) {
        const int u = stack.back();
        if (state[u] == 0) {
          state[u] = 1;
          for (int v : successors_[u]) {
            if (state[v] == 0) stack.push_back(v);
          }
          continue;
        }
        stack.pop_back();
        if (state[u] == 2) continue;
        state[u] = 2;
        for (int v : successors_[u]) {
          set_bit(u, v);
          merge_row(u, v);
        }
      }
    }
  }

  // A successor of u of its colour that no other path from u leads to.
  int next_partner(int u) const {
    for (int v : successors_[u]) {
      if (colour_[v] != colour_[u]) continue;
      const bool other_path =
          std::any_of(successors_[u].begin(), successors_[u].end(), [&](int w) { return reaches(w, v); });
      if (!other_path) return v;
    }
    return -1;
  }

  void contract(int u, int v) {
    gone_.insert(v);
    successors_[u].erase(v);
    successors_[u].insert(successors_[v].begin(), successors_[v].end());
    clear_bit(u, v);
    merge_row(u, v);
    for (int x = 0; x < size(); ++x) {
      if (successors_[x].erase(v) > 0) successors_[x].insert(u);
      if (reaches(x, v)) {
        set_bit(x, u);
        clear_bit(x, v);
        merge_row(x, u);
      }
    }
  }

  std::vector<std::set<int>> successors_;
  std::vector<int> colour_;
  size_t words_;
  std::vector<std::vector<uint64_t>> reach_;
  std::unordered_set<int> gone_;
};

// Piece of each unit, -1 for units that stay.
std::vector<int> grow(const Units& units) {
  const std::vector<int> colour = colours(units);
  UnionFind pieces = join_levels(units, colour);
  std::vector<int> number(units.size(), -1), of_unit(units.size());
  std::vector<int> piece_colour;
  for (int u = 0; u < units.size(); ++u) {
    int& n = number[pieces.find(u)];
    if (n < 0) {
      n = static_cast<int>(piece_colour.size());
      piece_colour.push_back(colour[u]);
    }
    of_unit[u] = n;
  }
  const int count = static_cast<int>(piece_colour.size());
  UnionFind joined(count);
  if (count <= kMaxPiecesToJoin) {
    std::vector<std::set<int>> successors(count);
    for (int u = 0; u < units.size(); ++u) {
      for (int p : units.predecessors[u]) {
        if (of_unit[p] != of_unit[u]) successors[of_unit[p]].insert(of_unit[u]);
      }
    }
    PieceGraph(std::move(successors), piece_colour).contract_all([&](int kept, int gone) { joined.join(kept, gone); });
  }
  for (int u = 0; u < units.size(); ++u) of_unit[u] = colour[u] < 0 ? -1 : joined.find(of_unit[u]);
  return of_unit;
}

// Nodes that compute something: neither views nor questions about shapes.
bool is_work(const ir::Node& node) { return !ir::is_view_op(node.op) && node.op != ir::Op::kShapeOf; }

// Nodes of the region that compute something, with those inside its loops and branches.
int64_t count_work(const ir::Graph& graph, const std::vector<ir::NodeId>& nodes) {
  int64_t count = 0;
  for (ir::NodeId id : nodes) {
    const ir::Node& node = graph.node(id);
    count += is_work(node) ? 1 : 0;
    const auto* attrs = std::get_if<ir::SubGraphsAttrs>(&node.attrs);
    for (size_t i = 0; attrs != nullptr && i < attrs->graphs.size(); ++i) {
      const auto inside = attrs->graphs[i]->topological_order();
      if (inside.ok()) count += count_work(*attrs->graphs[i], *inside);
    }
  }
  return count;
}

// A few integers: a shape, a size, an index.
bool may_be_sizes(const ir::Value& value) {
  constexpr int64_t kMostSizes = 64;
  const auto count = value.shape.element_count();
  return !ir::is_floating(value.dtype) && count && *count <= kMostSizes;
}

bool only_shape_arithmetic(const ir::Graph& graph, const Region& region) {
  const auto all_sizes = [&](const std::vector<ir::ValueId>& values) {
    return std::all_of(values.begin(), values.end(), [&](ir::ValueId v) { return may_be_sizes(graph.value(v)); });
  };
  return std::all_of(region.nodes.begin(), region.nodes.end(), [&](ir::NodeId id) {
    const ir::Node& node = graph.node(id);
    return all_sizes(node.outputs) && (node.op == ir::Op::kShapeOf || all_sizes(node.inputs));
  });
}

// Why the region is not worth a hand-over; empty when it is.
std::string too_small(const ir::Graph& graph, const Region& region, const PartitionOptions& options) {
  if (region.outputs.empty()) return "nothing reads its result";
  const int64_t work = count_work(graph, region.nodes);
  if (region.flops >= options.min_flops) return "";
  if (work < options.min_nodes) {
    return "region of " + std::to_string(region.nodes.size()) + (region.nodes.size() == 1 ? " node" : " nodes") +
           " is too small to pay its hand-over";
  }
  if (only_shape_arithmetic(graph, region)) {
    return "region of only shape arithmetic on integers: nothing to make faster";
  }
  return "";
}

void find_boundary(const ir::Graph& graph, const std::vector<std::vector<ir::NodeId>>& consumers, Region& region) {
  const std::unordered_set<ir::NodeId> inside(region.nodes.begin(), region.nodes.end());
  std::unordered_set<ir::ValueId> seen;
  for (ir::NodeId id : region.nodes) {
    for (ir::ValueId v : graph.node(id).inputs) {
      const ir::Value& value = graph.value(v);
      if (!value.is_constant() && !inside.contains(value.producer) && seen.insert(v).second) region.inputs.push_back(v);
    }
    for (ir::ValueId v : graph.node(id).outputs) {
      const bool read_outside = std::any_of(consumers[v].begin(), consumers[v].end(),
                                            [&](ir::NodeId reader) { return !inside.contains(reader); });
      if (read_outside || graph.is_output(v)) region.outputs.push_back(v);
    }
    for (ir::NodeId before : graph.node(id).control_inputs) {
      if (!inside.contains(before) && std::find(region.control_inputs.begin(), region.control_inputs.end(), before) ==
                                          region.control_inputs.end()) {
        region.control_inputs.push_back(before);
      }
    }
  }
}

// The source node's own node among those lowered from it: its name is the shortest.
const ir::Node& main_node(const ir::Graph& graph, const std::vector<ir::NodeId>& members, int32_t origin) {
  const ir::Node* best = nullptr;
  for (ir::NodeId id : members) {
    const ir::Node& node = graph.node(id);
    if (node.origin != origin) continue;
    const bool better = best == nullptr || (node.op == ir::Op::kForeign && best->op != ir::Op::kForeign) ||
                        (best->op != ir::Op::kForeign && node.name.size() < best->name.size());
    if (better) best = &node;
  }
  return *best;
}

void list_left_behind(const ir::Graph& graph, const Units& units, int unit, std::vector<LeftBehind>& out) {
  std::set<int32_t> origins;
  for (ir::NodeId id : units.members[unit]) {
    const ir::Node& node = graph.node(id);
    if (node.origin != ir::kNone && !origins.insert(node.origin).second) continue;
    const ir::Node& main = node.origin == ir::kNone ? node : main_node(graph, units.members[unit], node.origin);
    const std::string op =
        main.op == ir::Op::kForeign ? main.get<ir::ForeignAttrs>().source_op : std::string(ir::op_name(main.op));
    out.push_back({main.name, op, units.reason[unit], node.origin});
  }
}

}  // namespace

Result<Partition> partition(const ir::Graph& graph, const PartitionOptions& options) {
  BLADE_ASSIGN_OR_RETURN(Units units, make_units(graph));
  BLADE_ASSIGN_OR_RETURN(const std::vector<ir::NodeId> order, graph.topological_order());
  const std::vector<int> region_of_unit = grow(units);
  const auto consumers = graph.consumers();
  const std::optional<ir::Graph> likely = likely_graph(graph, options.input_dims);

  std::unordered_map<int, size_t> numbers;
  std::vector<Region> regions;
  for (ir::NodeId id : order) {
    const int region = region_of_unit[units.of_node[id]];
    if (region < 0) continue;
    const auto [it, is_new] = numbers.try_emplace(region, regions.size());
    if (is_new) regions.emplace_back();
    regions[it->second].nodes.push_back(id);
    regions[it->second].flops += likely_flops(likely, id).value_or(0);
  }
  Partition result;
  for (Region& region : regions) {
    find_boundary(graph, consumers, region);
    const std::string reason = too_small(graph, region, options);
    if (reason.empty()) {
      result.regions.push_back(std::move(region));
    } else {
      for (ir::NodeId id : region.nodes) units.reason[units.of_node[id]] = reason;
    }
  }
  for (int u = 0; u < units.size(); ++u) {
    if (!units.reason[u].empty()) list_left_behind(graph, units, u, result.left_behind);
  }
  return result;
}

Result<ir::Graph> extract_region(const ir::Graph& graph, const Region& region) {
  for (ir::ValueId v : region.inputs) {
    if (graph.value(v).name.empty()) return internal_error("An input of a region has no tensor name.");
  }
  std::vector<std::string> names;
  for (ir::ValueId v : region.outputs) {
    names.push_back(boundary_name(graph, v));
    if (names.back().empty()) return internal_error("An output of a region has no tensor name.");
  }
  return ir::extract(graph, region.nodes, region.inputs, region.outputs, std::move(names));
}

std::string boundary_name(const ir::Graph& graph, ir::ValueId id) {
  if (!graph.value(id).name.empty()) return graph.value(id).name;
  for (size_t i = 0; i < graph.outputs().size(); ++i) {
    if (graph.outputs()[i] == id) return graph.output_names()[i];
  }
  return "";
}

}  // namespace blade::engine
