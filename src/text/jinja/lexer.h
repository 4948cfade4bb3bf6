// A template's text as tokens, as jinja2's lexer cuts it with trim_blocks and lstrip_blocks.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace awq::text::jinja {

enum class TokenKind : std::uint8_t {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::size_t line = 1;
  std::string text;  // of a string: what it stands for
  std::int64_t integer = 0;
  double number = 0;
};

// The last token is kEnd. Errors say the line, without the file's name.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace awq::text::jinja
