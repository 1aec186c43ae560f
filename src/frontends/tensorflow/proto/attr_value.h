// AttrValue: what a node's attribute holds. Immutable; one read from a file is written back byte for byte.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "frontends/tensorflow/proto/tensor_proto.h"

namespace blade::tensorflow {

class AttrValue;
class WireWriter;
using AttrMap = std::map<std::string, AttrValue, std::less<>>;

// A function's name with the attributes it is called with.
struct NameAttrList;

// A homogeneous list: at most one vector is filled in well-formed files.
struct AttrList {
  std::vector<SharedBytes> strings;
  std::vector<int64_t> ints;
  std::vector<float> floats;
  std::vector<bool> bools;
  std::vector<DataType> types;
  std::vector<TensorShapeProto> shapes;
  std::vector<TensorProto> tensors;
  std::vector<NameAttrList> funcs;

  size_t size() const;
};

class AttrValue {
 public:
  enum class Kind { kNone, kString, kInt, kFloat, kBool, kType, kShape, kTensor, kList, kFunc, kPlaceholder };

  AttrValue() = default;  // kNone
  static AttrValue of_string(std::string value);
  static AttrValue of_bytes(SharedBytes value);  // a kString that is not copied
  static AttrValue of_int(int64_t value);
  static AttrValue of_float(float value);
  static AttrValue of_bool(bool value);
  static AttrValue of_type(DataType value);
  static AttrValue of_shape(TensorShapeProto value);
  static AttrValue of_tensor(TensorProto value);
  static AttrValue of_list(AttrList value);
  static AttrValue of_ints(std::vector<int64_t> values);
  static AttrValue of_types(std::vector<DataType> values);
  static AttrValue of_shapes(std::vector<TensorShapeProto> values);
  static AttrValue of_strings(std::vector<std::string> values);
  static AttrValue of_func(std::string name, AttrMap attrs = {});
  static AttrValue of_placeholder(std::string name);

  Kind kind() const { return kind_; }
  // Null when the attribute holds another kind.
  const SharedBytes* as_string() const;
  const int64_t* as_int() const { return get<int64_t>(Kind::kInt); }
  const float* as_float() const { return get<float>(Kind::kFloat); }
  const bool* as_bool() const { return get<bool>(Kind::kBool); }
  const DataType* as_type() const { return get<DataType>(Kind::kType); }
  const TensorShapeProto* as_shape() const { return get<TensorShapeProto>(Kind::kShape); }
  const TensorProto* as_tensor() const { return get<TensorProto>(Kind::kTensor); }
  const AttrList* as_list() const;
  const NameAttrList* as_func() const;
  const SharedBytes* as_placeholder() const;

  void write(WireWriter& writer) const;

 private:
  friend struct AttrReader;
  using Value = std::variant<std::monostate, SharedBytes, int64_t, float, bool, DataType, TensorShapeProto, TensorProto,
                             std::shared_ptr<const AttrList>, std::shared_ptr<const NameAttrList>>;
  AttrValue(Kind kind, Value value) : kind_(kind), value_(std::move(value)) {}
  template <class T>
  const T* get(Kind kind) const {
    return kind_ == kind ? std::get_if<T>(&value_) : nullptr;
  }

  Kind kind_ = Kind::kNone;
  Value value_;
  SharedBytes wire_;  // the message as read; empty when made here
};

struct NameAttrList {
  std::string name;
  AttrMap attrs;
  std::string unknown_fields;
};

// "string", "int", "type", "list"...: as sentences name them.
const char* kind_name(AttrValue::Kind kind);

}  // namespace blade::tensorflow
