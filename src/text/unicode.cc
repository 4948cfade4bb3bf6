#include "text/unicode.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "text/utf8.h"

namespace awq::text {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};
struct CategoryRange {
  char32_t first;
  char32_t last;
  utf8proc_category_t category;
};

// clang-format off
// Code points of Unicode 16 that Unicode 14 did not have, or had in another category.
constexpr CategoryRange kAssignedAfterUnicode14[] = {
    {0x897, 0x897, UTF8PROC_CATEGORY_MN}, {0xcf3, 0xcf3, UTF8PROC_CATEGORY_MC},
    {0xece, 0xece, UTF8PROC_CATEGORY_MN}, {0x1b4e, 0x1b4f, UTF8PROC_CATEGORY_PO},
    {0x1b7f, 0x1b7f, UTF8PROC_CATEGORY_PO}, {0x1c89, 0x1c89, UTF8PROC_CATEGORY_LU},
    {0x1c8a, 0x1c8a, UTF8PROC_CATEGORY_LL}, {0x2427, 0x2429, UTF8PROC_CATEGORY_SO},
    {0x2ffc, 0x2fff, UTF8PROC_CATEGORY_SO}, {0x31e4, 0x31e5, UTF8PROC_CATEGORY_SO},
    {0x31ef, 0x31ef, UTF8PROC_CATEGORY_SO}, {0xa7cb, 0xa7cc, UTF8PROC_CATEGORY_LU},
    {0xa7cd, 0xa7cd, UTF8PROC_CATEGORY_LL}, {0xa7da, 0xa7da, UTF8PROC_CATEGORY_LU},
    {0xa7db, 0xa7db, UTF8PROC_CATEGORY_LL}, {0xa7dc, 0xa7dc, UTF8PROC_CATEGORY_LU},
    {0x105c0, 0x105f3, UTF8PROC_CATEGORY_LO}, {0x10d40, 0x10d49, UTF8PROC_CATEGORY_ND},
    {0x10d4a, 0x10d4d, UTF8PROC_CATEGORY_LO}, {0x10d4e, 0x10d4e, UTF8PROC_CATEGORY_LM},
    {0x10d4f, 0x10d4f, UTF8PROC_CATEGORY_LO}, {0x10d50, 0x10d65, UTF8PROC_CATEGORY_LU},
    {0x10d69, 0x10d6d, UTF8PROC_CATEGORY_MN}, {0x10d6e, 0x10d6e, UTF8PROC_CATEGORY_PD},
    {0x10d6f, 0x10d6f, UTF8PROC_CATEGORY_LM}, {0x10d70, 0x10d85, UTF8PROC_CATEGORY_LL},
    {0x10d8e, 0x10d8f, UTF8PROC_CATEGORY_SM}, {0x10ec2, 0x10ec4, UTF8PROC_CATEGORY_LO},
    {0x10efc, 0x10eff, UTF8PROC_CATEGORY_MN}, {0x1123f, 0x11240, UTF8PROC_CATEGORY_LO},
    {0x11241, 0x11241, UTF8PROC_CATEGORY_MN}, {0x11380, 0x11389, UTF8PROC_CATEGORY_LO},
    {0x1138b, 0x1138b, UTF8PROC_CATEGORY_LO}, {0x1138e, 0x1138e, UTF8PROC_CATEGORY_LO},
    {0x11390, 0x113b5, UTF8PROC_CATEGORY_LO}, {0x113b7, 0x113b7, UTF8PROC_CATEGORY_LO},
    {0x113b8, 0x113ba, UTF8PROC_CATEGORY_MC}, {0x113bb, 0x113c0, UTF8PROC_CATEGORY_MN},
    {0x113c2, 0x113c2, UTF8PROC_CATEGORY_MC}, {0x113c5, 0x113c5, UTF8PROC_CATEGORY_MC},
    {0x113c7, 0x113ca, UTF8PROC_CATEGORY_MC}, {0x113cc, 0x113cd, UTF8PROC_CATEGORY_MC},
    {0x113ce, 0x113ce, UTF8PROC_CATEGORY_MN}, {0x113cf, 0x113cf, UTF8PROC_CATEGORY_MC},
    {0x113d0, 0x113d0, UTF8PROC_CATEGORY_MN}, {0x113d1, 0x113d1, UTF8PROC_CATEGORY_LO},
    {0x113d2, 0x113d2, UTF8PROC_CATEGORY_MN}, {0x113d3, 0x113d3, UTF8PROC_CATEGORY_LO},
    {0x113d4, 0x113d5, UTF8PROC_CATEGORY_PO}, {0x113d7, 0x113d8, UTF8PROC_CATEGORY_PO},
    {0x113e1, 0x113e2, UTF8PROC_CATEGORY_MN}, {0x116d0, 0x116e3, UTF8PROC_CATEGORY_ND},
    {0x1171e, 0x1171e, UTF8PROC_CATEGORY_MC}, {0x11b00, 0x11b09, UTF8PROC_CATEGORY_PO},
    {0x11bc0, 0x11be0, UTF8PROC_CATEGORY_LO}, {0x11be1, 0x11be1, UTF8PROC_CATEGORY_PO},
    {0x11bf0, 0x11bf9, UTF8PROC_CATEGORY_ND}, {0x11f00, 0x11f01, UTF8PROC_CATEGORY_MN},
    {0x11f02, 0x11f02, UTF8PROC_CATEGORY_LO}, {0x11f03, 0x11f03, UTF8PROC_CATEGORY_MC},
    {0x11f04, 0x11f10, UTF8PROC_CATEGORY_LO}, {0x11f12, 0x11f33, UTF8PROC_CATEGORY_LO},
    {0x11f34, 0x11f35, UTF8PROC_CATEGORY_MC}, {0x11f36, 0x11f3a, UTF8PROC_CATEGORY_MN},
    {0x11f3e, 0x11f3f, UTF8PROC_CATEGORY_MC}, {0x11f40, 0x11f40, UTF8PROC_CATEGORY_MN},
    {0x11f41, 0x11f41, UTF8PROC_CATEGORY_MC}, {0x11f42, 0x11f42, UTF8PROC_CATEGORY_MN},
    {0x11f43, 0x11f4f, UTF8PROC_CATEGORY_PO}, {0x11f50, 0x11f59, UTF8PROC_CATEGORY_ND},
    {0x11f5a, 0x11f5a, UTF8PROC_CATEGORY_MN}, {0x1342f, 0x1342f, UTF8PROC_CATEGORY_LO},
    {0x13439, 0x1343f, UTF8PROC_CATEGORY_CF}, {0x13440, 0x13440, UTF8PROC_CATEGORY_MN},
    {0x13441, 0x13446, UTF8PROC_CATEGORY_LO}, {0x13447, 0x13455, UTF8PROC_CATEGORY_MN},
    {0x13460, 0x143fa, UTF8PROC_CATEGORY_LO}, {0x16100, 0x1611d, UTF8PROC_CATEGORY_LO},
    {0x1611e, 0x16129, UTF8PROC_CATEGORY_MN}, {0x1612a, 0x1612c, UTF8PROC_CATEGORY_MC},
    {0x1612d, 0x1612f, UTF8PROC_CATEGORY_MN}, {0x16130, 0x16139, UTF8PROC_CATEGORY_ND},
    {0x16d40, 0x16d42, UTF8PROC_CATEGORY_LM}, {0x16d43, 0x16d6a, UTF8PROC_CATEGORY_LO},
    {0x16d6b, 0x16d6c, UTF8PROC_CATEGORY_LM}, {0x16d6d, 0x16d6f, UTF8PROC_CATEGORY_PO},
    {0x16d70, 0x16d79, UTF8PROC_CATEGORY_ND}, {0x18cff, 0x18cff, UTF8PROC_CATEGORY_LO},
    {0x1b132, 0x1b132, UTF8PROC_CATEGORY_LO}, {0x1b155, 0x1b155, UTF8PROC_CATEGORY_LO},
    {0x1cc00, 0x1ccef, UTF8PROC_CATEGORY_SO}, {0x1ccf0, 0x1ccf9, UTF8PROC_CATEGORY_ND},
    {0x1cd00, 0x1ceb3, UTF8PROC_CATEGORY_SO}, {0x1d2c0, 0x1d2d3, UTF8PROC_CATEGORY_NO},
    {0x1df25, 0x1df2a, UTF8PROC_CATEGORY_LL}, {0x1e030, 0x1e06d, UTF8PROC_CATEGORY_LM},
    {0x1e08f, 0x1e08f, UTF8PROC_CATEGORY_MN}, {0x1e4d0, 0x1e4ea, UTF8PROC_CATEGORY_LO},
    {0x1e4eb, 0x1e4eb, UTF8PROC_CATEGORY_LM}, {0x1e4ec, 0x1e4ef, UTF8PROC_CATEGORY_MN},
    {0x1e4f0, 0x1e4f9, UTF8PROC_CATEGORY_ND}, {0x1e5d0, 0x1e5ed, UTF8PROC_CATEGORY_LO},
    {0x1e5ee, 0x1e5ef, UTF8PROC_CATEGORY_MN}, {0x1e5f0, 0x1e5f0, UTF8PROC_CATEGORY_LO},
    {0x1e5f1, 0x1e5fa, UTF8PROC_CATEGORY_ND}, {0x1e5ff, 0x1e5ff, UTF8PROC_CATEGORY_PO},
    {0x1f6dc, 0x1f6dc, UTF8PROC_CATEGORY_SO}, {0x1f774, 0x1f776, UTF8PROC_CATEGORY_SO},
    {0x1f77b, 0x1f77f, UTF8PROC_CATEGORY_SO}, {0x1f7d9, 0x1f7d9, UTF8PROC_CATEGORY_SO},
    {0x1f8b2, 0x1f8bb, UTF8PROC_CATEGORY_SO}, {0x1f8c0, 0x1f8c1, UTF8PROC_CATEGORY_SO},
    {0x1fa75, 0x1fa77, UTF8PROC_CATEGORY_SO}, {0x1fa87, 0x1fa89, UTF8PROC_CATEGORY_SO},
    {0x1fa8f, 0x1fa8f, UTF8PROC_CATEGORY_SO}, {0x1faad, 0x1faaf, UTF8PROC_CATEGORY_SO},
    {0x1fabb, 0x1fabf, UTF8PROC_CATEGORY_SO}, {0x1fac6, 0x1fac6, UTF8PROC_CATEGORY_SO},
    {0x1face, 0x1facf, UTF8PROC_CATEGORY_SO}, {0x1fada, 0x1fadc, UTF8PROC_CATEGORY_SO},
    {0x1fadf, 0x1fadf, UTF8PROC_CATEGORY_SO}, {0x1fae8, 0x1fae9, UTF8PROC_CATEGORY_SO},
    {0x1faf7, 0x1faf8, UTF8PROC_CATEGORY_SO}, {0x1fbcb, 0x1fbef, UTF8PROC_CATEGORY_SO},
    {0x2b739, 0x2b739, UTF8PROC_CATEGORY_LO}, {0x2ebf0, 0x2ee5d, UTF8PROC_CATEGORY_LO},
    {0x31350, 0x323af, UTF8PROC_CATEGORY_LO},
};

