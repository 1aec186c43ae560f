// Loops and conditionals of a TensorFlow graph as parts that can be imported as graphs of their own: the frames and
// switches of TensorFlow 1, and ops that call functions.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

// A part of a graph. Placeholder `inputs[i]` stands for operand i.
struct SubSource {
  GraphDef graph;
  std::vector<std::string> inputs, outputs;       // node names; tensor names
  std::map<std::string, std::string> kept_calls;  // see FlatGraph
  // Of what control edges alone ask for, which `graph` lacks: a node that has an effect, and those that print, as
  // "'name' (op)".
  std::string effect;
  std::vector<std::string> prints;
};

// An outermost loop or conditional that Switch, Merge, Enter, Exit and NextIteration spell.
struct ControlFlowGroup {
  bool is_loop = false;
  int main = -1;                    // the node that stands for the group: its LoopCond, or its first Merge
  std::vector<int> members;         // all nodes of it, in the order of the index
  std::vector<TensorRef> operands;  // tensors from outside; of a loop the first ones are the variables' first values
  std::vector<TensorRef> results;   // tensors for the outside: {-1, 0} for a variable that nobody outside reads
  TensorRef predicate;              // of a conditional
  // Of a loop: condition, body. Of a conditional: what is taken when the predicate is false, when it is true, or what
  // is taken for each value of an index, the last one for all others, too.
  std::vector<SubSource> parts;
  std::string problem;  // why it cannot be turned into a loop or conditional of its own; empty: it can
};

// Groups in no particular order; a node is in one group at most.
std::vector<ControlFlowGroup> find_control_flow_groups(const GraphDef& graph, const NodeIndex& index);

// The index's order with every group at the place of its first member, producers first; other members are left out.
// group_of: a node's group, or -1 (also where the groups wait for each other: then there are none).
std::vector<int> order_with_groups(const GraphDef& graph, const NodeIndex& index,
                                   const std::vector<ControlFlowGroup>& groups, std::vector<int>* group_of);

// The function `name` as a part whose nodes are called "<prefix>/...", with its calls inlined.
Result<SubSource> function_source(const GraphDef& graph, const NameAttrList& function, const std::string& prefix,
                                  size_t num_inputs);

}  // namespace blade::tensorflow
