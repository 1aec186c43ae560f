// TensorFlow's DataType numbers, with their names and sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace blade::tensorflow {

// Values as in tensorflow/core/framework/types.proto. Files may hold numbers that are not listed here.
enum class DataType : int32_t {
  kInvalid = 0,
  kFloat = 1,
  kDouble = 2,
  kInt32 = 3,
  kUint8 = 4,
  kInt16 = 5,
  kInt8 = 6,
  kString = 7,
  kComplex64 = 8,
  kInt64 = 9,
  kBool = 10,
  kQint8 = 11,
  kQuint8 = 12,
  kQint32 = 13,
  kBfloat16 = 14,
  kQint16 = 15,
  kQuint16 = 16,
  kUint16 = 17,
  kComplex128 = 18,
  kHalf = 19,
  kResource = 20,
  kVariant = 21,
  kUint32 = 22,
  kUint64 = 23,
  kFloat8E5m2 = 24,
  kFloat8E4m3fn = 25,
  kFloat8E4m3fnuz = 26,
  kFloat8E4m3b11fnuz = 27,
  kFloat8E5m2fnuz = 28,
  kInt4 = 29,
  kUint4 = 30,
  kInt2 = 31,
  kUint2 = 32,
  kFloat4E2m1fn = 33,
};

// Added to a type's number for a reference to a variable of that type (DT_FLOAT_REF = 101).
inline constexpr int32_t kRefOffset = 100;
bool is_ref(DataType type);
DataType base_type(DataType type);  // DT_FLOAT_REF -> DT_FLOAT

// "float32", "bool", "float32_ref"; "data type 77" for a number that TensorFlow does not have.
std::string data_type_name(DataType type);
// "DT_FLOAT", "DT_FLOAT_REF"; empty for an unknown number.
std::string data_type_enum_name(DataType type);
// From "DT_FLOAT" or "float32".
std::optional<DataType> parse_data_type(std::string_view name);
// Bytes of one element in memory and in tensor_content (sub-byte types take one byte each); 0 for strings, resources,
// variants and unknown numbers.
size_t data_type_size(DataType type);

}  // namespace blade::tensorflow