// Where the package's punctuation test, of Unicode 8, answers otherwise than Unicode 16.
constexpr Range kPunctuationDifferences[] = {
    {0x61d, 0x61d}, {0x9fd, 0x9fd}, {0xa76, 0xa76}, {0xc77, 0xc77}, {0xc84, 0xc84},
    {0x166d, 0x166d}, {0x1b4e, 0x1b4f}, {0x1b7d, 0x1b7f}, {0x2e43, 0x2e4f}, {0x2e52, 0x2e5d},
    {0x10d6e, 0x10d6e}, {0x10ead, 0x10ead}, {0x10f55, 0x10f59}, {0x10f86, 0x10f89},
    {0x111c9, 0x111c9}, {0x113d4, 0x113d5}, {0x113d7, 0x113d8}, {0x1144b, 0x1144f},
    {0x1145a, 0x1145b}, {0x1145d, 0x1145d}, {0x11660, 0x1166c}, {0x116b9, 0x116b9},
    {0x1183b, 0x1183b}, {0x11944, 0x11946}, {0x119e2, 0x119e2}, {0x11a3f, 0x11a46},
    {0x11a9a, 0x11a9c}, {0x11a9e, 0x11aa2}, {0x11b00, 0x11b09}, {0x11be1, 0x11be1},
    {0x11c41, 0x11c45}, {0x11c70, 0x11c71}, {0x11ef7, 0x11ef8}, {0x11f43, 0x11f4f},
    {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2}, {0x16d6d, 0x16d6f}, {0x16e97, 0x16e9a},
    {0x16fe2, 0x16fe2}, {0x1e5ff, 0x1e5ff}, {0x1e95e, 0x1e95f},
};

