// Reads the signatures of ops.inc once and answers what types and names an op's tensors have.
#include "frontends/tensorflow/op_table.h"

#include <algorithm>
#include <array>

#include "frontends/tensorflow/lower.h"
#include "ir/op.h"

namespace blade::tensorflow {
namespace {

constexpr uint32_t bit(ir::DType type) { return 1u << static_cast<int>(type); }
constexpr uint32_t kFloats =
    bit(ir::DType::kFloat32) | bit(ir::DType::kFloat64) | bit(ir::DType::kFloat16) | bit(ir::DType::kBFloat16);
constexpr uint32_t kSignedIntegers =
    bit(ir::DType::kInt8) | bit(ir::DType::kInt16) | bit(ir::DType::kInt32) | bit(ir::DType::kInt64);
constexpr uint32_t kIntegers = kSignedIntegers | bit(ir::DType::kUInt8) | bit(ir::DType::kUInt16) |
                               bit(ir::DType::kUInt32) | bit(ir::DType::kUInt64);
constexpr uint32_t kSigned = kFloats | kSignedIntegers;
constexpr uint32_t kNumbers = kFloats | kIntegers;
constexpr uint32_t kAnyType = kNumbers | bit(ir::DType::kBool);

struct Line {
  const char* name;
  const char* signature;
  uint32_t dtypes;
  LowerFunction lower;
  int argument;
  const char* reason;
  bool takes_lists;
};

constexpr Line kLines[] = {
#define BLADE_TF_OP(name, signature, dtypes, lower, argument) {#name, signature, dtypes, lower, argument, "", false},
#define BLADE_TF_FOREIGN(name, signature, reason) {#name, signature, 0, nullptr, 0, reason, false},
#define BLADE_TF_LIST_OP(name, signature, lower, argument) {#name, signature, kAnyType, lower, argument, "", true},
#include "frontends/tensorflow/ops.inc"
#undef BLADE_TF_OP
#undef BLADE_TF_FOREIGN
#undef BLADE_TF_LIST_OP
};

std::string_view take_until(std::string_view& text, char end) {
  size_t at = text.find(end);
  std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

ArgSpec parse_arg(std::string_view text) {
  ArgSpec arg;
  arg.name = take_until(text, ':');
  if (text.starts_with('[')) {
    arg.type_list_attr = text.substr(1, text.size() - 2);
    return arg;
  }
  if (text.find('*') != std::string_view::npos) arg.number_attr = take_until(text, '*');
  std::string_view type = take_until(text, '=');
  if (!text.empty()) arg.type = parse_data_type(text).value_or(DataType::kInvalid);
  if (auto fixed = parse_data_type(type)) {
    arg.type = *fixed;
  } else {
    arg.type_attr = type;
  }
  return arg;
}

std::vector<ArgSpec> parse_args(std::string_view text) {
  std::vector<ArgSpec> args;
  while (!text.empty()) args.push_back(parse_arg(take_until(text, ',')));
  return args;
}

std::vector<OpSpec> read_table() {
  std::vector<OpSpec> table;
  for (const Line& line : kLines) {
    std::string_view signature = line.signature;
    size_t arrow = signature.find("->");
    table.push_back({line.name, line.signature, parse_args(signature.substr(0, arrow)),
                     parse_args(signature.substr(arrow + 2)), line.lower, line.argument, line.dtypes, line.reason,
                     line.takes_lists});
  }
  std::sort(table.begin(), table.end(), [](const OpSpec& a, const OpSpec& b) { return a.name < b.name; });
  return table;
}

constexpr std::pair<DataType, ir::DType> kTypes[] = {
    {DataType::kFloat, ir::DType::kFloat32}, {DataType::kDouble, ir::DType::kFloat64},
    {DataType::kHalf, ir::DType::kFloat16},  {DataType::kBfloat16, ir::DType::kBFloat16},
    {DataType::kInt8, ir::DType::kInt8},     {DataType::kInt16, ir::DType::kInt16},
    {DataType::kInt32, ir::DType::kInt32},   {DataType::kInt64, ir::DType::kInt64},
    {DataType::kUint8, ir::DType::kUInt8},   {DataType::kUint16, ir::DType::kUInt16},
    {DataType::kUint32, ir::DType::kUInt32}, {DataType::kUint64, ir::DType::kUInt64},
    {DataType::kBool, ir::DType::kBool},
};

// How many tensors an argument stands for.
Result<int64_t> tensor_count(const ArgSpec& arg, const NodeDef& node) {
  constexpr int64_t kMost = 1 << 16;
  if (!arg.type_list_attr.empty()) {
    BLADE_ASSIGN_OR_RETURN(auto types, types_attr(node, arg.type_list_attr));
    return static_cast<int64_t>(types.size());
  }
  if (arg.number_attr.empty()) return 1;
  bool optional = arg.number_attr == "num_host_args" || arg.number_attr == "num_side_inputs";
  BLADE_ASSIGN_OR_RETURN(int64_t count,
                         optional ? int_attr_or(node, arg.number_attr, 0) : int_attr(node, arg.number_attr));
  if (count < 0 || count > kMost) {
    return invalid_argument("node '" + node->name + "' (" + node->op + ") has " + std::to_string(count) +
                            " in its attribute '" + arg.number_attr + "', expected 0 to " + std::to_string(kMost));
  }
  return count;
}

}  // namespace

std::span<const OpSpec> all_ops() {
  static const std::vector<OpSpec> table = read_table();
  return table;
}

const OpSpec* find_op(std::string_view name) {
  std::span<const OpSpec> table = all_ops();
  auto it = std::lower_bound(table.begin(), table.end(), name,
                             [](const OpSpec& spec, std::string_view key) { return spec.name < key; });
  return it != table.end() && it->name == name ? &*it : nullptr;
}

ir::DType to_ir(DataType type) {
  for (auto [tf, blade] : kTypes) {
    if (tf == type) return blade;
  }
  return ir::DType::kOpaque;
}

ir::DType integers_behind(DataType type) {
  switch (type) {
    case DataType::kQint8:
      return ir::DType::kInt8;
    case DataType::kQuint8:
      return ir::DType::kUInt8;
    case DataType::kQint16:
      return ir::DType::kInt16;
    case DataType::kQuint16:
      return ir::DType::kUInt16;
    case DataType::kQint32:
      return ir::DType::kInt32;
    default:
      return ir::DType::kInvalid;
  }
}

DataType from_ir(ir::DType type) {
  for (auto [tf, blade] : kTypes) {
    if (blade == type) return tf;
  }
  return DataType::kInvalid;
}

Result<std::vector<DataType>> tensor_types(const std::vector<ArgSpec>& args, const NodeDef& node) {
  std::vector<DataType> types;
  for (const ArgSpec& arg : args) {
    if (!arg.type_list_attr.empty()) {
      BLADE_ASSIGN_OR_RETURN(auto list, types_attr(node, arg.type_list_attr));
      types.insert(types.end(), list.begin(), list.end());
      continue;
    }
    DataType type = arg.type;
    if (!arg.type_attr.empty()) {
      BLADE_ASSIGN_OR_RETURN(
          type, type == DataType::kInvalid ? type_attr(node, arg.type_attr) : type_attr_or(node, arg.type_attr, type));
    }
    BLADE_ASSIGN_OR_RETURN(int64_t count, tensor_count(arg, node));
    types.insert(types.end(), static_cast<size_t>(count), type);
  }
  return types;
}

Result<std::string> output_name(const OpSpec& spec, const NodeDef& node, int index) {
  int64_t left = index;
  for (const ArgSpec& arg : spec.outputs) {
    BLADE_ASSIGN_OR_RETURN(int64_t count, tensor_count(arg, node));
    if (left < count) return arg.name + ":" + std::to_string(left);
    left -= count;
  }
  return invalid_argument("node '" + node->name + "' (" + node->op + ") has no output " + std::to_string(index));
}

}  // namespace blade::tensorflow
