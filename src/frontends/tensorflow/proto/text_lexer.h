// Splits protobuf text format into tokens, each with its line and column.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace blade::tensorflow {

struct Token {
  enum class Kind { kEnd, kName, kNumber, kString, kSymbol };
  Kind kind = Kind::kEnd;
  std::string_view text;  // as written; a string's includes its quotes
  int line = 1;
  int column = 1;

  bool is(char symbol) const { return kind == Kind::kSymbol && text[0] == symbol; }
};

class TextLexer {
 public:
  TextLexer(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  const Token& token() const { return token_; }
  // To the next token; comments and white space are passed over.
  Status advance();
  // "<what>:<line>:<column>: <detail>" at the current token.
  Status error(std::string_view detail) const;

 private:
  void skip_blank();
  void step();
  Status lex_string();

  std::string_view text_;
  std::string what_;
  size_t at_ = 0;
  int line_ = 1;
  int column_ = 1;
  Token token_;
};

// The bytes that a string token stands for; the error is a sentence without a position.
Result<std::string> unescape(std::string_view quoted);

}  // namespace blade::tensorflow