// Where the package's test for combining marks, of Unicode 9, answers otherwise than Unicode 16.
constexpr Range kStrippedMarkDifferences[] = {
    {0x7fd, 0x7fd}, {0x897, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xafa, 0xaff}, {0xb55, 0xb55},
    {0xc04, 0xc04}, {0xc3c, 0xc3c}, {0xcf3, 0xcf3}, {0xd00, 0xd00}, {0xd3b, 0xd3c}, {0xd81, 0xd81},
    {0xeba, 0xeba}, {0xece, 0xece}, {0x1715, 0x1715}, {0x180f, 0x180f}, {0x1abf, 0x1ace},
    {0x1cf2, 0x1cf3}, {0x1cf7, 0x1cf7}, {0x1df6, 0x1dfa}, {0xa82c, 0xa82c}, {0xa8ff, 0xa8ff},
    {0x10d24, 0x10d27}, {0x10d69, 0x10d6d}, {0x10eab, 0x10eac}, {0x10efc, 0x10eff},
    {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x11073, 0x11074},
    {0x110c2, 0x110c2}, {0x11145, 0x11146}, {0x111c9, 0x111c9}, {0x111ce, 0x111cf},
    {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x113b8, 0x113c0}, {0x113c2, 0x113c2},
    {0x113c5, 0x113c5}, {0x113c7, 0x113ca}, {0x113cc, 0x113d0}, {0x113d2, 0x113d2},
    {0x113e1, 0x113e2}, {0x1145e, 0x1145e}, {0x1182c, 0x1183a}, {0x11930, 0x11935},
    {0x11937, 0x11938}, {0x1193b, 0x1193e}, {0x11940, 0x11940}, {0x11942, 0x11943},
    {0x119d1, 0x119d7}, {0x119da, 0x119e0}, {0x119e4, 0x119e4}, {0x11a01, 0x11a0a},
    {0x11a33, 0x11a39}, {0x11a3b, 0x11a3e}, {0x11a47, 0x11a47}, {0x11a51, 0x11a5b},
    {0x11a8a, 0x11a99}, {0x11d31, 0x11d36}, {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d},
    {0x11d3f, 0x11d45}, {0x11d47, 0x11d47}, {0x11d8a, 0x11d8e}, {0x11d90, 0x11d91},
    {0x11d93, 0x11d97}, {0x11ef3, 0x11ef6}, {0x11f00, 0x11f01}, {0x11f03, 0x11f03},
    {0x11f34, 0x11f3a}, {0x11f3e, 0x11f42}, {0x11f5a, 0x11f5a}, {0x13440, 0x13440},
    {0x13447, 0x13455}, {0x1611e, 0x1612f}, {0x16f4f, 0x16f4f}, {0x16f7f, 0x16f87},
    {0x16fe4, 0x16fe4}, {0x16ff0, 0x16ff1}, {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46},
    {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef},
    {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef},
};

