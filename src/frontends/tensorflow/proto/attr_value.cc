#include "frontends/tensorflow/proto/attr_value.h"

#include <bit>

#include "frontends/tensorflow/proto/readers.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow {
namespace {

// Field numbers of AttrValue; those from kS on are ListValue's as well.
enum : uint32_t {
  kList = 1,
  kS = 2,
  kI = 3,
  kF = 4,
  kB = 5,
  kType = 6,
  kShape = 7,
  kTensor = 8,
  kPlaceholder = 9,
  kFunc = 10
};
constexpr uint32_t kListFunc = 9;

// Writes repeated numbers as one packed field.
template <class Values, class Put>
void write_packed(uint32_t field, const Values& values, WireWriter& writer, Put&& put) {
  if (values.empty()) return;
  std::string packed;
  for (const auto& value : values) put(value, packed);
  writer.bytes(field, std::string_view(packed));
}

uint64_t enum_bits(DataType type) { return static_cast<uint64_t>(static_cast<int64_t>(type)); }

void write_func(const NameAttrList& func, WireWriter& writer) {
  writer.nonempty(1, func.name);
  write_attrs(2, func.attrs, writer);
  writer.raw(std::string_view(func.unknown_fields));
}

void write_list(const AttrList& list, WireWriter& writer) {
  for (const SharedBytes& s : list.strings) writer.bytes(kS, s);
  write_packed(kI, list.ints, writer,
               [](int64_t v, std::string& out) { append_varint(static_cast<uint64_t>(v), out); });
  write_packed(kF, list.floats, writer, [](float v, std::string& out) {
    auto bits = std::bit_cast<uint32_t>(v);
    out.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
  });
  write_packed(kB, list.bools, writer, [](bool v, std::string& out) { append_varint(v, out); });
  write_packed(kType, list.types, writer, [](DataType v, std::string& out) { append_varint(enum_bits(v), out); });
  for (const TensorShapeProto& shape : list.shapes) {
    WireWriter value;
    write_shape(shape, value);
    writer.message(kShape, std::move(value));
  }
  for (const TensorProto& tensor : list.tensors) {
    WireWriter value;
    tensor.write(value);
    writer.message(kTensor, std::move(value));
  }
  for (const NameAttrList& func : list.funcs) {
    WireWriter value;
    write_func(func, value);
    writer.message(kListFunc, std::move(value));
  }
}

// Protobuf merges a message field that is given more than once, which is what reading all parts as one message does.
class MergedMessage {
 public:
  void clear() { parts_.clear(); }
  void add(SharedBytes part) { parts_.push_back(std::move(part)); }
  SharedBytes join() const {
    if (parts_.size() == 1) return parts_[0];
    std::string all;
    for (const SharedBytes& part : parts_) all += part.view();
    return SharedBytes::own(std::move(all));
  }

 private:
  std::vector<SharedBytes> parts_;
};

}  // namespace

size_t AttrList::size() const {
  return strings.size() + ints.size() + floats.size() + bools.size() + types.size() + shapes.size() + tensors.size() +
         funcs.size();
}

AttrValue AttrValue::of_string(std::string value) { return of_bytes(SharedBytes::own(std::move(value))); }
AttrValue AttrValue::of_bytes(SharedBytes value) { return {Kind::kString, std::move(value)}; }
AttrValue AttrValue::of_int(int64_t value) { return {Kind::kInt, value}; }
AttrValue AttrValue::of_float(float value) { return {Kind::kFloat, value}; }
AttrValue AttrValue::of_bool(bool value) { return {Kind::kBool, value}; }
AttrValue AttrValue::of_type(DataType value) { return {Kind::kType, value}; }
AttrValue AttrValue::of_shape(TensorShapeProto value) { return {Kind::kShape, std::move(value)}; }
AttrValue AttrValue::of_tensor(TensorProto value) { return {Kind::kTensor, std::move(value)}; }
AttrValue AttrValue::of_list(AttrList value) {
  return {Kind::kList, std::make_shared<const AttrList>(std::move(value))};
}
AttrValue AttrValue::of_ints(std::vector<int64_t> values) {
  AttrList list;
  list.ints = std::move(values);
  return of_list(std::move(list));
}
AttrValue AttrValue::of_types(std::vector<DataType> values) {
  AttrList list;
  list.types = std::move(values);
  return of_list(std::move(list));
}
AttrValue AttrValue::of_shapes(std::vector<TensorShapeProto> values) {
  AttrList list;
  list.shapes = std::move(values);
  return of_list(std::move(list));
}
AttrValue AttrValue::of_strings(std::vector<std::string> values) {
  AttrList list;
  for (std::string& value : values) list.strings.push_back(SharedBytes::own(std::move(value)));
  return of_list(std::move(list));
}
AttrValue AttrValue::of_func(std::string name, AttrMap attrs) {
  return {Kind::kFunc, std::make_shared<const NameAttrList>(NameAttrList{std::move(name), std::move(attrs), {}})};
}
AttrValue AttrValue::of_placeholder(std::string name) {
  return {Kind::kPlaceholder, SharedBytes::own(std::move(name))};
}

