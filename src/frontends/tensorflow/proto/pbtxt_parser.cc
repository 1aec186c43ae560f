// Text format to wire bytes, driven by the table of fields; the GraphDef is then read from those bytes.
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <set>

#include "frontends/tensorflow/proto/pbtxt.h"
#include "frontends/tensorflow/proto/text_lexer.h"
#include "frontends/tensorflow/proto/text_schema.h"
#include "frontends/tensorflow/proto/utf8.h"
#include "frontends/tensorflow/proto/wire.h"

namespace blade::tensorflow {
namespace {

// Wire bytes under construction. Plain strings: text is small, and nesting is shallow.
void put_tag(uint32_t field, WireType type, std::string* out) {
  append_varint(uint64_t{field} << 3 | static_cast<uint64_t>(type), *out);
}
void put_bytes(uint32_t field, std::string_view value, std::string* out) {
  put_tag(field, WireType::kLength, out);
  append_varint(value.size(), *out);
  *out += value;
}
template <class T>
void put_fixed(T value, std::string* out) {
  out->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

struct Range {
  int64_t min;
  uint64_t max;
};

Range range_of(FieldType type) {
  switch (type) {
    case FieldType::kInt64:
      return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
    case FieldType::kUint32:
      return {0, UINT32_MAX};
    case FieldType::kUint64:
    case FieldType::kFixed64:
      return {0, UINT64_MAX};
    case FieldType::kBool:
      return {0, 1};
    default:
      return {INT32_MIN, INT32_MAX};
  }
}

class TextParser {
 public:
  TextParser(std::string_view text, std::string_view what) : lexer_(text, what) {}

  Status parse(std::string* out) {
    BLADE_RETURN_IF_ERROR(lexer_.advance());
    return parse_fields(message_spec(MessageId::kGraphDef), '\0', 0, out);
  }

 private:
  const Token& token() const { return lexer_.token(); }

  // Fields up to `close` ('\0': the end of the text), which is consumed.
  Status parse_fields(const MessageSpec& message, char close, int depth, std::string* out) {
    if (depth > kMaxDepth) return lexer_.error("messages are nested more than " + std::to_string(kMaxDepth) + " deep");
    std::set<uint32_t> seen;
    while (!(close == '\0' ? token().kind == Token::Kind::kEnd : token().is(close))) {
      if (token().kind == Token::Kind::kEnd) {
        return lexer_.error(std::string("the text ends where '") + close + "' is expected to close " +
                            std::string(message.name));
      }
      BLADE_RETURN_IF_ERROR(parse_field(message, depth, &seen, out));
      if (token().is(',') || token().is(';')) BLADE_RETURN_IF_ERROR(lexer_.advance());
    }
    return close == '\0' ? Status() : lexer_.advance();
  }

  Status parse_field(const MessageSpec& message, int depth, std::set<uint32_t>* seen, std::string* out) {
    if (token().kind != Token::Kind::kName) {
      return lexer_.error("found '" + std::string(token().text.substr(0, 40)) + "' where a field of " +
                          std::string(message.name) + " is expected");
    }
    const FieldSpec* field = message.find(token().text);
    if (field == nullptr) {
      return lexer_.error(std::string(message.name) + " has no field '" + std::string(token().text.substr(0, 80)) +
                          "'");
    }
    // All oneof fields of a message share one place, 0.
    if (!field->repeated && !seen->insert(field->oneof ? 0 : field->number).second) {
      return lexer_.error("field '" + std::string(field->name) + "' is given, but " + std::string(message.name) +
                          " can hold only one value there and already does");
    }
    BLADE_RETURN_IF_ERROR(lexer_.advance());
    const bool colon = token().is(':');
    if (colon) BLADE_RETURN_IF_ERROR(lexer_.advance());
    if (!colon && field->type != FieldType::kMessage) {
      return lexer_.error("a ':' is expected after '" + std::string(field->name) + "'");
    }
    if (!token().is('[')) return parse_value(*field, depth, out);
    if (!field->repeated) return lexer_.error("field '" + std::string(field->name) + "' takes one value, not a list");
    BLADE_RETURN_IF_ERROR(lexer_.advance());
    if (token().is(']')) return lexer_.advance();
    while (true) {
      BLADE_RETURN_IF_ERROR(parse_value(*field, depth, out));
      if (token().is(']')) return lexer_.advance();
      if (!token().is(',')) return lexer_.error("a ',' or ']' is expected in the list");
      BLADE_RETURN_IF_ERROR(lexer_.advance());
    }
  }

  Status parse_value(const FieldSpec& field, int depth, std::string* out) {
    switch (field.type) {
      case FieldType::kMessage:
        return parse_message(field, depth, out);
      case FieldType::kString:
      case FieldType::kBytes:
        return parse_string(field, out);
      case FieldType::kFloat:
      case FieldType::kDouble:
        return parse_float(field, out);
      case FieldType::kDataType:
      case FieldType::kFullTypeId:
        if (token().kind == Token::Kind::kName) return parse_enum(field, out);
        return parse_integer(field, out);
      case FieldType::kBool:
        if (token().kind == Token::Kind::kName) return parse_bool(field, out);
        return parse_integer(field, out);
      default:
        return parse_integer(field, out);
    }
  }

  Status parse_message(const FieldSpec& field, int depth, std::string* out) {
    const bool brace = token().is('{');
    if (!brace && !token().is('<')) return lexer_.error("'{' is expected to open '" + std::string(field.name) + "'");
    BLADE_RETURN_IF_ERROR(lexer_.advance());
    std::string inner;
    BLADE_RETURN_IF_ERROR(parse_fields(message_spec(field.message), brace ? '}' : '>', depth + 1, &inner));
    put_bytes(field.number, inner, out);
    return {};
  }

  Status parse_string(const FieldSpec& field, std::string* out) {
    if (token().kind != Token::Kind::kString) {
      return lexer_.error("a quoted string is expected for '" + std::string(field.name) + "'");
    }
    std::string all;
    while (token().kind == Token::Kind::kString) {  // adjacent strings are one
      auto part = unescape(token().text);
      if (!part.ok()) return lexer_.error(part.status().message());
      all += *part;
      BLADE_RETURN_IF_ERROR(lexer_.advance());
    }
    if (field.type == FieldType::kString && !is_utf8(all)) {
      return lexer_.error("the string for '" + std::string(field.name) + "' before this place is not UTF-8");
    }
    put_bytes(field.number, all, out);
    return {};
  }

  Status parse_enum(const FieldSpec& field, std::string* out) {
    auto number = enum_number(field.type, token().text);
    if (!number) {
      std::string name = "'";
      name.append(token().text.substr(0, 80)).append("' is not a value of '").append(field.name);
      return lexer_.error(name + "' that TensorFlow knows");
    }
    put_tag(field.number, WireType::kVarint, out);
    append_varint(static_cast<uint64_t>(int64_t{*number}), *out);
    return lexer_.advance();
  }

  Status parse_bool(const FieldSpec& field, std::string* out) {
    std::string_view text = token().text;
    const bool yes = text == "true" || text == "True" || text == "t";
    if (!yes && text != "false" && text != "False" && text != "f") {
      return lexer_.error("true or false is expected for '" + std::string(field.name) + "'");
    }
    put_tag(field.number, WireType::kVarint, out);
    append_varint(yes, *out);
    return lexer_.advance();
  }

  Status parse_integer(const FieldSpec& field, std::string* out) {
    const bool negative = token().is('-');
    if (negative) BLADE_RETURN_IF_ERROR(lexer_.advance());
    std::string_view digits = token().text;
    int base = 10;
    if (digits.starts_with("0x") || digits.starts_with("0X")) {
      base = 16;
      digits.remove_prefix(2);
    } else if (digits.size() > 1 && digits[0] == '0') {
      base = 8;
      digits.remove_prefix(1);
    }
    uint64_t magnitude = 0;
    auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude, base);
    const bool whole = code == std::errc() && end == digits.data() + digits.size();
    if (token().kind != Token::Kind::kNumber || (!whole && code != std::errc::result_out_of_range)) {
      return lexer_.error("a whole number is expected for '" + std::string(field.name) + "'");
    }
    const Range range = range_of(field.type);
    const uint64_t lowest = uint64_t{0} - static_cast<uint64_t>(range.min);  // magnitude of the smallest value
    if (!whole || magnitude > (negative ? lowest : range.max)) {
      return lexer_.error("the number " + std::string(negative ? "-" : "") + std::string(token().text.substr(0, 40)) +
                          " does not fit field '" + std::string(field.name) + "'");
    }
    const uint64_t value = negative ? uint64_t{0} - magnitude : magnitude;
    if (field.type == FieldType::kFixed64) {
      put_tag(field.number, WireType::kFixed64, out);
      put_fixed(value, out);
    } else {
      put_tag(field.number, WireType::kVarint, out);
      append_varint(value, *out);
    }
    return lexer_.advance();
  }

  Status parse_float(const FieldSpec& field, std::string* out) {
    const bool negative = token().is('-');
    if (negative) BLADE_RETURN_IF_ERROR(lexer_.advance());
    double wide = 0;
    float narrow = 0;
    if (!read_float(token(), &wide, &narrow)) {
      return lexer_.error("a number is expected for '" + std::string(field.name) + "'");
    }
    if (field.type == FieldType::kFloat) {
      put_tag(field.number, WireType::kFixed32, out);
      put_fixed(negative ? -narrow : narrow, out);
    } else {
      put_tag(field.number, WireType::kFixed64, out);
      put_fixed(negative ? -wide : wide, out);
    }
    return lexer_.advance();
  }

  static bool read_float(const Token& token, double* wide, float* narrow) {
    std::string text(token.text);
    if (token.kind == Token::Kind::kName) {
      for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (text == "nan") *wide = std::numeric_limits<double>::quiet_NaN();
      if (text == "inf" || text == "infinity") *wide = std::numeric_limits<double>::infinity();
      *narrow = static_cast<float>(*wide);
      return *wide != 0;  // NaN compares unequal, too
    }
    if (token.kind != Token::Kind::kNumber) return false;
    if (text.back() == 'f' || text.back() == 'F') text.pop_back();
    auto read = [&](auto* value) {
      auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), *value);
      if (code == std::errc::result_out_of_range) {
        // Too large or too small: infinity or zero, as strtod gives.
        *value = static_cast<std::remove_pointer_t<decltype(value)>>(std::strtod(text.c_str(), nullptr));
      }
      return (code == std::errc() || code == std::errc::result_out_of_range) && end == text.data() + text.size();
    };
    return read(wide) && read(narrow);
  }

  TextLexer lexer_;
};

}  // namespace

Result<GraphDef> parse_graph_pbtxt(std::string_view text, std::string_view what) {
  const std::string name(what);
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return data_loss(name + " is empty; expected a GraphDef in text format");
  }
  std::string wire;
  TextParser parser(text, what);
  BLADE_RETURN_IF_ERROR(parser.parse(&wire));
  if (wire.empty()) return data_loss(name + " has comments only; expected a GraphDef in text format");
  return parse_graph_def(SharedBytes::own(std::move(wire)), what);
}

}  // namespace blade::tensorflow
