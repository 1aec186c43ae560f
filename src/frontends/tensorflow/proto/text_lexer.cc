#include "frontends/tensorflow/proto/text_lexer.h"

#include <cctype>

namespace blade::tensorflow {
namespace {

bool is_name_start(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_part(char c) { return is_name_start(c) || is_digit(c); }

int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return 99;
}

// Reads up to `longest` digits of `base` at `at`; false when there is none.
bool take_digits(std::string_view text, size_t* at, int base, int longest, uint32_t* value) {
  int taken = 0;
  *value = 0;
  while (taken < longest && *at < text.size() && digit_value(text[*at]) < base) {
    *value = *value * static_cast<uint32_t>(base) + static_cast<uint32_t>(digit_value(text[(*at)++]));
    ++taken;
  }
  return taken > 0;
}

void append_utf8(uint32_t point, std::string* out) {
  auto put = [&](uint32_t byte) { *out += static_cast<char>(byte); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xc0 | point >> 6);
    put(0x80 | (point & 0x3f));
  } else if (point < 0x10000) {
    put(0xe0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  } else {
    put(0xf0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3f));
    put(0x80 | (point >> 6 & 0x3f));
    put(0x80 | (point & 0x3f));
  }
}

char simple_escape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    case 'a':
      return '\a';
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'v':
      return '\v';
    case '\\':
    case '\'':
    case '"':
    case '?':
      return c;
    default:
      return '\0';
  }
}

}  // namespace

Status TextLexer::error(std::string_view detail) const {
  return data_loss(what_ + ":" + std::to_string(token_.line) + ":" + std::to_string(token_.column) + ": " +
                   std::string(detail));
}

void TextLexer::step() {
  if (text_[at_++] == '\n') {
    ++line_;
    column_ = 1;
  } else {
    ++column_;
  }
}

void TextLexer::skip_blank() {
  while (at_ < text_.size()) {
    if (text_[at_] == '#') {
      while (at_ < text_.size() && text_[at_] != '\n') step();
    } else if (std::isspace(static_cast<unsigned char>(text_[at_])) != 0) {
      step();
    } else {
      return;
    }
  }
}

Status TextLexer::advance() {
  skip_blank();
  token_ = {Token::Kind::kEnd, {}, line_, column_};
  if (at_ == text_.size()) return {};
  const size_t start = at_;
  const char first = text_[at_];
  if (first == '"' || first == '\'') return lex_string();
  if (is_name_start(first)) {
    while (at_ < text_.size() && is_name_part(text_[at_])) step();
    token_.kind = Token::Kind::kName;
  } else if (is_digit(first) || (first == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]))) {
    // "+" and "-" belong to a number after its exponent's e only.
    while (at_ < text_.size() &&
           (is_name_part(text_[at_]) || text_[at_] == '.' ||
            ((text_[at_] == '-' || text_[at_] == '+') && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E') &&
             !text_.substr(start).starts_with("0x")))) {
      step();
    }
    token_.kind = Token::Kind::kNumber;
  } else if (std::string_view("{}<>[]:;,-/.").find(first) != std::string_view::npos) {
    step();
    token_.kind = Token::Kind::kSymbol;
  } else {
    return error("a byte of value " + std::to_string(static_cast<unsigned char>(first)) +
                 " stands where a field is expected; this is not a GraphDef in text format");
  }
  token_.text = text_.substr(start, at_ - start);
  return {};
}

Status TextLexer::lex_string() {
  const size_t start = at_;
  const char quote = text_[at_];
  step();
  while (at_ < text_.size() && text_[at_] != quote) {
    if (text_[at_] == '\n') return error("the string has no closing quote on its line");
    if (text_[at_] == '\\' && at_ + 1 < text_.size()) step();
    step();
  }
  if (at_ == text_.size()) return error("the text ends inside a string");
  step();
  token_.kind = Token::Kind::kString;
  token_.text = text_.substr(start, at_ - start);
  return {};
}

Result<std::string> unescape(std::string_view quoted) {
  std::string_view text = quoted.substr(1, quoted.size() - 2);
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      out += text[at++];
      continue;
    }
    if (++at == text.size()) return data_loss("the string ends with a lone backslash");
    const char c = text[at];
    uint32_t value = 0;
    if (char plain = simple_escape(c); plain != '\0') {
      out += plain;
      ++at;
    } else if (c >= '0' && c <= '7') {
      take_digits(text, &at, 8, 3, &value);
      out += static_cast<char>(value);
    } else if ((c == 'x' || c == 'X') && take_digits(text, &++at, 16, 2, &value)) {
      out += static_cast<char>(value);
    } else if ((c == 'u' || c == 'U') && take_digits(text, &++at, 16, c == 'u' ? 4 : 8, &value) && value <= 0x10ffff) {
      append_utf8(value, &out);
    } else {
      return data_loss(std::string("the string holds '\\") + c + "', which is no escape of the text format");
    }
  }
  return out;
}

}  // namespace blade::tensorflow
