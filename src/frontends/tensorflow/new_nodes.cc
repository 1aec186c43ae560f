// Makes nodes.
#include "frontends/tensorflow/new_nodes.h"

#include <utility>

#include "frontends/tensorflow/op_table.h"

namespace blade::tensorflow {
namespace {

NodeDef make_const(std::string name, TensorProto tensor, DataType type) {
  AttrMap attrs;
  attrs.emplace("dtype", AttrValue::of_type(type));
  attrs.emplace("value", AttrValue::of_tensor(std::move(tensor)));
  return make_node(std::move(name), "Const", {}, std::move(attrs));
}

}  // namespace

NodeDef make_node(std::string name, std::string op, std::vector<std::string> inputs, AttrMap attrs) {
  NodeFields fields;
  fields.name = std::move(name);
  fields.op = std::move(op);
  fields.inputs = std::move(inputs);
  fields.attrs = std::move(attrs);
  return NodeDef(std::move(fields));
}

Result<NodeDef> dense_const(std::string name, const ir::Tensor& tensor) {
  const DataType type = from_ir(tensor.dtype);
  if (type == DataType::kInvalid) return internal_error("the constant '" + name + "' has no type");
  SharedBytes bytes(tensor.owner, {reinterpret_cast<const char*>(tensor.data), tensor.bytes});
  return make_const(std::move(name), TensorProto::from_dense(type, tensor.dims, std::move(bytes)), type);
}

// TensorFlow copies a graph again and again before its first run: memory for large attributes is mapped and cleared
// anew each time, and of a Const the value is copied for its readers, too.
std::vector<NodeDef> engine_nodes(const RegionToWrite& region, const std::string& name) {
  const size_t count = region.pieces.size();
  std::vector<NodeDef> nodes;
  std::vector<std::string> pieces;
  for (size_t i = 0; i < count; ++i) {
    const size_t end = i + 1 < count ? region.pieces[i + 1] : region.engine.size();
    const std::string_view bytes = region.engine.view().substr(region.pieces[i], end - region.pieces[i]);
    TensorProto tensor =
        TensorProto::from_dense(DataType::kUint8, {static_cast<int64_t>(bytes.size())}, region.engine.slice(bytes));
    if (count == 1) return {make_const(name, std::move(tensor), DataType::kUint8)};
    pieces.push_back(name + "/piece_" + std::to_string(i));
    nodes.push_back(
        make_node(pieces.back(), "BladeEnginePiece", {}, {{"value", AttrValue::of_tensor(std::move(tensor))}}));
  }
  nodes.push_back(
      make_node(name, "BladeEngineFile", std::move(pieces), {{"N", AttrValue::of_int(static_cast<int64_t>(count))}}));
  return nodes;
}

}  // namespace blade::tensorflow
