#include "text/unicode_normalization.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>
#include <string>

#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

std::string Library(const std::string& text, int options) {
  utf8proc_uint8_t* out = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &out,
                                   static_cast<utf8proc_option_t>(options | UTF8PROC_STABLE));
  EXPECT_GE(length, 0);
  std::string result(reinterpret_cast<const char*>(out), static_cast<std::size_t>(length));
  std::free(out);
  return result;
}

std::string Normalized(NormalizationForm form, std::string text) {
  NormalizeUnicode(form, text);
  return text;
}

TEST(UnicodeNormalizationTest, EqualsTheLibraryOnRandomText) {
  const char32_t kPool[] = {'a',   'e',    ' ',    0xE9,   0x300,  0x301,   0x323,   0x327,
                            0x345, 0x1100, 0x1161, 0x11A8, 0xAC00, 0x304B,  0x3099,  0x915,
                            0x93C, 0x212B, 0xFB01, 0x1E9B, 0x4E2D, 0x1F600, 0x1D15E, 0x0F73};
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (auto left = random() % 12; left > 0; --left) {
      AppendUtf8(kPool[random() % std::size(kPool)], text);
    }
    ASSERT_EQ(Normalized(NormalizationForm::kNfc, text), Library(text, UTF8PROC_COMPOSE));
    ASSERT_EQ(Normalized(NormalizationForm::kNfd, text), Library(text, UTF8PROC_DECOMPOSE));
    ASSERT_EQ(Normalized(NormalizationForm::kNfkc, text),
              Library(text, UTF8PROC_COMPOSE | UTF8PROC_COMPAT));
    ASSERT_EQ(Normalized(NormalizationForm::kNfkd, text),
              Library(text, UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT));
  }
}

TEST(UnicodeNormalizationTest, EveryCharacterAlone) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if ((code >= 0xD800 && code <= 0xDFFF) || IsNormalizationInert(code)) continue;
    std::string text = "a";
    AppendUtf8(code, text);
    AppendUtf8(0x301, text);
    ASSERT_EQ(Normalized(NormalizationForm::kNfc, text), Library(text, UTF8PROC_COMPOSE))
        << static_cast<unsigned>(code);
  }
}

// What the fast path relies on.
TEST(UnicodeNormalizationTest, BoundariesAreStartersThatJoinNothingBefore) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    if (!IsNfcBoundary(code)) continue;
    const utf8proc_property_t* property =
        utf8proc_get_property(static_cast<utf8proc_int32_t>(code));
    ASSERT_EQ(property->combining_class, 0) << static_cast<unsigned>(code);
    std::string text;
    AppendUtf8(code, text);
    ASSERT_EQ(Library(text, UTF8PROC_COMPOSE), text) << static_cast<unsigned>(code);
    for (char32_t before : {U'a', char32_t{0x1100}, char32_t{0xAC00}, char32_t{0x9C7}}) {
      std::string pair;
      AppendUtf8(before, pair);
      ASSERT_EQ(Library(pair + text, UTF8PROC_COMPOSE), pair + text) << static_cast<unsigned>(code);
    }
  }
}

// A quadratic ordering of marks would take hours here.
TEST(UnicodeNormalizationTest, LongRunsOfMarks) {
  std::string text = "a";
  for (int i = 0; i < 500000; ++i) AppendUtf8(i % 2 == 0 ? 0x301 : 0x323, text);
  const std::string out = Normalized(NormalizationForm::kNfc, text);
  EXPECT_TRUE(out.starts_with("\u1EA1\u0323"));
  EXPECT_TRUE(out.ends_with("\u0301\u0301"));
}

}  // namespace
}  // namespace awq::text