const SharedBytes* AttrValue::as_string() const { return get<SharedBytes>(Kind::kString); }
const SharedBytes* AttrValue::as_placeholder() const { return get<SharedBytes>(Kind::kPlaceholder); }
const AttrList* AttrValue::as_list() const {
  auto* list = get<std::shared_ptr<const AttrList>>(Kind::kList);
  return list == nullptr ? nullptr : list->get();
}
const NameAttrList* AttrValue::as_func() const {
  auto* func = get<std::shared_ptr<const NameAttrList>>(Kind::kFunc);
  return func == nullptr ? nullptr : func->get();
}

void AttrValue::write(WireWriter& writer) const {
  if (!wire_.empty()) {
    writer.raw(wire_);
    return;
  }
  WireWriter value;
  switch (kind_) {
    case Kind::kNone:
      return;
    case Kind::kString:
      return writer.bytes(kS, *as_string());
    case Kind::kInt:
      return writer.varint(kI, static_cast<uint64_t>(*as_int()));
    case Kind::kFloat:
      return writer.fixed32(kF, std::bit_cast<uint32_t>(*as_float()));
    case Kind::kBool:
      return writer.varint(kB, *as_bool());
    case Kind::kType:
      return writer.varint(kType, enum_bits(*as_type()));
    case Kind::kPlaceholder:
      return writer.bytes(kPlaceholder, *as_placeholder());
    case Kind::kShape:
      write_shape(*as_shape(), value);
      return writer.message(kShape, std::move(value));
    case Kind::kTensor:
      as_tensor()->write(value);
      return writer.message(kTensor, std::move(value));
    case Kind::kList:
      write_list(*as_list(), value);
      return writer.message(kList, std::move(value));
    case Kind::kFunc:
      write_func(*as_func(), value);
      return writer.message(kFunc, std::move(value));
  }
}

Status AttrReader::read(const SharedBytes& wire, ParseContext& context, AttrValue* attr) {
  using Kind = AttrValue::Kind;
  WireReader reader(wire, context);
  MergedMessage parts;  // of the latest message-valued field
  uint32_t message_field = 0;
  auto take_message = [&] {
    if (message_field != reader.field()) parts.clear();
    message_field = reader.field();
    parts.add(reader.bytes());
  };
  while (reader.next()) {
    switch (reader.field()) {
      case kS:
        *attr = AttrValue(Kind::kString, reader.bytes());
        break;
      case kI:
        *attr = AttrValue(Kind::kInt, reader.int64());
        break;
      case kF:
        *attr = AttrValue(Kind::kFloat, std::bit_cast<float>(reader.fixed32()));
        break;
      case kB:
        *attr = AttrValue(Kind::kBool, reader.boolean());
        break;
      case kType:
        *attr = AttrValue(Kind::kType, static_cast<DataType>(reader.int32()));
        break;
      case kPlaceholder:
        *attr = AttrValue(Kind::kPlaceholder, reader.bytes());
        break;
      case kList:
      case kShape:
      case kTensor:
      case kFunc:
        take_message();
        continue;
      default:
        continue;
    }
    message_field = 0;  // of a oneof the last one given counts
  }
  if (!reader.status().ok()) return reader.status();
  const SharedBytes message = message_field == 0 ? SharedBytes() : parts.join();
  switch (message_field) {
    case kList: {
      AttrList list;
      BLADE_RETURN_IF_ERROR(read_list(message, context, &list));
      *attr = AttrValue::of_list(std::move(list));
      break;
    }
    case kShape: {
      TensorShapeProto shape;
      BLADE_RETURN_IF_ERROR(read_shape(message, context, &shape));
      *attr = AttrValue::of_shape(std::move(shape));
      break;
    }
    case kTensor:
      *attr = AttrValue::of_tensor(TensorProto::from_wire(message));
      break;
    case kFunc: {
      NameAttrList func;
      BLADE_RETURN_IF_ERROR(read_func(message, context, &func));
      *attr = AttrValue(Kind::kFunc, std::make_shared<const NameAttrList>(std::move(func)));
      break;
    }
    default:
      break;
  }
  attr->wire_ = wire;
  return {};
}

