#include "text/jinja/text_ops.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

// Where the last character of a text that is not empty begins.
std::size_t LastCharacter(std::string_view text) {
  std::size_t i = text.size() - 1;
  while (i > 0 && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

bool Contains(std::string_view characters, std::string_view character) {
  for (std::size_t i = 0; i < characters.size();) {
    const std::size_t bytes = DecodeUtf8(characters, i).bytes;
    if (characters.substr(i, bytes) == character) return true;
    i += bytes;
  }
  return false;
}

void AppendUppercase(char32_t code, std::string& out) {
  if (code == 0xDF) {
    out += "SS";
  } else {
    AppendUtf8(static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(code))), out);
  }
}

// The next word at or after `at`, in bytes; empty where there is none.
std::string_view NextWord(std::string_view text, std::size_t at) {
  const std::string_view rest = Strip(text.substr(at), Side::kLeft);
  std::size_t end = 0;
  while (end < rest.size()) {
    const Utf8Char next = DecodeUtf8(rest, end);
    if (IsPythonSpace(next.code)) break;
    end += next.bytes;
  }
  return rest.substr(0, end);
}

Status CheckSeparator(std::optional<std::string_view> separator) {
  if (!separator || !separator->empty()) return {};
  return MakeError(ErrorCode::kInvalidArgument, "an empty separator");
}

}  // namespace

bool IsPythonSpace(char32_t code) { return IsWhitespace(code) || (code >= 0x1C && code <= 0x1F); }

std::string_view Strip(std::string_view text, Side side,
                       std::optional<std::string_view> characters) {
  const auto goes = [&](std::size_t at, std::size_t bytes) {
    return characters ? Contains(*characters, text.substr(at, bytes))
                      : IsPythonSpace(DecodeUtf8(text, at).code);
  };
  while (side != Side::kRight && !text.empty()) {
    const std::size_t bytes = DecodeUtf8(text, 0).bytes;
    if (!goes(0, bytes)) break;
    text.remove_prefix(bytes);
  }
  while (side != Side::kLeft && !text.empty()) {
    const std::size_t last = LastCharacter(text);
    if (!goes(last, text.size() - last)) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

std::size_t FindText(std::string_view text, std::string_view part, std::size_t from) {
  if (from > text.size()) return kNone;
  if (part.empty()) return from;
  const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
  return found == nullptr ? kNone
                          : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

Result<std::vector<std::string>> Split(Meter& meter, std::string_view text,
                                       std::optional<std::string_view> separator,
                                       std::int64_t limit) {
  AWQ_TRY(CheckSeparator(separator));
  AWQ_TRY(meter.Scan(text.size()));
  std::vector<std::string> parts;
  std::size_t start = 0;
  const auto may_cut = [&] { return limit < 0 || parts.size() < static_cast<std::size_t>(limit); };
  if (separator) {
    for (std::size_t end = 0; may_cut() && (end = FindText(text, *separator, start)) != kNone;) {
      AWQ_TRY(meter.Spend(1));
      parts.emplace_back(text.substr(start, end - start));
      start = end + separator->size();
    }
    parts.emplace_back(text.substr(start));
    return parts;
  }
  while (may_cut()) {
    const std::string_view word = NextWord(text, start);
    if (word.empty()) return parts;
    AWQ_TRY(meter.Spend(1));
    parts.emplace_back(word);
    start = static_cast<std::size_t>(word.data() - text.data()) + word.size();
  }
  const std::string_view rest = Strip(text.substr(start), Side::kLeft);
  if (!rest.empty()) parts.emplace_back(rest);
  return parts;
}

Result<std::vector<std::string>> SplitFromRight(Meter& meter, std::string_view text,
                                                std::optional<std::string_view> separator,
                                                std::int64_t limit) {
  if (limit < 0) return Split(meter, text, separator, limit);
  AWQ_TRY(CheckSeparator(separator));
  AWQ_TRY(meter.Scan(text.size()));
  std::vector<std::string> parts;
  for (std::int64_t cuts = 0; cuts < limit; ++cuts) {
    AWQ_TRY(meter.Scan(separator ? text.size() * separator->size() : 0));  // rfind's worst
    if (!separator) text = Strip(text, Side::kRight);
    std::size_t cut = text.size();
    std::size_t width = 0;
    if (separator) {
      cut = text.rfind(*separator);
      width = separator->size();
      if (cut == kNone) break;
    } else {
      while (cut > 0 && !IsPythonSpace(DecodeUtf8(text, LastCharacter(text.substr(0, cut))).code)) {
        cut = LastCharacter(text.substr(0, cut));
      }
      if (cut == 0) break;
    }
    parts.emplace_back(text.substr(cut + width));
    text = text.substr(0, cut);
  }
  if (!separator) text = Strip(text, Side::kRight);
  if (separator || !text.empty()) parts.emplace_back(text);
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string> SplitLines(std::string_view text, bool keep_ends) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    const char32_t c = next.code;
    const bool ends = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                      c == 0x2028 || c == 0x2029;
    std::size_t end = i + next.bytes;
    if (ends) {
      if (c == '\r' && end < text.size() && text[end] == '\n') ++end;
      lines.emplace_back(text.substr(start, (keep_ends ? end : i) - start));
      start = end;
    }
    i = end;
  }
  if (start < text.size()) lines.emplace_back(text.substr(start));
  return lines;
}

Result<std::string> Replace(Meter& meter, std::string_view text, std::string_view old,
                            std::string_view fresh, std::int64_t limit) {
  AWQ_TRY(meter.Scan(text.size()));
  std::string out;
  std::size_t start = 0;
  for (std::int64_t count = 0; limit < 0 || count < limit; ++count) {
    // An empty text stands before every character, and at the end.
    std::size_t at = FindText(text, old, start);
    if (old.empty() && count > 0) {
      at = start < text.size() ? start + DecodeUtf8(text, start).bytes : kNone;
    }
    if (at == kNone) break;
    AWQ_TRY(meter.Scan(fresh.size()));
    out += text.substr(start, at - start);
    out += fresh;
    AWQ_TRY(meter.Fits(out.size()));
    start = at + old.size();
  }
  out += text.substr(start);
  return out;
}

std::string Upper(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    AppendUppercase(next.code, out);
    i += next.bytes;
  }
  return out;
}

std::string Lower(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    AppendLowercase(next.code, out);
    i += next.bytes;
  }
  return out;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return std::string();
  std::string out;
  const Utf8Char first = DecodeUtf8(text, 0);
  AppendTitlecase(first.code, out);
  return out + Lower(text.substr(first.bytes));
}

