// TensorFlow graph to IR: every node becomes IR nodes, or a Foreign node that says why it stays in TensorFlow.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/flatten.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "ir/graph.h"

namespace blade::tensorflow {

// Whether the node fills a lookup table when it is run: nothing reads it, but a session needs it.
bool is_table_initializer(const NodeDef& node);

// What is known of a tensor of a node that stays in TensorFlow.
struct KnownTensor {
  DataType dtype = DataType::kInvalid;
  TensorShapeProto shape;
};

struct ImportOptions {
  // Node or tensor names. Empty: all Placeholders, in graph order.
  std::vector<std::string> inputs;
  // Names that the user has values for: where `inputs` is empty, a PlaceholderWithDefault among them is an input, too.
  std::vector<std::string> fed;
  // By node name: placeholders that are no inputs, since the engines are built for one value of them. In a session a
  // run that feeds another takes the original graph.
  std::map<std::string, ir::TensorPtr> fixed;
  // In a session a run may feed any PlaceholderWithDefault: one whose default is computed then bounds regions.
  bool may_feed_defaults = false;
  // Empty: every node that nothing reads (but constants, inputs and nodes without outputs).
  std::vector<std::string> outputs;
  // Dims of inputs by node or tensor name, -1 for unknown; must agree with what the graph says.
  std::map<std::string, std::vector<int64_t>> input_shapes;
  // Asked for the rank of an input, by its tensor's name and its place among the inputs, where neither the graph nor
  // `input_shapes` tells it. Empty, or no answer: it stays unknown.
  std::function<std::optional<size_t>(const std::string& tensor, size_t index)> rank_of;
  // By tensor name ("decode:0"): what TensorFlow says of its own nodes' results.
  std::map<std::string, KnownTensor> known_tensors;
  // There is no TensorFlow to leave nodes to. Random ops inside the branches of conditionals are taken in, and a run
  // that takes such a branch is an error: as a rule they are the dropout of a branch for training.
  bool without_tensorflow = false;
  // false: a Foreign node that an output needs is an error that lists the reasons.
  bool allow_foreign = true;
};

// A constant of the source graph and the IR tensor made from it.
struct SourceConstant {
  int32_t origin = -1;
  ir::TensorPtr tensor;
};

// A placeholder that is no input of the model.
struct UnreadPlaceholder {
  std::string name;
  ir::TensorPtr value;  // the default that is built in; null where no output needs the placeholder
};

// A placeholder that is no input, and whose default nodes compute.
struct ComputedDefault {
  std::string name;
  ir::ValueId value;              // in the graph as imported
  bool needs_tensorflow = false;  // what computes it, or what that reads
};

// What was taken for granted of an input of which the graph does not tell the rank.
struct AssumedRank {
  DataType dtype = DataType::kInvalid;  // of the input
  int32_t rank = 0;
};

struct ImportedModel {
  ir::Graph graph;                        // Node::origin is an index into source's nodes
  GraphDef source;                        // the graph with function calls inlined
  std::vector<std::string> inputs;        // tensor names ("input:0"), in the order of graph.inputs()
  std::vector<std::string> outputs;       // the same for graph.outputs()
  std::vector<UnreadPlaceholder> unread;  // what a session could be fed beside the inputs
  std::vector<ComputedDefault> computed_defaults;
  std::map<std::string, ir::TensorPtr> fixed;   // see ImportOptions
  std::map<std::string, AssumedRank> ranks;     // by tensor name: of ImportOptions::input_shapes or rank_of
  std::vector<char> foreign;                    // one entry a source node: 1 where it stays in TensorFlow
  std::map<std::string, DataType> known_types;  // of ImportOptions::known_tensors
  std::vector<SourceConstant> constants;
  // Source nodes that one IR node stands for beside its origin: the frame of a loop, the branches of a conditional.
  std::unordered_map<int32_t, std::vector<int32_t>> groups;
  std::vector<std::string> notes;     // what was inferred or left out, in words
  std::vector<EngineRegion> engines;  // of an optimized graph
  // The whole model is engines[0]: its inputs are `inputs` and its outputs hold all of `outputs`.
  bool single_engine = false;
};

Result<ImportedModel> import_graph(const GraphDef& graph, const ImportOptions& options = {});

// The Const node of `model.source` that `tensor` was made from (also one that was only reshaped); -1 for others.
int32_t source_constant(const ImportedModel& model, const ir::Tensor& tensor);

}  // namespace blade::tensorflow
