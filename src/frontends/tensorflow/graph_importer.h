// The state of one import and its steps. importer.cc walks the nodes, importer_interface.cc chooses inputs and outputs,
// importer_control_flow.cc turns loops and conditionals into nodes that hold graphs.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "frontends/tensorflow/control_flow_groups.h"
#include "frontends/tensorflow/import_control_flow.h"
#include "frontends/tensorflow/importer.h"
#include "frontends/tensorflow/lower_context.h"
#include "frontends/tensorflow/node_index.h"
#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {

class GraphImporter {
 public:
  GraphImporter(FlatGraph flat, const ImportOptions& options)
      : options_(options), source_(flat.graph), kept_calls_(std::move(flat.kept_calls)), inference_(model_.graph) {
    model_.engines = std::move(flat.engines);
    for (const auto& [node, reason] : kept_calls_) model_.notes.push_back("'" + node + "' still calls " + reason);
  }
  Result<ImportedModel> run();
  // A part of a loop or conditional; nothing of it may stay in TensorFlow.
  Result<ImportedPart> run_part(const SubSource& part, const std::vector<Argument>& operands, int roots);

 private:
  const NodeDef& node_at(int node) const { return source_->nodes[node]; }
  ir::ValueId value(const TensorRef& ref) const;

  // importer_control_flow.cc
  // Inside loops and branches, what runs is what the results need: nobody waits for checks and prints.
  void drop_checks();
  // `may_fail`: see ImportOptions::without_tensorflow.
  PartImporter part_importer(bool may_fail) const;
  static const ImportOptions& inside_options(bool without_tensorflow);
  void add_operands(const SubSource& part, const std::vector<Argument>& operands);
  // Imaginary part of a complex number; zeros where there is none.
  Result<ir::ValueId> imaginary_part(int node, ir::ValueId real);
  void note_complex(ir::ValueId real, ir::ValueId imaginary);
  // See ImportedPart::complex.
  Result<std::vector<int>> append_imaginary_outputs();
  // What is known of the operands of a loop or conditional, the first of which are variables. Imaginary parts are
  // appended to both groups.
  Result<std::vector<Argument>> arguments_for(int node, std::vector<ir::ValueId>& operands, size_t* variables,
                                              int* roots);
  // The IR values of the loop's variables after it, in order.
  Result<std::vector<ir::ValueId>> add_loop(int node, const SubSource& condition, const SubSource& body,
                                            std::vector<ir::ValueId> operands, size_t variables);
  // The branch that is always taken, because the condition is a constant, or a default (is_training = false) of which
  // the model's inputs do not tell: what the others hold does not count.
  std::optional<size_t> known_branch(ir::ValueId condition, size_t branches) const;
  Result<std::vector<ir::ValueId>> add_branches(int node, ir::ValueId condition, std::span<const SubSource> branches,
                                                std::vector<ir::ValueId> operands);
  void set_result(const TensorRef& ref, ir::ValueId id);
  Status import_group(const ControlFlowGroup& group);
  static bool calls_parts(const NodeDef& node);
  Result<SubSource> source_of(const NodeDef& def, const char* attr, const char* suffix, size_t inputs) const;
  Result<std::vector<ir::ValueId>> add_functional(int node);
  Status import_functional(int node);
  // In the place of an op that Blade does not have: of its type and shape, but a run that gets there is an error.
  Status add_failing(int node, const OpSpec& spec);
  std::string why_foreign(const NodeDef& def, const OpSpec& spec) const;

  // importer_interface.cc
  std::vector<std::string> placeholder_names() const;
  bool is_fed(const std::string& node) const;
  void find_unread();
  Status choose_inputs();
  Result<DataType> input_type(TensorRef ref, const std::string& tensor) const;
  Status add_input(TensorRef ref, const std::string& tensor);
  Result<ir::Shape> input_shape(const NodeDef& node, const std::string& tensor, DataType type);
  // Unknown dims become symbols named after `name`.
  ir::Shape symbolic_shape(const TensorShapeProto& shape, const std::string& name);
  // How many tensors a node gives; 1 for ops that nobody knows and nobody reads.
  int output_count(int node) const;
  std::vector<std::string> leaf_tensors() const;
  Status choose_outputs();
  void find_needed();
  Status set_outputs();
  void find_single_engine();

