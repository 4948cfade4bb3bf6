#include "text/jinja/literals.h"

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Digits, with single underscores between them, from `at` on; where they end.
std::size_t DigitsEnd(std::string_view text, std::size_t at) {
  std::size_t end = at;
  for (; at < text.size(); ++at) {
    if (IsDigit(text[at])) {
      end = at + 1;
    } else if (text[at] != '_' || end != at) {
      break;
    }
  }
  return end;
}

// Where a float ends that begins at 0; 0 if there is none.
std::size_t FloatEnd(std::string_view text) {
  const std::size_t whole = DigitsEnd(text, 0);
  std::size_t end = 0;
  std::size_t at = whole;
  if (at + 1 < text.size() && text[at] == '.' && IsDigit(text[at + 1]))
    at = end = DigitsEnd(text, at + 1);
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    std::size_t digits = at + 1;
    if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
    if (digits < text.size() && IsDigit(text[digits])) end = DigitsEnd(text, digits);
  }
  return end;
}

std::string Without(std::string_view text, char dropped) {
  std::string out;
  for (const char c : text) {
    if (c != dropped) out += c;
  }
  return out;
}

// The character of \xHH, \uHHHH or \UHHHHHHHH, or of up to three octal digits.
struct Escape {
  std::uint32_t code = 0;
  std::size_t bytes = 0;
};

Result<Escape> ReadCode(std::string_view text, std::size_t line) {
  const char kind = text[0];
  const bool octal = kind >= '0' && kind <= '7';
  const std::size_t most = octal ? 3 : kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
  const std::string_view digits = text.substr(octal ? 0 : 1, most);
  Escape escape;
  const auto [end, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), escape.code, octal ? 8 : 16);
  const auto length = static_cast<std::size_t>(end - digits.data());
  const bool whole = failure == std::errc() && (octal || length == most);
  if (!whole || escape.code > 0x10FFFF || (escape.code >= 0xD800 && escape.code < 0xE000)) {
    return MakeError(ErrorCode::kCorrupt, "line {}: an escape in a string stands for no character",
                     line);
  }
  escape.bytes = length + (octal ? 0 : 1);
  return escape;
}

// Appends what an escape stands for; how many bytes it has behind the backslash.
Result<std::size_t> Unescape(std::string_view text, std::size_t line, std::string& out) {
  static constexpr std::string_view kFrom = "\n\\'\"abfnrtv";
  static constexpr std::string_view kTo = "\n\\'\"\a\b\f\n\r\t\v";
  const char c = text[0];
  if (c == 'N') {
    return MakeError(ErrorCode::kUnsupported, "line {}: characters by name are not supported",
                     line);
  }
  if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
    AWQ_ASSIGN(const Escape escape, ReadCode(text, line));
    AppendUtf8(static_cast<char32_t>(escape.code), out);
    return escape.bytes;
  }
  const std::size_t known = kFrom.find(c);
  if (known == kFrom.npos) {
    out += '\\';  // as it stands
    out += c;
  } else if (c != '\n') {
    out += kTo[known];
  }
  return std::size_t{1};
}

}  // namespace

Result<StringLiteral> ReadString(std::string_view text, std::size_t line) {
  StringLiteral literal;
  std::size_t i = 1;
  while (i < text.size() && text[i] != text[0]) {
    if (text[i] != '\\') {
      literal.value += text[i++];
      continue;
    }
    if (++i >= text.size()) break;
    AWQ_ASSIGN(const std::size_t bytes, Unescape(text.substr(i), line, literal.value));
    i += bytes;
  }
  if (i >= text.size())
    return MakeError(ErrorCode::kCorrupt, "line {}: a string without its end", line);
  literal.bytes = i + 1;
  return literal;
}

Result<NumberLiteral> ReadNumber(std::string_view text, bool after_dot, std::size_t line) {
  NumberLiteral literal;
  const std::size_t float_end = after_dot ? 0 : FloatEnd(text);
  if (float_end > 0) {
    literal.is_float = true;
    literal.bytes = float_end;
    literal.number = std::strtod(Without(text.substr(0, float_end), '_').c_str(), nullptr);
    return literal;
  }
  const char kind = text.size() > 1 && text[0] == '0' ? static_cast<char>(text[1] | 0x20) : '\0';
  const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
  std::size_t begin = base == 10 ? 0 : 2;
  std::size_t end = begin;
  while (end < text.size() &&
         (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '_')) {
    ++end;
  }
  const std::string digits = Without(text.substr(begin, end - begin), '_');
  const auto [stop, failure] =
      std::from_chars(digits.data(), digits.data() + digits.size(), literal.integer, base);
  const bool padded = base == 10 && digits.size() > 1 && digits[0] == '0' && literal.integer != 0;
  if (failure != std::errc() || stop != digits.data() + digits.size() || padded) {
    return MakeError(ErrorCode::kCorrupt, "line {}: {} is no number of up to 64 bits", line,
                     text.substr(0, end));
  }
  literal.bytes = end;
  return literal;
}

std::size_t NameBytes(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Char next = DecodeUtf8(text, end);
    if (!IsWord(next.code)) break;
    end += next.bytes;
  }
  return end;
}

}  // namespace awq::text::jinja
