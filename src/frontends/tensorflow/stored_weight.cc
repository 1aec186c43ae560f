// Checks a stored weight's place and checksum, and makes the Const.
#include "frontends/tensorflow/stored_weight.h"

#include "base/checksum.h"

namespace blade::tensorflow {

Result<NodeDef> stored_weight_const(const NodeDef& node, const SharedPieces& engine) {
  BLADE_ASSIGN_OR_RETURN(int64_t offset, int_attr(node, "offset"));
  BLADE_ASSIGN_OR_RETURN(int64_t expected, int_attr(node, "checksum"));
  BLADE_ASSIGN_OR_RETURN(DataType type, type_attr(node, "dtype"));
  BLADE_ASSIGN_OR_RETURN(auto dims, ints_attr_or(node, "dims", {}));
  uint64_t bytes = data_type_size(type);
  for (int64_t d : dims) {
    if (d < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes)) {
      return invalid_argument("stored weight '" + node->name + "' has an impossible shape");
    }
  }
  const auto data = offset < 0 ? std::nullopt : engine.find(static_cast<uint64_t>(offset), bytes);
  if (!data) {
    return data_loss("stored weight '" + node->name + "' lies at bytes " + std::to_string(offset) + " to " +
                     std::to_string(static_cast<uint64_t>(offset) + bytes) + " of an engine of " +
                     std::to_string(engine.bytes().size()) + " bytes in " +
                     std::to_string(engine.bytes().list().size()) + " pieces; the file is damaged");
  }
  if (static_cast<int64_t>(checksum(std::as_bytes(std::span(data->view())))) != expected) {
    return data_loss("stored weight '" + node->name +
                     "' does not have the checksum it was stored with; the file is damaged");
  }
  NodeFields fields;
  fields.name = node->name;
  fields.op = "Const";
  fields.device = node->device;
  fields.attrs.emplace("dtype", AttrValue::of_type(type));
  fields.attrs.emplace("value", AttrValue::of_tensor(TensorProto::from_dense(type, dims, *data)));
  return NodeDef(std::move(fields));
}

}  // namespace blade::tensorflow
