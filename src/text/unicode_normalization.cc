#include "text/unicode_normalization.h"

#include <utf8proc.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/check.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

struct BoundaryRange {
  char32_t first;
  char32_t last;
};
// Blocks of most of the world's text, checked against the library by a test; a block that is
// missing here costs time, not correctness.
constexpr BoundaryRange kNfcBoundaries[] = {
    {0x0, 0x2FF},     {0x400, 0x482},   {0x5D0, 0x5EA},   {0x621, 0x64A},     {0x2002, 0x20CF},
    {0x2190, 0x2328}, {0x232B, 0x2ADB}, {0x3000, 0x3029}, {0x3041, 0x3098},   {0x309B, 0x9FFF},
    {0xAC00, 0xD7A3}, {0xE000, 0xF8FF}, {0xFF00, 0xFFEF}, {0x1F000, 0x1FAFF}, {0x20000, 0x2A6DF},
};

using CodePoints = std::vector<utf8proc_int32_t>;

int CombiningClass(utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; }

// utf8proc orders marks by exchange, which is quadratic in a long run of them.
void OrderMarks(CodePoints& codes) {
  for (auto run = codes.begin(); run != codes.end();) {
    if (CombiningClass(*run) == 0) {
      ++run;
      continue;
    }
    const auto end =
        std::find_if(run, codes.end(), [](auto code) { return CombiningClass(code) == 0; });
    std::stable_sort(run, end, [](utf8proc_int32_t a, utf8proc_int32_t b) {
      return CombiningClass(a) < CombiningClass(b);
    });
    run = end;
  }
}

void AppendNormalized(NormalizationForm form, CodePoints& codes, std::string& out) {
  if (codes.empty()) return;
  OrderMarks(codes);
  auto count = static_cast<utf8proc_ssize_t>(codes.size());
  if (form == NormalizationForm::kNfc || form == NormalizationForm::kNfkc) {
    count = utf8proc_normalize_utf32(
        codes.data(), count, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    AWQ_CHECK_LE(0, count);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    AppendUtf8(static_cast<char32_t>(codes[static_cast<std::size_t>(i)]), out);
  }
  codes.clear();
}

void AppendDecomposition(NormalizationForm form, char32_t code, CodePoints& codes) {
  const bool compatible = form == NormalizationForm::kNfkc || form == NormalizationForm::kNfkd;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatible ? UTF8PROC_COMPAT : 0));
  constexpr utf8proc_ssize_t kLongest = 32;  // Unicode's longest is 18
  utf8proc_int32_t parts[kLongest];
  int boundary_class = 0;
  const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code), parts,
                                                         kLongest, options, &boundary_class);
  AWQ_CHECK(count >= 0 && count <= kLongest);
  codes.insert(codes.end(), parts, parts + count);
}

bool IsBoundary(NormalizationForm form, char32_t code) {
  return form == NormalizationForm::kNfc ? IsNfcBoundary(code) : code < 0x80;
}

}  // namespace

bool IsNfcBoundary(char32_t code) {
  if (code < 0x300) return true;
  return std::any_of(std::begin(kNfcBoundaries), std::end(kNfcBoundaries),
                     [&](const BoundaryRange& r) { return code >= r.first && code <= r.last; });
}

bool NormalizeUnicode(NormalizationForm form, std::string& text) {
  std::string out;
  CodePoints codes;
  std::size_t copied = 0;    // out holds the normal form of text[0, copied)
  std::size_t boundary = 0;  // the last boundary character: a mark may join it
  for (std::size_t i = 0; i < text.size();) {
    Utf8Char c = DecodeUtf8(text, i);
    if (IsBoundary(form, c.code)) {
      boundary = i;
      i += c.bytes;
      continue;
    }
    out.append(text, copied, boundary - copied);
    for (i = boundary; i < text.size(); i += c.bytes) {
      c = DecodeUtf8(text, i);
      if (i != boundary && IsBoundary(form, c.code)) break;
      if (IsNormalizationInert(c.code)) {
        AppendNormalized(form, codes, out);
        AppendUtf8(c.code, out);
      } else {
        AppendDecomposition(form, c.code, codes);
      }
    }
    AppendNormalized(form, codes, out);
    copied = i;
    boundary = i;
  }
  if (copied == 0) return false;
  out.append(text, copied);
  text = std::move(out);
  return true;
}

}  // namespace awq::text
