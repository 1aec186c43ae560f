// The messages that a GraphDef is made of, as a table: what the text format needs to know of each field.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace blade::tensorflow {

enum class FieldType : uint8_t {
  kInt32,
  kInt64,
  kUint32,
  kUint64,
  kFixed64,
  kFloat,
  kDouble,
  kBool,
  kDataType,    // enum tensorflow.DataType
  kFullTypeId,  // enum tensorflow.FullTypeId
  kString,
  kBytes,
  kMessage,
};

enum class MessageId : uint8_t {
  kNone,
  kGraphDef,
  kNodeDef,
  kAttrEntry,
  kAttrValue,
  kAttrList,
  kShape,
  kDim,
  kTensor,
  kResourceHandle,
  kDtypeAndShape,
  kVariantTensorData,
  kNameAttrList,
  kNodeDebugInfo,
  kFullType,
  kLibrary,
  kFunction,
  kOpDef,
  kArgDef,
  kAttrDef,
  kDeprecation,
  kStringEntry,
  kArgAttrEntry,
  kArgAttrs,
  kUniqueIdEntry,
  kGradient,
  kRegisteredGradient,
  kVersions,
  kDebugInfo,
  kTracesEntry,
  kStackTrace,
  kFileLineCol,
  kFramesByIdEntry,
  kNameToTraceIdEntry,
  kTracesByIdEntry,
};

struct FieldSpec {
  uint32_t number;
  std::string_view name;
  FieldType type;
  bool repeated = false;
  MessageId message = MessageId::kNone;
  bool oneof = false;  // of each message's oneof fields one at most is set, and it is written even when zero
};

struct MessageSpec {
  std::string_view name;
  std::span<const FieldSpec> fields;
  bool map_entry = false;

  const FieldSpec* find(std::string_view field_name) const;
  const FieldSpec* find(uint32_t number) const;
};

const MessageSpec& message_spec(MessageId id);
// nullopt, or an empty name, where the enum has no such value.
std::optional<int32_t> enum_number(FieldType type, std::string_view name);
std::string enum_name(FieldType type, int32_t number);

}  // namespace blade::tensorflow
