#include "frontends/tensorflow/proto/data_type.h"

#include <cctype>
#include <iterator>

namespace blade::tensorflow {
namespace {

struct TypeInfo {
  const char* name;       // as TensorFlow's Python prints it
  const char* enum_name;  // without DT_
  size_t size;
};

// Indexed by the enum's number.
constexpr TypeInfo kTypes[] = {
    {"invalid", "INVALID", 0},
    {"float32", "FLOAT", 4},
    {"float64", "DOUBLE", 8},
    {"int32", "INT32", 4},
    {"uint8", "UINT8", 1},
    {"int16", "INT16", 2},
    {"int8", "INT8", 1},
    {"string", "STRING", 0},
    {"complex64", "COMPLEX64", 8},
    {"int64", "INT64", 8},
    {"bool", "BOOL", 1},
    {"qint8", "QINT8", 1},
    {"quint8", "QUINT8", 1},
    {"qint32", "QINT32", 4},
    {"bfloat16", "BFLOAT16", 2},
    {"qint16", "QINT16", 2},
    {"quint16", "QUINT16", 2},
    {"uint16", "UINT16", 2},
    {"complex128", "COMPLEX128", 16},
    {"float16", "HALF", 2},
    {"resource", "RESOURCE", 0},
    {"variant", "VARIANT", 0},
    {"uint32", "UINT32", 4},
    {"uint64", "UINT64", 8},
    {"float8_e5m2", "FLOAT8_E5M2", 1},
    {"float8_e4m3fn", "FLOAT8_E4M3FN", 1},
    {"float8_e4m3fnuz", "FLOAT8_E4M3FNUZ", 1},
    {"float8_e4m3b11fnuz", "FLOAT8_E4M3B11FNUZ", 1},
    {"float8_e5m2fnuz", "FLOAT8_E5M2FNUZ", 1},
    {"int4", "INT4", 1},
    {"uint4", "UINT4", 1},
    {"int2", "INT2", 1},
    {"uint2", "UINT2", 1},
    {"float4_e2m1fn", "FLOAT4_E2M1FN", 1},
};
constexpr int32_t kTypeCount = static_cast<int32_t>(std::size(kTypes));

const TypeInfo* find(DataType type) {
  auto number = static_cast<int32_t>(type);
  if (number > kRefOffset) number -= kRefOffset;
  return number >= 0 && number < kTypeCount ? &kTypes[number] : nullptr;
}

}  // namespace

bool is_ref(DataType type) {
  auto number = static_cast<int32_t>(type);
  return number > kRefOffset && number < kRefOffset + kTypeCount;
}

DataType base_type(DataType type) {
  return is_ref(type) ? static_cast<DataType>(static_cast<int32_t>(type) - kRefOffset) : type;
}

std::string data_type_name(DataType type) {
  const TypeInfo* info = find(type);
  if (info == nullptr) return "data type " + std::to_string(static_cast<int32_t>(type));
  return std::string(info->name) + (is_ref(type) ? "_ref" : "");
}

std::string data_type_enum_name(DataType type) {
  const TypeInfo* info = find(type);
  if (info == nullptr) return {};
  return std::string("DT_") + info->enum_name + (is_ref(type) ? "_REF" : "");
}

std::optional<DataType> parse_data_type(std::string_view name) {
  for (int32_t i = 0; i < kTypeCount; ++i) {
    for (int32_t number : {i, i + kRefOffset}) {
      if (number == kRefOffset) continue;
      auto type = static_cast<DataType>(number);
      if (name == data_type_enum_name(type) || name == data_type_name(type)) return type;
    }
  }
  return std::nullopt;
}

size_t data_type_size(DataType type) {
  const TypeInfo* info = find(type);
  return info == nullptr ? 0 : info->size;
}

}  // namespace blade::tensorflow