// Characters of Unicode 10 to 14 that the package's normalisation leaves alone.
constexpr Range kNormalizationInert[] = {
    {0x7fd, 0x7fd}, {0x898, 0x89f}, {0x8ca, 0x8d3}, {0x9fe, 0x9fe}, {0xc3c, 0xc3c}, {0xd3b, 0xd3c},
    {0xeba, 0xeba}, {0x1715, 0x1715}, {0x1abf, 0x1ace}, {0x1df6, 0x1dfa}, {0x32ff, 0x32ff},
    {0xa7f2, 0xa7f4}, {0xa82c, 0xa82c}, {0xab69, 0xab69}, {0x10781, 0x10785}, {0x10787, 0x107b0},
    {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11938, 0x11938}, {0x1193d, 0x1193e}, {0x11943, 0x11943},
    {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47}, {0x11a99, 0x11a99},
    {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97}, {0x16ff0, 0x16ff1},
    {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9},
};
// clang-format on

template <class T, std::size_t kSize>
const T* FindRange(const T (&ranges)[kSize], char32_t code) {
  const T* found = std::upper_bound(std::begin(ranges), std::end(ranges), code,
                                    [](char32_t c, const T& range) { return c < range.first; });
  if (found == std::begin(ranges)) return nullptr;
  --found;
  return code <= found->last ? found : nullptr;
}

