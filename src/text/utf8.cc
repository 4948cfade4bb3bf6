#include "text/utf8.h"

#include <cstdint>
#include <cstring>

namespace awq::text {
namespace {

// The first continuation byte is narrower after some lead bytes: overlong forms, surrogates and
// code points past U+10FFFF end there.
struct LeadRule {
  std::size_t bytes = 0;  // 0: never starts a character
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
};

LeadRule RuleOf(unsigned char lead) {
  if (lead < 0x80) return {1};
  if (lead < 0xC2) return {0};
  if (lead < 0xE0) return {2};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

std::size_t AsciiPrefix(std::string_view text, std::size_t offset) {
  const std::size_t start = offset;
  while (offset + 8 <= text.size()) {
    std::uint64_t eight = 0;
    std::memcpy(&eight, text.data() + offset, 8);
    if ((eight & 0x8080808080808080ULL) != 0) break;
    offset += 8;
  }
  while (offset < text.size() && static_cast<unsigned char>(text[offset]) < 0x80) ++offset;
  return offset - start;
}

}  // namespace

Utf8Step StepUtf8(std::string_view text, std::size_t offset) {
  const LeadRule rule = RuleOf(static_cast<unsigned char>(text[offset]));
  if (rule.bytes == 0) return {Utf8Kind::kInvalid, 1};
  for (std::size_t i = 1; i < rule.bytes; ++i) {
    if (offset + i >= text.size()) return {Utf8Kind::kTruncated, i};
    const auto byte = static_cast<unsigned char>(text[offset + i]);
    const unsigned char low = i == 1 ? rule.second_min : 0x80;
    const unsigned char high = i == 1 ? rule.second_max : 0xBF;
    if (byte < low || byte > high) return {Utf8Kind::kInvalid, i};
  }
  return {Utf8Kind::kValid, rule.bytes};
}

void AppendUtf8(char32_t code, std::string& out) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | code >> 6);
    put(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    put(0xE0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  } else {
    put(0xF0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3F));
    put(0x80 | (code >> 6 & 0x3F));
    put(0x80 | (code & 0x3F));
  }
}

bool IsAscii(std::string_view text) { return AsciiPrefix(text, 0) == text.size(); }

bool IsValidUtf8(std::string_view text) {
  for (std::size_t i = AsciiPrefix(text, 0); i < text.size(); i += AsciiPrefix(text, i)) {
    const Utf8Step step = StepUtf8(text, i);
    if (step.kind != Utf8Kind::kValid) return false;
    i += step.bytes;
  }
  return true;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Step step = StepUtf8(text, i);
    out += step.kind == Utf8Kind::kValid ? text.substr(i, step.bytes) : kReplacementUtf8;
    i += step.bytes;
  }
  return out;
}

}  // namespace awq::text
