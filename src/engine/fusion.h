// Nodes that are computed inside the step of the node that reads them, so that what flows between the two stays in
// cache or is never made: a decision of the planner, for concrete shapes.
#pragma once

#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/decisions.h"
#include "engine/plan.h"
#include "ir/graph.h"

namespace blade::engine {

// dtype and dims of a value; -1 for a dim that only the run finds.
backends::TensorDesc desc_of(const ir::Graph& graph, ir::ValueId id);

struct StripChain;  // strip_kernel.h

// Absorbed nodes have no step: a producer whose result only one other node reads, or a padding of channels with zeros
// that a residual does without. Default-constructed: nothing is absorbed.
class Fusion {
 public:
  // `order`: all nodes, producers first; shapes must be static.
  static Fusion choose(const ir::Graph& graph, std::span<const ir::NodeId> order, const Decisions& decisions,
                       const PlanOptions& options);

  bool is_absorbed(ir::NodeId id) const { return !absorbed_.empty() && absorbed_[id] != 0; }
  // True for a cast to float16 that is done while an input is copied to the device: its result is the input there.
  bool is_done_in_copy(ir::NodeId id) const { return !done_in_copy_.empty() && done_in_copy_[id] != 0; }
  // nullptr, or the node computed inside `node`'s step: the producer of its input producer_input().
  const ir::Node* producer(const ir::Graph& graph, const ir::Node& node) const {
    const bool has = !producer_of_.empty() && producer_of_[node.id].node != ir::kNone;
    return has ? &graph.node(producer_of_[node.id].node) : nullptr;
  }
  size_t producer_input(const ir::Node& node) const { return producer_of_[node.id].input; }
  // `node`'s inputs, where absorbed paddings are replaced by what they pad.
  std::vector<ir::ValueId> inputs(const ir::Node& node) const;
  // All nodes that are computed in `node`'s step, producers first.
  std::vector<const ir::Node*> nodes_of_step(const ir::Graph& graph, const ir::Node& node) const;
  // What the step of `node` reads: the producer's inputs, then its own without the value between them.
  std::vector<ir::ValueId> step_inputs(const ir::Graph& graph, const ir::Node& node) const;
  // Makes the steps of a chain one step, of the last one's node.
  void join(const ir::Graph& graph, StripChain chain);
  // nullptr, or the chain that ends with the node.
  const StripChain* strips(const ir::Node& node) const;
  // Pairs that were left apart, where PlanOptions::with_alternatives asks.
  const std::vector<PossiblePair>& possible_pairs() const { return possible_pairs_; }
  // What kernel selection sees of a node.
  backends::KernelRequest request(const ir::Graph& graph, const ir::Node& node, const PlanOptions& options) const;

 private:
  struct Replaced {
    ir::NodeId node;
    size_t input;
    ir::ValueId by;
  };
  void find_cast_of_input(const ir::Graph& graph, const ir::Node& node);
  void absorb_padding(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                      const PlanOptions& options);
  void absorb_producer(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                       const PlanOptions& options);
  // Computes the producer of input `i` together with the node if a row takes the pair and is not predicted slower.
  bool absorb_producer_of(const ir::Graph& graph, const ir::Node& node, size_t i, const Decisions& decisions,
                          const PlanOptions& options);
  // Computes three convolutions in one step, the first of which `producer` may have absorbed before.
  bool absorb_chain(const ir::Graph& graph, const ir::Node& node, const ir::Node& producer, const Decisions& decisions,
                    const PlanOptions& options);
  // Computes a cast together with the pair that `producer` ends.
  bool absorb_pair(const ir::Graph& graph, const ir::Node& cast, const ir::Node& producer, const Decisions& decisions,
                   const PlanOptions& options);
  // Whether `producer` should leave the pair that it ends for the step of `node`.
  bool is_better_off(const ir::Graph& graph, const ir::Node& node, const ir::Node& producer, const Decisions& decisions,
                     const PlanOptions& options) const;
  // Whether tuning put `node` and its producer into one step.
  bool is_tuned_pair(const ir::Graph& graph, const ir::Node& node, const Decisions& decisions,
                     const PlanOptions& options) const;
  // Whether nodes become one step on the host: by prediction, unless tuning found out.
  bool decide(const backends::KernelRequest& request, bool predicted_faster, std::vector<std::string> nodes,
              const Decisions& decisions, const PlanOptions& options);
  // The node that makes input `i` of `node` for it alone, or nullptr.
  const ir::Node* sole_producer(const ir::Graph& graph, const ir::Node& node, size_t i) const;

  struct Producer {
    ir::NodeId node = ir::kNone;
    size_t input = 0;
  };
  std::vector<char> absorbed_, done_in_copy_;  // by node id, as is producer_of_
  std::vector<Producer> producer_of_;
  std::vector<Replaced> replaced_;
  std::vector<PossiblePair> possible_pairs_;
  std::vector<std::vector<ir::NodeId>> consumers_;
  std::unordered_map<ir::NodeId, std::shared_ptr<const StripChain>> chains_;  // by the last node
};

}  // namespace blade::engine
