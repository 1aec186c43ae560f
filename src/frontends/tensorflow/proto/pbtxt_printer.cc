// Wire bytes to text format, driven by the table of fields.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>

#include "frontends/tensorflow/proto/pbtxt.h"
#include "frontends/tensorflow/proto/readers.h"
#include "frontends/tensorflow/proto/text_schema.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow {
namespace {

// One value of a field, taken out of the wire bytes.
struct Value {
  const FieldSpec* field;
  uint64_t bits = 0;  // numbers: as in the wire
  SharedBytes bytes;  // strings, bytes and messages
};

void append_escaped(std::string_view bytes, std::string* out) {
  *out += '"';
  for (char c : bytes) {
    auto byte = static_cast<uint8_t>(c);
    switch (c) {
      case '\n':
        *out += "\\n";
        break;
      case '\r':
        *out += "\\r";
        break;
      case '\t':
        *out += "\\t";
        break;
      case '"':
        *out += "\\\"";
        break;
      case '\'':
        *out += "\\'";
        break;
      case '\\':
        *out += "\\\\";
        break;
      default:
        if (byte >= 0x20 && byte < 0x7f) {
          *out += c;
        } else {
          const char octal[] = {'\\', static_cast<char>('0' + (byte >> 6)), static_cast<char>('0' + (byte >> 3 & 7)),
                                static_cast<char>('0' + (byte & 7))};
          out->append(octal, sizeof(octal));
        }
    }
  }
  *out += '"';
}

// The shortest decimal that reads back to the same value.
template <class T>
void append_float(T value, std::string* out) {
  if (std::isnan(value)) {
    *out += "nan";
    return;
  }
  if (std::isinf(value)) {
    *out += value < 0 ? "-inf" : "inf";
    return;
  }
  char buffer[40];
  auto [end, code] = std::to_chars(buffer, buffer + sizeof(buffer), value);
  std::string_view digits(buffer, static_cast<size_t>(end - buffer));
  *out += digits;
  if (digits.find_first_of(".e") == std::string_view::npos) *out += ".0";
}

void append_scalar(const Value& value, std::string* out) {
  const auto low = static_cast<uint32_t>(value.bits);
  switch (value.field->type) {
    case FieldType::kInt32:
      *out += std::to_string(static_cast<int32_t>(low));
      break;
    case FieldType::kInt64:
      *out += std::to_string(static_cast<int64_t>(value.bits));
      break;
    case FieldType::kUint32:
      *out += std::to_string(low);
      break;
    case FieldType::kUint64:
    case FieldType::kFixed64:
      *out += std::to_string(value.bits);
      break;
    case FieldType::kFloat:
      append_float(std::bit_cast<float>(low), out);
      break;
    case FieldType::kDouble:
      append_float(std::bit_cast<double>(value.bits), out);
      break;
    case FieldType::kBool:
      *out += value.bits != 0 ? "true" : "false";
      break;
    case FieldType::kDataType:
    case FieldType::kFullTypeId: {
      std::string name = enum_name(value.field->type, static_cast<int32_t>(low));
      *out += name.empty() ? std::to_string(static_cast<int32_t>(low)) : name;
      break;
    }
    case FieldType::kString:
    case FieldType::kBytes:
      append_escaped(value.bytes.view(), out);
      break;
    case FieldType::kMessage:
      break;
  }
}

// Takes what stands under the reader's cursor, packed numbers one by one.
void take_values(WireReader& reader, const FieldSpec& field, std::vector<Value>* values) {
  auto number = [&](uint64_t bits) { values->push_back({&field, bits, {}}); };
  switch (field.type) {
    case FieldType::kString:
    case FieldType::kBytes:
    case FieldType::kMessage:
      values->push_back({&field, 0, reader.bytes()});
      break;
    case FieldType::kFloat:
      reader.each_fixed32(number);
      break;
    case FieldType::kDouble:
    case FieldType::kFixed64:
      reader.each_fixed64(number);
      break;
    default:
      reader.each_varint(number);
      break;
  }
}

class TextPrinter {
 public:
  explicit TextPrinter(std::string_view wire) : context_("the graph", "GraphDef", wire, "") {}