utf8proc_category_t Category(char32_t code) {
  if (const CategoryRange* added = FindRange(kAssignedAfterUnicode14, code)) return added->category;
  return utf8proc_category(static_cast<utf8proc_int32_t>(code));
}

std::string_view CategoryName(utf8proc_category_t category) {
  constexpr std::string_view kNames[] = {
      "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
      "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
  return kNames[category];
}

bool IsAsciiPunctuation(char32_t code) {
  return (code >= 0x21 && code <= 0x2F) || (code >= 0x3A && code <= 0x40) ||
         (code >= 0x5B && code <= 0x60) || (code >= 0x7B && code <= 0x7E);
}

// Cases of Unicode 16 and 17.
char32_t LowercaseAddition(char32_t code) {
  if (code >= 0x10D50 && code <= 0x10D65) return code + 0x20;
  if (code >= 0x16EA0 && code <= 0x16EB8) return code + 0x1B;
  switch (code) {
    case 0x1C89:
    case 0xA7CC:
    case 0xA7CE:
    case 0xA7D2:
    case 0xA7D4:
    case 0xA7DA:
      return code + 1;
    case 0xA7CB:
      return 0x264;
    case 0xA7DC:
      return 0x19B;
    default:
      return 0;
  }
}

}  // namespace

bool IsWhitespace(char32_t code) {
  if (code < 0x80) return code == 0x20 || (code >= 0x09 && code <= 0x0D);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

bool IsNumeric(char32_t code) {
  if (code < 0x80) return code >= '0' && code <= '9';
  if ((code >= 0x11DE0 && code <= 0x11DE9) || (code >= 0x16FF4 && code <= 0x16FF6)) return true;
  const utf8proc_category_t category = Category(code);
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool IsPunctuation(char32_t code) {
  if (code < 0x80) return IsAsciiPunctuation(code);
  const utf8proc_category_t category = Category(code);
  const bool is_punctuation = category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
  return is_punctuation != (FindRange(kPunctuationDifferences, code) != nullptr);
}

bool IsWord(char32_t code) {
  if (code < 0x80) {
    return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') ||
           (code >= 'a' && code <= 'z') || code == '_';
  }
  // Circled and squared letters are alphabetic, though symbols.
  if ((code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
      (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189)) {
    return true;
  }
  if (code == 0x200C || code == 0x200D) return true;
  const utf8proc_category_t category = Category(code);
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NL) ||
         category == UTF8PROC_CATEGORY_PC;
}

bool IsStrippedAccent(char32_t code) {
  if (code < 0x300) return false;
  const utf8proc_category_t category = Category(code);
  const bool is_mark = category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
  return is_mark != (FindRange(kStrippedMarkDifferences, code) != nullptr);
}

void AppendLowercase(char32_t code, std::string& out) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code >= 'A' && code <= 'Z' ? code + 32 : code));
    return;
  }
  if (code == 0x130) {  // the one character whose lower case is two
    out += "i\xCC\x87";
    return;
  }
  const char32_t addition = LowercaseAddition(code);
  const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code)));
  AppendUtf8(addition != 0 ? addition : lower, out);
}

void AppendTitlecase(char32_t code, std::string& out) {
  AppendUtf8(static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(code))), out);
}

bool IsNormalizationInert(char32_t code) {
  return code >= kNormalizationInert[0].first &&
         (FindRange(kNormalizationInert, code) != nullptr ||
          FindRange(kAssignedAfterUnicode14, code) != nullptr);
}

std::string CategoryAdditions(std::string_view name) {
  std::string out;
  for (const CategoryRange& range : kAssignedAfterUnicode14) {
    if (!CategoryName(range.category).starts_with(name)) continue;
    out += fmt::format("\\x{{{:x}}}-\\x{{{:x}}}", static_cast<std::uint32_t>(range.first),
                       static_cast<std::uint32_t>(range.last));
  }
  return out;
}

}  // namespace awq::text