Status AttrReader::read_list(const SharedBytes& wire, ParseContext& context, AttrList* list) {
  PartScope part(context, "list");
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case kS:
        list->strings.push_back(reader.bytes());
        break;
      case kI:
        reader.each_varint([&](uint64_t v) { list->ints.push_back(static_cast<int64_t>(v)); });
        break;
      case kF:
        reader.each_fixed32([&](uint32_t v) { list->floats.push_back(std::bit_cast<float>(v)); });
        break;
      case kB:
        reader.each_varint([&](uint64_t v) { list->bools.push_back(v != 0); });
        break;
      case kType:
        reader.each_varint([&](uint64_t v) { list->types.push_back(static_cast<DataType>(static_cast<int32_t>(v))); });
        break;
      case kShape: {
        SharedBytes shape = reader.bytes();
        if (!reader.status().ok()) break;
        list->shapes.emplace_back();
        reader.fail(read_shape(shape, context, &list->shapes.back()));
        break;
      }
      case kTensor:
        list->tensors.push_back(TensorProto::from_wire(reader.bytes()));
        break;
      case kListFunc: {
        SharedBytes func = reader.bytes();
        if (!reader.status().ok()) break;
        list->funcs.emplace_back();
        reader.fail(read_func(func, context, &list->funcs.back()));
        break;
      }
      default:
        break;
    }
  }
  return reader.status();
}

Status AttrReader::read_func(const SharedBytes& wire, ParseContext& context, NameAttrList* func) {
  PartScope part(context, "func");
  WireReader reader(wire, context);
  while (reader.next()) {
    switch (reader.field()) {
      case 1:
        func->name = reader.string();
        break;
      case 2: {
        SharedBytes entry = reader.bytes();
        if (reader.status().ok()) reader.fail(read_attr_entry(entry, context, &func->attrs));
        break;
      }
      default:
        func->unknown_fields += reader.raw_field();
        break;
    }
  }
  return reader.status();
}

Status read_attr_entry(const SharedBytes& wire, ParseContext& context, AttrMap* attrs) {
  WireReader reader(wire, context);
  PartScope part(context, "attr", -1, [&]() -> std::string_view {
    // Keys come first in files that protobuf wrote; the name is only for sentences.
    std::string_view view = wire.view();
    if (view.size() < 2 || view[0] != 0x0a) return {};
    auto length = static_cast<uint8_t>(view[1]);
    return length < 0x80 && length <= view.size() - 2 ? view.substr(2, length) : std::string_view();
  }());
  std::string key;
  MergedMessage parts;
  while (reader.next()) {
    if (reader.field() == 1) {
      key = reader.string();
    } else if (reader.field() == 2) {
      parts.add(reader.bytes());
    }
  }
  if (!reader.status().ok()) return reader.status();
  const SharedBytes value = parts.join();
  AttrValue attr;
  BLADE_RETURN_IF_ERROR(AttrReader::read(value, context, &attr));
  attrs->insert_or_assign(std::move(key), std::move(attr));
  return {};
}

void write_attrs(uint32_t field, const AttrMap& attrs, WireWriter& writer) {
  for (const auto& [name, attr] : attrs) {
    WireWriter value;
    attr.write(value);
    WireWriter entry;
    entry.bytes(1, std::string_view(name));
    entry.message(2, std::move(value));
    writer.message(field, std::move(entry));
  }
}

const char* kind_name(AttrValue::Kind kind) {
  switch (kind) {
    case AttrValue::Kind::kNone:
      return "nothing";
    case AttrValue::Kind::kString:
      return "a string";
    case AttrValue::Kind::kInt:
      return "an int";
    case AttrValue::Kind::kFloat:
      return "a float";
    case AttrValue::Kind::kBool:
      return "a bool";
    case AttrValue::Kind::kType:
      return "a type";
    case AttrValue::Kind::kShape:
      return "a shape";
    case AttrValue::Kind::kTensor:
      return "a tensor";
    case AttrValue::Kind::kList:
      return "a list";
    case AttrValue::Kind::kFunc:
      return "a function";
    case AttrValue::Kind::kPlaceholder:
      return "a placeholder";
  }
  return "an unknown kind";
}

}  // namespace blade::tensorflow
