// UTF-8, bytes to code points and back.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace awq::text {

inline constexpr std::string_view kReplacementUtf8 = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Kind {
  kValid,
  kInvalid,
  kTruncated
};  // truncated: the text ends inside a character

// What stands at `offset`: one whole character, or the maximal ill-formed piece that one U+FFFD
// replaces (as the WHATWG decoder, Python's errors="replace" and Rust's from_utf8_lossy do).
struct Utf8Step {
  Utf8Kind kind = Utf8Kind::kValid;
  std::size_t bytes = 1;
};
Utf8Step StepUtf8(std::string_view text, std::size_t offset);  // offset < text.size()

struct Utf8Char {
  char32_t code = 0;
  std::size_t bytes = 1;
};
// Precondition: a valid character stands at `offset`.
inline Utf8Char DecodeUtf8(std::string_view text, std::size_t offset) {
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[offset + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

void AppendUtf8(char32_t code, std::string& out);

bool IsAscii(std::string_view text);
bool IsValidUtf8(std::string_view text);

// Every maximal ill-formed piece becomes one U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace awq::text
