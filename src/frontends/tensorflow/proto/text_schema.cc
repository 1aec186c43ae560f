#include "frontends/tensorflow/proto/text_schema.h"

#include "frontends/tensorflow/proto/data_type.h"

namespace blade::tensorflow {
namespace {

using F = FieldType;
using M = MessageId;

constexpr FieldSpec kGraphDef[] = {{1, "node", F::kMessage, true, M::kNodeDef},
                                   {2, "library", F::kMessage, false, M::kLibrary},
                                   {3, "version", F::kInt32},
                                   {4, "versions", F::kMessage, false, M::kVersions},
                                   {5, "debug_info", F::kMessage, false, M::kDebugInfo}};
constexpr FieldSpec kNodeDef[] = {{1, "name", F::kString},
                                  {2, "op", F::kString},
                                  {3, "input", F::kString, true},
                                  {4, "device", F::kString},
                                  {5, "attr", F::kMessage, true, M::kAttrEntry},
                                  {6, "experimental_debug_info", F::kMessage, false, M::kNodeDebugInfo},
                                  {7, "experimental_type", F::kMessage, false, M::kFullType}};
constexpr FieldSpec kAttrEntry[] = {{1, "key", F::kString}, {2, "value", F::kMessage, false, M::kAttrValue}};
constexpr FieldSpec kAttrValue[] = {{1, "list", F::kMessage, false, M::kAttrList, true},
                                    {2, "s", F::kBytes, false, M::kNone, true},
                                    {3, "i", F::kInt64, false, M::kNone, true},
                                    {4, "f", F::kFloat, false, M::kNone, true},
                                    {5, "b", F::kBool, false, M::kNone, true},
                                    {6, "type", F::kDataType, false, M::kNone, true},
                                    {7, "shape", F::kMessage, false, M::kShape, true},
                                    {8, "tensor", F::kMessage, false, M::kTensor, true},
                                    {9, "placeholder", F::kString, false, M::kNone, true},
                                    {10, "func", F::kMessage, false, M::kNameAttrList, true}};
constexpr FieldSpec kAttrList[] = {{2, "s", F::kBytes, true},
                                   {3, "i", F::kInt64, true},
                                   {4, "f", F::kFloat, true},
                                   {5, "b", F::kBool, true},
                                   {6, "type", F::kDataType, true},
                                   {7, "shape", F::kMessage, true, M::kShape},
                                   {8, "tensor", F::kMessage, true, M::kTensor},
                                   {9, "func", F::kMessage, true, M::kNameAttrList}};
constexpr FieldSpec kShape[] = {{2, "dim", F::kMessage, true, M::kDim}, {3, "unknown_rank", F::kBool}};
constexpr FieldSpec kDim[] = {{1, "size", F::kInt64}, {2, "name", F::kString}};
constexpr FieldSpec kTensor[] = {{1, "dtype", F::kDataType},
                                 {2, "tensor_shape", F::kMessage, false, M::kShape},
                                 {3, "version_number", F::kInt32},
                                 {4, "tensor_content", F::kBytes},
                                 {5, "float_val", F::kFloat, true},
                                 {6, "double_val", F::kDouble, true},
                                 {7, "int_val", F::kInt32, true},
                                 {8, "string_val", F::kBytes, true},
                                 {9, "scomplex_val", F::kFloat, true},
                                 {10, "int64_val", F::kInt64, true},
                                 {11, "bool_val", F::kBool, true},
                                 {12, "dcomplex_val", F::kDouble, true},
                                 {13, "half_val", F::kInt32, true},
                                 {14, "resource_handle_val", F::kMessage, true, M::kResourceHandle},
                                 {15, "variant_val", F::kMessage, true, M::kVariantTensorData},
                                 {16, "uint32_val", F::kUint32, true},
                                 {17, "uint64_val", F::kUint64, true},
                                 {18, "float8_val", F::kBytes}};
constexpr FieldSpec kResourceHandle[] = {{1, "device", F::kString},
                                         {2, "container", F::kString},
                                         {3, "name", F::kString},
                                         {4, "hash_code", F::kUint64},
                                         {5, "maybe_type_name", F::kString},
                                         {6, "dtypes_and_shapes", F::kMessage, true, M::kDtypeAndShape}};
constexpr FieldSpec kDtypeAndShape[] = {{1, "dtype", F::kDataType}, {2, "shape", F::kMessage, false, M::kShape}};
constexpr FieldSpec kVariantTensorData[] = {
    {1, "type_name", F::kString}, {2, "metadata", F::kBytes}, {3, "tensors", F::kMessage, true, M::kTensor}};
constexpr FieldSpec kNameAttrList[] = {{1, "name", F::kString}, {2, "attr", F::kMessage, true, M::kAttrEntry}};
constexpr FieldSpec kNodeDebugInfo[] = {{1, "original_node_names", F::kString, true},
                                        {2, "original_func_names", F::kString, true}};
constexpr FieldSpec kFullType[] = {{1, "type_id", F::kFullTypeId},
                                   {2, "args", F::kMessage, true, M::kFullType},
                                   {3, "s", F::kString, false, M::kNone, true},
                                   {4, "i", F::kInt64, false, M::kNone, true}};
constexpr FieldSpec kLibrary[] = {{1, "function", F::kMessage, true, M::kFunction},
                                  {2, "gradient", F::kMessage, true, M::kGradient},
                                  {3, "registered_gradients", F::kMessage, true, M::kRegisteredGradient}};
constexpr FieldSpec kFunction[] = {{1, "signature", F::kMessage, false, M::kOpDef},
                                   {3, "node_def", F::kMessage, true, M::kNodeDef},
                                   {4, "ret", F::kMessage, true, M::kStringEntry},
                                   {5, "attr", F::kMessage, true, M::kAttrEntry},
                                   {6, "control_ret", F::kMessage, true, M::kStringEntry},
                                   {7, "arg_attr", F::kMessage, true, M::kArgAttrEntry},
                                   {8, "resource_arg_unique_id", F::kMessage, true, M::kUniqueIdEntry}};
constexpr FieldSpec kOpDef[] = {{1, "name", F::kString},
                                {2, "input_arg", F::kMessage, true, M::kArgDef},
                                {3, "output_arg", F::kMessage, true, M::kArgDef},
                                {4, "attr", F::kMessage, true, M::kAttrDef},
                                {5, "summary", F::kString},
                                {6, "description", F::kString},
                                {8, "deprecation", F::kMessage, false, M::kDeprecation},
                                {16, "is_aggregate", F::kBool},
                                {17, "is_stateful", F::kBool},
                                {18, "is_commutative", F::kBool},
                                {19, "allows_uninitialized_input", F::kBool},
                                {20, "control_output", F::kString, true},
                                {21, "is_distributed_communication", F::kBool}};
constexpr FieldSpec kArgDef[] = {{1, "name", F::kString},
                                 {2, "description", F::kString},
                                 {3, "type", F::kDataType},
                                 {4, "type_attr", F::kString},
                                 {5, "number_attr", F::kString},
                                 {6, "type_list_attr", F::kString},
                                 {7, "handle_data", F::kMessage, true, M::kDtypeAndShape},
                                 {16, "is_ref", F::kBool},
                                 {17, "experimental_full_type", F::kMessage, false, M::kFullType}};
constexpr FieldSpec kAttrDef[] = {{1, "name", F::kString},
                                  {2, "type", F::kString},
                                  {3, "default_value", F::kMessage, false, M::kAttrValue},
                                  {4, "description", F::kString},
                                  {5, "has_minimum", F::kBool},
                                  {6, "minimum", F::kInt64},
                                  {7, "allowed_values", F::kMessage, false, M::kAttrValue}};
constexpr FieldSpec kDeprecation[] = {{1, "version", F::kInt32}, {2, "explanation", F::kString}};
constexpr FieldSpec kStringEntry[] = {{1, "key", F::kString}, {2, "value", F::kString}};
constexpr FieldSpec kArgAttrEntry[] = {{1, "key", F::kUint32}, {2, "value", F::kMessage, false, M::kArgAttrs}};
constexpr FieldSpec kArgAttrs[] = {{1, "attr", F::kMessage, true, M::kAttrEntry}};
constexpr FieldSpec kUniqueIdEntry[] = {{1, "key", F::kUint32}, {2, "value", F::kUint32}};
constexpr FieldSpec kGradient[] = {{1, "function_name", F::kString}, {2, "gradient_func", F::kString}};
constexpr FieldSpec kRegisteredGradient[] = {{1, "gradient_func", F::kString}, {2, "registered_op_type", F::kString}};
constexpr FieldSpec kVersions[] = {
    {1, "producer", F::kInt32}, {2, "min_consumer", F::kInt32}, {3, "bad_consumers", F::kInt32, true}};
constexpr FieldSpec kDebugInfo[] = {{1, "files", F::kString, true},
                                    {2, "traces", F::kMessage, true, M::kTracesEntry},
                                    {4, "frames_by_id", F::kMessage, true, M::kFramesByIdEntry},
                                    {5, "name_to_trace_id", F::kMessage, true, M::kNameToTraceIdEntry},
                                    {6, "traces_by_id", F::kMessage, true, M::kTracesByIdEntry}};
constexpr FieldSpec kTracesEntry[] = {{1, "key", F::kString}, {2, "value", F::kMessage, false, M::kStackTrace}};
constexpr FieldSpec kStackTrace[] = {{1, "file_line_cols", F::kMessage, true, M::kFileLineCol},
                                     {2, "frame_id", F::kFixed64, true}};
constexpr FieldSpec kFileLineCol[] = {{1, "file_index", F::kInt32},
                                      {2, "line", F::kInt32},
                                      {3, "col", F::kInt32},
                                      {4, "func", F::kString},
                                      {5, "code", F::kString}};
constexpr FieldSpec kFramesByIdEntry[] = {{1, "key", F::kFixed64}, {2, "value", F::kMessage, false, M::kFileLineCol}};
constexpr FieldSpec kNameToTraceIdEntry[] = {{1, "key", F::kString}, {2, "value", F::kFixed64}};
constexpr FieldSpec kTracesByIdEntry[] = {{1, "key", F::kFixed64}, {2, "value", F::kMessage, false, M::kStackTrace}};

// Indexed by MessageId.
const MessageSpec kMessages[] = {
    {"nothing", {}},
    {"GraphDef", kGraphDef},
    {"NodeDef", kNodeDef},
    {"a map entry", kAttrEntry, true},
    {"AttrValue", kAttrValue},
    {"AttrValue.ListValue", kAttrList},
    {"TensorShapeProto", kShape},
    {"TensorShapeProto.Dim", kDim},
    {"TensorProto", kTensor},
    {"ResourceHandleProto", kResourceHandle},
    {"ResourceHandleProto.DtypeAndShape", kDtypeAndShape},
    {"VariantTensorDataProto", kVariantTensorData},
    {"NameAttrList", kNameAttrList},
    {"NodeDef.ExperimentalDebugInfo", kNodeDebugInfo},
    {"FullTypeDef", kFullType},
    {"FunctionDefLibrary", kLibrary},
    {"FunctionDef", kFunction},
    {"OpDef", kOpDef},
    {"OpDef.ArgDef", kArgDef},
    {"OpDef.AttrDef", kAttrDef},
    {"OpDeprecation", kDeprecation},
    {"a map entry", kStringEntry, true},
    {"a map entry", kArgAttrEntry, true},
    {"FunctionDef.ArgAttrs", kArgAttrs},
    {"a map entry", kUniqueIdEntry, true},
    {"GradientDef", kGradient},
    {"RegisteredGradient", kRegisteredGradient},
    {"VersionDef", kVersions},
    {"GraphDebugInfo", kDebugInfo},
    {"a map entry", kTracesEntry, true},
    {"GraphDebugInfo.StackTrace", kStackTrace},
    {"GraphDebugInfo.FileLineCol", kFileLineCol},
    {"a map entry", kFramesByIdEntry, true},
    {"a map entry", kNameToTraceIdEntry, true},
    {"a map entry", kTracesByIdEntry, true},
};
static_assert(std::size(kMessages) == static_cast<size_t>(M::kTracesByIdEntry) + 1);

struct EnumValue {
  int32_t number;
  std::string_view name;
};

// As in tensorflow/core/framework/full_type.proto.
constexpr EnumValue kFullTypeIds[] = {
    {0, "TFT_UNSET"},
    {1, "TFT_VAR"},
    {2, "TFT_ANY"},
    {3, "TFT_PRODUCT"},
    {4, "TFT_NAMED"},
    {20, "TFT_FOR_EACH"},
    {100, "TFT_CALLABLE"},
    {200, "TFT_BOOL"},
    {201, "TFT_UINT8"},
    {202, "TFT_UINT16"},
    {203, "TFT_UINT32"},
    {204, "TFT_UINT64"},
    {205, "TFT_INT8"},
    {206, "TFT_INT16"},
    {207, "TFT_INT32"},
    {208, "TFT_INT64"},
    {209, "TFT_HALF"},
    {210, "TFT_FLOAT"},
    {211, "TFT_DOUBLE"},
    {212, "TFT_COMPLEX64"},
    {213, "TFT_COMPLEX128"},
    {214, "TFT_STRING"},
    {215, "TFT_BFLOAT16"},
    {1000, "TFT_TENSOR"},
    {1001, "TFT_ARRAY"},
    {1002, "TFT_OPTIONAL"},
    {1003, "TFT_LITERAL"},
    {1004, "TFT_ENCODED"},
    {1005, "TFT_SHAPE_TENSOR"},
    {10102, "TFT_DATASET"},
    {10103, "TFT_RAGGED"},
    {10104, "TFT_ITERATOR"},
    {10202, "TFT_MUTEX_LOCK"},
    {10203, "TFT_LEGACY_VARIANT"},
};

}  // namespace

const FieldSpec* MessageSpec::find(std::string_view field_name) const {
  for (const FieldSpec& field : fields) {
    if (field.name == field_name) return &field;
  }
  return nullptr;
}

const FieldSpec* MessageSpec::find(uint32_t number) const {
  for (const FieldSpec& field : fields) {
    if (field.number == number) return &field;
  }
  return nullptr;
}

const MessageSpec& message_spec(MessageId id) { return kMessages[static_cast<size_t>(id)]; }

std::optional<int32_t> enum_number(FieldType type, std::string_view name) {
  if (type == FieldType::kDataType) {
    if (!name.starts_with("DT_")) return std::nullopt;
    auto data_type = parse_data_type(name);
    return data_type ? std::optional<int32_t>(static_cast<int32_t>(*data_type)) : std::nullopt;
  }
  for (const EnumValue& value : kFullTypeIds) {
    if (value.name == name) return value.number;
  }
  return std::nullopt;
}

std::string enum_name(FieldType type, int32_t number) {
  if (type == FieldType::kDataType) return data_type_enum_name(static_cast<DataType>(number));
  for (const EnumValue& value : kFullTypeIds) {
    if (value.number == number) return std::string(value.name);
  }
  return {};
}

}  // namespace blade::tensorflow
