// The parts of a translated pattern that match exactly one character.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace awq::text {

// A union: `items` in PCRE2 class syntax, without brackets, and whole one-character patterns.
struct CharSet {
  std::string items;
  std::vector<std::string> others;

  void Add(CharSet set);
  std::string Pattern() const;         // matches one character of the set
  std::string NegatedPattern() const;  // matches one character outside the set
  CharSet Negated() const;
};

// One code point in class and in pattern syntax: \x{..}.
std::string EscapeCodePoint(char32_t code);

// \s \S \d \D \w \W \h \H, by its letter.
std::optional<CharSet> ShorthandSet(char letter);
// A name between [: and :], which has Oniguruma's Unicode meaning.
std::optional<CharSet> PosixSet(std::string_view name);
// A name between \p{ and }: general category, POSIX name, script or binary property; case, blanks,
// '-' and '_' do not count. Empty for a name that PCRE2 does not know.
std::optional<CharSet> PropertySet(std::string_view name);

}  // namespace awq::text
