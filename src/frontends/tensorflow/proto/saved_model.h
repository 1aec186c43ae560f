// SavedModel directories: which graph they hold, what it is fed and what it gives, and writing it back with another
// graph.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"

namespace blade::tensorflow {

struct TensorInfo {
  std::string name;  // "input:0"; empty for sparse and composite tensors
  DataType dtype = DataType::kInvalid;
  TensorShapeProto shape;
};

struct SignatureDef {
  std::map<std::string, TensorInfo> inputs;
  std::map<std::string, TensorInfo> outputs;
  std::string method_name;
};

struct MetaGraph {
  std::vector<std::string> tags;
  std::map<std::string, SignatureDef> signatures;
  GraphDef graph;
  SharedBytes wire;  // the MetaGraphDef as read: saver, collections, object graph and the rest are kept from here
};

// What a graph in the place of another offers: the signature, and the tensors ("node:0") that it computes for sure. Of
// a node that became an IdentityN others of its name may hold anything.
struct Offered {
  std::string signature;
  std::vector<std::string> outputs;
};

class SavedModel {
 public:
  // `directory` holds saved_model.pb. Nothing else in it is opened.
  static Result<SavedModel> load(const std::string& directory);
  static Result<SavedModel> parse(SharedBytes wire, std::string_view what);

  const std::vector<MetaGraph>& meta_graphs() const { return meta_graphs_; }
  // The meta graph tagged 'serve' (and, where several are, the one with that tag alone); NotFound names the tags there
  // are.
  Result<const MetaGraph*> serving() const;
  // The bytes of saved_model.pb with the serving meta graph's graph replaced and every other byte kept, but for
  // signatures, collections and the object graph where they name tensors or functions that `graph` has no more. The
  // offered signature keeps the outputs that are left, and the inputs.
  Result<std::string> serialize_with(const GraphDef& graph, const Offered& offered = {}) const;
  // The serving meta graph's signatures of which `graph` has not all; `outputs`: as in Offered. TensorFlow's own are
  // not among them.
  Result<std::vector<std::string>> signatures_lost_with(const GraphDef& graph,
                                                        const std::vector<std::string>& outputs = {}) const;
  // Writes a SavedModel directory: saved_model.pb as above, and assets and variables copied from `source_directory`
  // (skipped when that is `directory` itself or empty).
  Status save_with(const GraphDef& graph, const std::string& directory, const std::string& source_directory,
                   const Offered& offered = {}) const;

 private:
  std::string what_;
  SharedBytes wire_;
  std::vector<MetaGraph> meta_graphs_;
};

// The names of a meta graph's signatures but for TensorFlow's own, '__saved_model_init_op'.
std::vector<std::string> signature_names(const MetaGraph& meta_graph);

// The name of the signature to use: `wanted`; where that is empty 'serving_default', or the only one. An error names
// those there are.
Result<std::string> choose_signature(const MetaGraph& meta_graph, const std::string& wanted);

// Names of the nodes (also in functions, as "function/node") that hold variables, of those that use them where none
// holds one; empty for a frozen graph.
std::vector<std::string> variable_nodes(const GraphDef& graph);

}  // namespace blade::tensorflow
