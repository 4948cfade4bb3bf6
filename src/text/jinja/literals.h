// Strings, numbers and names as they stand in a tag.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace awq::text::jinja {

struct StringLiteral {
  std::string value;
  std::size_t bytes = 0;  // with the quotes
};
// `text` begins with a quote. Error: no end; an escape that stands for no character.
Result<StringLiteral> ReadString(std::string_view text, std::size_t line);

struct NumberLiteral {
  bool is_float = false;
  std::int64_t integer = 0;
  double number = 0;
  std::size_t bytes = 0;
};
// `text` begins with a digit. After a dot ("x.0.1") a number is an integer.
Result<NumberLiteral> ReadNumber(std::string_view text, bool after_dot, std::size_t line);

// Of the name that `text` begins with; 0 if there is none.
std::size_t NameBytes(std::string_view text);

}  // namespace awq::text::jinja
