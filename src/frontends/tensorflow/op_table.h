// The table of TensorFlow ops: signature, element types and how each becomes IR nodes; one line an op in ops.inc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "frontends/tensorflow/proto/graph_def.h"
#include "ir/types.h"

namespace blade::tensorflow {

class LowerContext;
// Adds the IR nodes of one TensorFlow node. kUnimplemented: the node stays in TensorFlow, the sentence is the reason.
using LowerFunction = Status (*)(LowerContext& context, int argument);

// An input or output argument of a TensorFlow op: one tensor, `number_attr` tensors of one type, or a list of types.
struct ArgSpec {
  std::string name;
  std::string number_attr;
  std::string type_list_attr;
  std::string type_attr;
  DataType type = DataType::kInvalid;  // fixed type, or the default of `type_attr` (kInvalid: it has none)
};

struct OpSpec {
  std::string name;
  std::string signature;  // as in ops.inc: "input:T,axis:Tidx=int32->output:T"
  std::vector<ArgSpec> inputs, outputs;
  LowerFunction lower = nullptr;  // null: always stays in TensorFlow
  int argument = 0;               // handed to `lower`
  uint32_t dtypes = 0;            // bit set over ir::DType that the attribute T may be
  std::string reason;             // why it stays, where `lower` is null
  bool takes_lists = false;  // of TensorArrays and tensor lists, whose handles and flows the IR has as dense values
};

// Null for an op that is not in the table.
const OpSpec* find_op(std::string_view name);
// All of them, sorted by name.
std::span<const OpSpec> all_ops();

// kOpaque for what the IR has no type for.
ir::DType to_ir(DataType type);
// The integer type in which a quantized type's values are stored; kInvalid for other types.
ir::DType integers_behind(DataType type);
DataType from_ir(ir::DType type);

// One entry a tensor, from the node's attributes; an error names the missing or ill-typed attribute.
Result<std::vector<DataType>> tensor_types(const std::vector<ArgSpec>& args, const NodeDef& node);
// What a function body calls output `index` of the node, after "node:": "output:1".
Result<std::string> output_name(const OpSpec& spec, const NodeDef& node, int index);

}  // namespace blade::tensorflow