std::string Title(std::string_view text) {
  std::string out;
  bool in_word = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    if (in_word) {
      AppendLowercase(next.code, out);
    } else {
      AppendTitlecase(next.code, out);
    }
    in_word = IsCased(next.code);
    i += next.bytes;
  }
  return out;
}

bool IsUpper(char32_t code) { return utf8proc_isupper(static_cast<utf8proc_int32_t>(code)) != 0; }
bool IsLower(char32_t code) { return utf8proc_islower(static_cast<utf8proc_int32_t>(code)) != 0; }

bool IsCased(char32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

std::vector<std::size_t> CharacterOffsets(std::string_view text) {
  std::vector<std::size_t> offsets;
  for (std::size_t i = 0; i < text.size(); i += DecodeUtf8(text, i).bytes) offsets.push_back(i);
  offsets.push_back(text.size());
  return offsets;
}

Result<std::vector<std::size_t>> SliceIndices(std::size_t length, std::optional<std::int64_t> start,
                                              std::optional<std::int64_t> stop,
                                              std::optional<std::int64_t> step) {
  const std::int64_t by = step.value_or(1);
  if (by == 0) return MakeError(ErrorCode::kInvalidArgument, "a slice with a step of 0");
  const auto size = static_cast<std::int64_t>(length);
  const std::int64_t lowest = by > 0 ? 0 : -1;
  const std::int64_t highest = by > 0 ? size : size - 1;
  const auto place = [&](std::int64_t index) {
    return std::clamp(index < 0 ? std::max(index, -size - 1) + size : index, lowest, highest);
  };
  const std::int64_t first = start ? place(*start) : by > 0 ? lowest : highest;
  const std::int64_t end = stop ? place(*stop) : by > 0 ? highest : lowest;
  std::vector<std::size_t> indices;
  const std::int64_t stride = std::clamp<std::int64_t>(by, -size - 1, size + 1);
  for (std::int64_t i = first; by > 0 ? i < end : i > end; i += stride) {
    indices.push_back(static_cast<std::size_t>(i));
  }
  return indices;
}

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace awq::text::jinja