  Status print(const SharedBytes& wire, const MessageSpec& message, int indent) {
    std::vector<Value> values;
    WireReader reader(wire, context_);
    while (reader.next()) {
      if (const FieldSpec* field = message.find(reader.field())) {
        if (field->oneof) {  // the last one set counts
          std::erase_if(values, [&](const Value& v) { return v.field->oneof && v.field != field; });
        }
        take_values(reader, *field, &values);
      } else {
        begin_line(indent);
        out_ += "# field " + std::to_string(reader.field()) + " of " + std::string(message.name) +
                " is not known and left out\n";
      }
    }
    BLADE_RETURN_IF_ERROR(reader.status());
    std::stable_sort(values.begin(), values.end(),
                     [](const Value& a, const Value& b) { return a.field->number < b.field->number; });
    for (size_t i = 0; i < values.size();) {
      size_t end = i + 1;
      while (end < values.size() && values[end].field == values[i].field) ++end;
      BLADE_RETURN_IF_ERROR(print_field(message, std::span(values).subspan(i, end - i), indent));
      i = end;
    }
    return {};
  }

  std::string take() { return std::move(out_); }

 private:
  void begin_line(int indent) { out_.append(static_cast<size_t>(indent) * 2, ' '); }

  // All values of one field.
  Status print_field(const MessageSpec& message, std::span<Value> values, int indent) {
    const FieldSpec& field = *values[0].field;
    if (field.repeated && field.type == FieldType::kMessage && message_spec(field.message).map_entry) {
      BLADE_RETURN_IF_ERROR(sort_entries(values));
    }
    if (!field.repeated && field.type == FieldType::kMessage && values.size() > 1) {  // merged, as protobuf does
      std::string merged;
      for (const Value& value : values) merged += value.bytes.view();
      values.back().bytes = SharedBytes::own(std::move(merged));
    }
    if (!field.repeated) values = values.last(1);
    for (const Value& value : values) {
      if (field.type == FieldType::kMessage) {
        begin_line(indent);
        out_ += field.name;
        out_ += " {\n";
        BLADE_RETURN_IF_ERROR(print(value.bytes, message_spec(field.message), indent + 1));
        begin_line(indent);
        out_ += "}\n";
        continue;
      }
      const bool is_default = value.bits == 0 && value.bytes.empty();
      if (is_default && !field.repeated && !field.oneof && !message.map_entry) continue;
      begin_line(indent);
      out_ += field.name;
      out_ += ": ";
      append_scalar(value, &out_);
      out_ += '\n';
    }
    return {};
  }

  // Map entries in the order of their keys, as TensorFlow's tools print them.
  Status sort_entries(std::span<Value> entries) {
    std::vector<std::pair<std::string, Value>> keyed;
    for (const Value& entry : entries) {
      std::string key;
      WireReader reader(entry.bytes, context_);
      while (reader.next()) {
        if (reader.field() != 1) continue;
        uint64_t number = 0;
        switch (reader.type()) {
          case WireType::kLength:
            key = reader.bytes_string();
            continue;
          case WireType::kFixed64:
            number = reader.fixed64();
            break;
          default:
            number = reader.varint();
            break;
        }
        number = __builtin_bswap64(number);  // bytes in the order of the numbers
        key.assign(reinterpret_cast<const char*>(&number), sizeof(number));
      }
      BLADE_RETURN_IF_ERROR(reader.status());
      keyed.emplace_back(std::move(key), entry);
    }
    std::stable_sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < entries.size(); ++i) entries[i] = std::move(keyed[i].second);
    return {};
  }

  ParseContext context_;
  std::string out_;
};

}  // namespace

Result<std::string> print_graph_pbtxt(const GraphDef& graph) {
  SharedBytes wire = graph.wire();
  if (!graph.untouched()) {
    BLADE_ASSIGN_OR_RETURN(std::string bytes, serialize(graph));
    wire = SharedBytes::own(std::move(bytes));
  }
  TextPrinter printer(wire.view());
  BLADE_RETURN_IF_ERROR(printer.print(wire, message_spec(MessageId::kGraphDef), 0));
  return printer.take();
}

}  // namespace blade::tensorflow
