#include "text/regex_class.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <iterator>
#include <utility>

#include "text/unicode.h"

namespace awq::text {
namespace {

constexpr std::string_view kSpace =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";

std::string Category(std::string_view name) {
  return fmt::format("\\p{{{}}}{}", name, CategoryAdditions(name));
}

std::string Categories(std::initializer_list<std::string_view> names) {
  std::string items;
  for (std::string_view name : names) items += Category(name);
  return items;
}

std::string Alphabetic() {
  return "\\p{Alphabetic}" + CategoryAdditions("L") + CategoryAdditions("Nl");
}

std::string Word() { return Alphabetic() + Categories({"M", "Nd", "Pc"}); }

struct Alias {
  std::string_view long_name;
  std::string_view category;
};
constexpr Alias kLongCategories[] = {
    {"letter", "L"},
    {"uppercaseletter", "Lu"},
    {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"},
    {"modifierletter", "Lm"},
    {"otherletter", "Lo"},
    {"mark", "M"},
    {"combiningmark", "M"},
    {"nonspacingmark", "Mn"},
    {"spacingmark", "Mc"},
    {"enclosingmark", "Me"},
    {"number", "N"},
    {"decimalnumber", "Nd"},
    {"letternumber", "Nl"},
    {"othernumber", "No"},
    {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"},
    {"openpunctuation", "Ps"},
    {"closepunctuation", "Pe"},
    {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"},
    {"otherpunctuation", "Po"},
    {"symbol", "S"},
    {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"},
    {"modifiersymbol", "Sk"},
    {"othersymbol", "So"},
    {"separator", "Z"},
    {"spaceseparator", "Zs"},
    {"lineseparator", "Zl"},
    {"paragraphseparator", "Zp"},
    {"control", "Cc"},
    {"format", "Cf"},
    {"privateuse", "Co"},
};

std::string Canonical(std::string_view name) {
  std::string out;
  for (char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    out.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  return out;
}

std::optional<std::string> CategoryOf(const std::string& canonical) {
  for (const Alias& alias : kLongCategories) {
    if (alias.long_name == canonical) return std::string(alias.category);
  }
  constexpr std::string_view kMajors = "LMNPSZ";
  std::string name = canonical;
  if (name.empty() || name.size() > 2) return std::nullopt;
  name[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(name[0])));
  if (name.size() == 1 && kMajors.find(name[0]) != std::string_view::npos) return name;
  for (const Alias& alias : kLongCategories) {
    if (alias.category == name) return name;
  }
  return std::nullopt;
}

bool Compiles(const std::string& pattern) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                   PCRE2_UTF | PCRE2_UCP, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

}  // namespace

void CharSet::Add(CharSet set) {
  items += set.items;
  std::move(set.others.begin(), set.others.end(), std::back_inserter(others));
}

std::string CharSet::Pattern() const {
  if (others.empty()) return items.empty() ? "(?!)" : "[" + items + "]";
  // A repeated group costs stack for every repeat, a repeated class nothing.
  if (items.empty() && others.size() == 1) return others[0];
  std::string out = "(?:";
  if (!items.empty()) out += "[" + items + "]|";
  return out + fmt::format("{})", fmt::join(others, "|"));
}

std::string CharSet::NegatedPattern() const {
  if (others.empty()) return items.empty() ? "(?s:.)" : "[^" + items + "]";
  return "(?:(?!" + Pattern() + ")(?s:.))";
}

CharSet CharSet::Negated() const { return {"", {NegatedPattern()}}; }

std::string EscapeCodePoint(char32_t code) {
  return fmt::format("\\x{{{:x}}}", static_cast<std::uint32_t>(code));
}

std::optional<CharSet> ShorthandSet(char letter) {
  const char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  CharSet set;
  switch (lower) {
    case 's':
      set.items = kSpace;
      break;
    case 'd':
      set.items = Category("Nd");
      break;
    case 'w':
      // Oniguruma counts the superscripts and fractions of Latin-1 too.
      set.items = Word() + "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
      break;
    case 'h':
      set.items = "0-9a-fA-F";
      break;
    default:
      return std::nullopt;
  }
  return letter == lower ? set : set.Negated();
}

std::optional<CharSet> PosixSet(std::string_view name) {
  const auto items = [](std::string text) { return CharSet{std::move(text), {}}; };
  if (name == "space") return items(std::string(kSpace));
  if (name == "digit") return items(Category("Nd"));
  if (name == "alpha") return items(Alphabetic());
  if (name == "alnum") return items(Alphabetic() + Category("Nd"));
  if (name == "upper") return items("\\p{Uppercase}" + CategoryAdditions("Lu"));
  if (name == "lower") return items("\\p{Lowercase}" + CategoryAdditions("Ll"));
  if (name == "punct") return items(Categories({"P", "S"}));
  if (name == "cntrl") return items("\\p{Cc}");
  if (name == "blank") return items("\\p{Zs}\\x{9}");
  if (name == "xdigit") return items("0-9a-fA-F");
  if (name == "ascii") return items("\\x{0}-\\x{7f}");
  if (name == "word") return items(Word());
  if (name == "graph") {
    return CharSet{std::string(kSpace) + "\\p{Cc}\\p{Cn}\\p{Cs}", {}}.Negated();
  }
  return std::nullopt;
}

std::optional<CharSet> PropertySet(std::string_view name) {
  const std::string canonical = Canonical(name);
  if (canonical.empty() || !std::all_of(canonical.begin(), canonical.end(), [](char c) {
        return std::isalnum(static_cast<unsigned char>(c)) != 0;
      })) {
    return std::nullopt;
  }
  if (const auto category = CategoryOf(canonical)) return CharSet{Category(*category), {}};
  if (canonical == "any") return CharSet{"\\x{0}-\\x{10ffff}", {}};
  if (canonical == "alphabetic") return CharSet{Alphabetic(), {}};
  if (canonical == "whitespace") return ShorthandSet('s');
  if (auto posix = PosixSet(canonical)) return posix;
  // A bare script name would mean its extensions too.
  for (std::string_view form : {"\\p{{sc:{}}}", "\\p{{{}}}"}) {
    std::string pattern = fmt::format(fmt::runtime(form), canonical);
    if (Compiles(pattern)) return CharSet{std::move(pattern), {}};
  }
  return std::nullopt;
}

}  // namespace awq::text
