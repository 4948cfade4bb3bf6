// Facts about code points, as the `tokenizers` package sees them. That package takes its facts from
// several libraries of different Unicode versions (Oniguruma 16, Rust 17, normalisation 9); the
// tables in unicode.cc are the differences from utf8proc and PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace awq::text {

bool IsWhitespace(char32_t code);   // Unicode White_Space
bool IsNumeric(char32_t code);      // Nd, Nl, No
bool IsPunctuation(char32_t code);  // P* and the ASCII symbols
bool IsWord(char32_t code);         // Rust's \w: Alphabetic, M, Nd, Pc, Join_Control
bool IsStrippedAccent(char32_t code);

// Appends the lower case of `code`: one character, two for U+0130.
void AppendLowercase(char32_t code, std::string& out);

// Appends the title case of `code`, one character (Unicode's simple mapping).
void AppendTitlecase(char32_t code, std::string& out);

// True where the package's normalisation tables are older than the character: it neither
// decomposes nor composes nor is reordered.
bool IsNormalizationInert(char32_t code);

// The ranges that general category `name` ("L", "Lu", ...) gained after Unicode 14, in the syntax
// of a PCRE2 character class; empty for a name that gained none.
std::string CategoryAdditions(std::string_view name);

}  // namespace awq::text