  // importer.cc
  Status index_nodes();
  Status import_all();
  // Ops that nobody knows have outputs of the types that their readers expect.
  void learn_types();
  void set_value(int node, int port, ir::ValueId id);
  Status import_node(int node);
  bool has_stored_default(int node) const;
  Status import_fixed(int node, const ir::TensorPtr& value);
  Status import_constant(int node);
  Status add_complex_constant(int node, const TensorData& data);
  // The value of an input; what stands for it, where the node knows what to do with that.
  ir::ValueId operand(const TensorRef& ref, bool takes_stand_ins) const;
  // Why the node's operands do not let it in, or an empty string.
  Result<std::string> refuse_types(int node, const OpSpec& spec);
  // Why a tensor of the type is not what `value` is, or an empty string.
  std::string refuse_operand(const TensorRef& ref, DataType expected, bool takes_stand_ins) const;
  Status refuse_stand_ins(const std::vector<ir::ValueId>& operands) const;
  std::vector<ir::ValueId> input_values(int node) const;
  // Takes back the nodes that a failed attempt has added; the reason why it stays, or an error that is none.
  Result<std::string> gave_up(const Status& status, ir::NodeId first);
  void keep_new_nodes(int node, ir::NodeId first, const std::vector<int>& controls);
  Status lower(int node, const OpSpec& spec);
  Status note_stand_ins(int node, const OpSpec& spec, const LowerContext& context);
  std::vector<bool> used_outputs(int node) const;
  // The types and shapes of what a node that stays gives; kOpaque and unknown where only TensorFlow could say.
  std::vector<ir::DType> foreign_types(int node) const;
  ir::Shape foreign_shape(int node, int port);
  bool finds_scalars(int node) const;
  Status add_foreign(int node, std::string reason);
  std::vector<int> foreign_controls(int node) const { return index_.controls_among(model_.foreign, node); }
  void add_control(ir::NodeId id, int producer);

  const ImportOptions& options_;
  ImportedModel model_;
  GraphDef source_;
  std::map<std::string, std::string> kept_calls_;  // see FlatGraph
  NodeIndex index_;
  StepInference inference_;
  std::vector<std::string> reasons_;  // of nodes inside loops and branches
  std::vector<ControlFlowGroup> groups_;
  std::vector<int> group_of_;              // a node's group that is imported whole; -1 for others
  std::unordered_set<ir::ValueId> lists_;  // values that are TensorArrays' flows or tensor lists
  // Values that stand for tensors of types that the IR does not have: complex numbers (of which they are the real part)
  // and quantized ones. Like lists they have no name outside.
  std::unordered_map<ir::ValueId, DataType> stand_ins_;
  std::unordered_map<ir::ValueId, ir::ValueId> imaginary_;
  static constexpr int kMaxDepth = 24;
  int depth_ = 0;          // of loops and conditionals around this part
  bool may_fail_ = false;  // it is a branch, of which see ImportOptions::without_tensorflow
  std::unordered_set<ir::NodeId> failing_;
  std::vector<TensorRef> outputs_;
  std::vector<bool> needed_;                    // by an output
  std::vector<char> waited_for_;                // by a control edge of a needed node
  std::vector<std::vector<DataType>> learned_;  // output types of unknown ops
  std::vector<std::vector<ir::ValueId>> values_;
  // What stands for constants of such types, which TensorFlow keeps for other readers, by node.
  std::unordered_map<int, ir::ValueId> stored_;
  std::vector<std::vector<ir::NodeId>> node_ids_;
  size_t expanded_bytes_ = 0;
};

}  // namespace blade::tensorflow
