#include "text/regex_syntax.h"

#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/regex_class.h"
#include "text/utf8.h"

namespace awq::text {
namespace {

constexpr std::size_t kMaxPatternBytes = 65536;
constexpr std::size_t kMaxDepth = 64;
constexpr unsigned kMaxRepeat = 1000;

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where) {}

  Result<std::string> Run() {
    AWQ_TRY(Alternation(0));
    if (!AtEnd()) return Bad("a closing parenthesis that nothing opened");
    return std::move(out_);
  }

 private:
  bool AtEnd() const { return at_ >= pattern_.size(); }
  char Peek(std::size_t ahead = 0) const {
    return at_ + ahead < pattern_.size() ? pattern_[at_ + ahead] : '\0';
  }
  bool Accept(std::string_view text) {
    if (!pattern_.substr(at_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }
  char32_t Next() {
    const Utf8Char c = DecodeUtf8(pattern_, at_);
    at_ += c.bytes;
    return c.code;
  }
  Error Bad(std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "{}: {} at byte {} of the pattern", where_, what, at_);
  }
  Error Refuse(std::string_view what) const {
    return MakeError(ErrorCode::kUnsupported, "{}: {} at byte {} of the pattern is not supported",
                     where_, what, at_);
  }

  // Up to the end or the parenthesis that closes the group.
  Status Alternation(std::size_t depth) {
    if (depth > kMaxDepth) return Refuse("nesting deeper than 64");
    while (!AtEnd() && Peek() != ')') {
      if (Accept("|")) {
        out_ += '|';
        continue;
      }
      const std::size_t atom = out_.size();
      AWQ_TRY(Atom(depth));
      AWQ_TRY(Quantifiers(atom));
    }
    return {};
  }

  Status Atom(std::size_t depth) {
    switch (Peek()) {
      case '[': {
        ++at_;
        AWQ_ASSIGN(const CharSet set, Class(depth + 1));
        out_ += set.Pattern();
        return {};
      }
      case '(':
        return Group(depth + 1);
      case '\\':
        return Escape();
      case '.':
      case '^':
      case '$':
        out_ += static_cast<char>(Next());
        return {};
      case '?':
      case '*':
      case '+':
        return Bad("a quantifier with nothing before it");
      default:
        out_ += EscapeCodePoint(Next());
        return {};
    }
  }

  // Each further quantifier repeats the repeat, as Oniguruma reads "a{2}+".
  Status Quantifiers(std::size_t atom) {
    for (bool first = true;; first = false) {
      AWQ_ASSIGN(const auto quantifier, Quantifier());
      if (!quantifier) return {};
      if (!first) {
        out_.insert(atom, "(?:");
        out_ += ')';
      }
      out_ += *quantifier;
    }
  }

  Result<std::optional<std::string>> Quantifier() {
    const char c = Peek();
    if (c == '?' || c == '*' || c == '+') {
      ++at_;
      std::string text(1, c);
      if (Peek() == '?' || Peek() == '+') text += pattern_[at_++];
      return std::optional(std::move(text));
    }
    if (c != '{') return std::optional<std::string>();
    const std::size_t start = at_++;
    AWQ_ASSIGN(const auto low, Number());
    const bool comma = Accept(",");
    auto high = low;
    if (comma) {
      AWQ_ASSIGN(high, Number());
    }
    if (!Accept("}") || (!low && !high)) {  // then the brace stands for itself
      at_ = start;
      return std::optional<std::string>();
    }
    std::string text = fmt::format("{{{},", low.value_or(0));
    if (high) text += fmt::format("{}", *high);
    text += '}';
    if (comma && Accept("?")) text += '?';
    return std::optional(std::move(text));
  }

  Result<std::optional<unsigned>> Number() {
    std::optional<unsigned> value;
    while (std::isdigit(static_cast<unsigned char>(Peek())) != 0) {
      value = value.value_or(0) * 10 + static_cast<unsigned>(pattern_[at_++] - '0');
      if (*value > kMaxRepeat) return Refuse("a repeat of more than 1000");
    }
    return value;
  }

  Status Group(std::size_t depth) {
    ++at_;
    if (Accept("?#")) {
      while (!AtEnd() && Peek() != ')') ++at_;
      return Close("");
    }
    for (std::string_view opening : {"?:", "?=", "?!", "?>", "?<=", "?<!"}) {
      if (!Accept(opening)) continue;
      out_ += '(';
      out_ += opening;
      return Body(depth);
    }
    if (Accept("?<")) {
      while (!AtEnd() && Peek() != '>') ++at_;
      if (!Accept(">")) return Bad("a group name without an end");
    } else if (Peek() == '?') {
      ++at_;
      return Options(depth);
    }
    out_ += "(?:";  // nothing refers to a capture
    return Body(depth);
  }

  Status Body(std::size_t depth) {
    AWQ_TRY(Alternation(depth));
    return Close(")");
  }

  Status Close(std::string_view text) {
    if (!Accept(")")) return Bad("a missing closing parenthesis");
    out_ += text;
    return {};
  }

  // (?i-m:...) and (?i), which holds to the end of the group around it, alternatives included.
  Status Options(std::size_t depth) {
    std::string options;
    while (Peek() == 'i' || Peek() == 'm' || Peek() == '-') {
      options += Peek() == 'm' ? 's' : Peek();
      ++at_;
    }
    out_ += "(?" + options + ":";
    if (Accept(":")) return Body(depth);
    if (!Accept(")")) return Refuse("this kind of group");
    AWQ_TRY(Alternation(depth));
    out_ += ')';
    return {};
  }

  Status Escape() {
    ++at_;
    if (AtEnd()) return Bad("a backslash at the end");
    const char c = Peek();
    if (auto set = ShorthandSet(c)) {
      ++at_;
      out_ += set->Pattern();
      return {};
    }
    switch (c) {
      case 'p':
      case 'P': {
        AWQ_ASSIGN(const CharSet set, Property());
        out_ += set.Pattern();
        return {};
      }
      case 'A':
      case 'Z':
      case 'z':
        ++at_;
        out_ += fmt::format("\\{}", c);
        return {};
      case 'b':
      case 'B': {
        ++at_;
        const std::string word = ShorthandSet('w')->Pattern();
        const auto form = c == 'b' ? "(?:(?<={0})(?!{0})|(?<!{0})(?={0}))"
                                   : "(?:(?<={0})(?={0})|(?<!{0})(?!{0}))";
        out_ += fmt::format(fmt::runtime(form), word);
        return {};
      }
      case 'R':
        ++at_;
        out_ += "(?>\\x{d}\\x{a}|[\\x{a}-\\x{d}\\x{85}\\x{2028}\\x{2029}])";
        return {};
      default:
        break;
    }
    AWQ_ASSIGN(const char32_t code, EscapedCodePoint());
    out_ += EscapeCodePoint(code);
    return {};
  }

  // After the backslash.
  Result<char32_t> EscapedCodePoint() {
    const char c = Peek();
    constexpr std::string_view kControls = "tnrfvae";
    constexpr std::string_view kValues = "\t\n\r\f\v\a\x1b";
    if (const auto i = kControls.find(c); c != '\0' && i != std::string_view::npos) {
      ++at_;
      return static_cast<char32_t>(kValues[i]);
    }
    if (c == 'x' || c == 'u') {
      ++at_;
      return HexCodePoint(c == 'u');
    }
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      return Refuse(fmt::format("the escape \\{}", c));
    }
    return Next();
  }

  Result<char32_t> HexCodePoint(bool four_digits) {
    const bool braces = !four_digits && Accept("{");
    const std::size_t limit = braces ? 8 : four_digits ? 4 : 2;
    char32_t code = 0;
    std::size_t digits = 0;
    for (; digits < limit && std::isxdigit(static_cast<unsigned char>(Peek())) != 0; ++digits) {
      const char c = pattern_[at_++];
      const int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
      code = code * 16 + static_cast<char32_t>(digit);
    }
    if (digits == 0 || (four_digits && digits < 4) || (braces && !Accept("}"))) {
      return Bad("a malformed code point");
    }
    if (!braces && !four_digits && code >= 0x80) return Refuse("a raw byte");
    if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return Bad("no such code point");
    return code;
  }

  // At the p of \p{..}, \p{^..}, \P{..}.
  Result<CharSet> Property() {
    bool negated = pattern_[at_++] == 'P';
    if (!Accept("{")) return Refuse("a property without braces");
    if (Accept("^")) negated = !negated;
    const std::size_t end = pattern_.find('}', at_);
    if (end == std::string_view::npos) return Bad("a property without an end");
    const std::string_view name = pattern_.substr(at_, end - at_);
    auto set = PropertySet(name);
    if (!set) return Refuse(fmt::format("the property \"{}\"", name));
    at_ = end + 1;
    return negated ? set->Negated() : *std::move(set);
  }

  // After the opening bracket; set operations become look-aheads before one character.
  Result<CharSet> Class(std::size_t depth) {
    if (depth > kMaxDepth) return Refuse("nesting deeper than 64");
    const bool negated = Accept("^");
    std::vector<CharSet> intersected(1);
    if (Peek() == ']' && pattern_.find(']', at_ + 1) != std::string_view::npos) {
      ++at_;
      intersected.back().items += EscapeCodePoint(']');
    }
    while (!Accept("]")) {
      if (AtEnd()) return Bad("a character class without an end");
      if (Accept("&&")) {
        intersected.emplace_back();
        continue;
      }
      AWQ_TRY(ClassItem(intersected.back(), depth));
    }
    CharSet set = std::move(intersected.back());
    intersected.pop_back();
    if (!intersected.empty()) {
      std::string pattern = "(?:";
      for (const CharSet& other : intersected) pattern += "(?=" + other.Pattern() + ")";
      set = CharSet{"", {pattern + set.Pattern() + ")"}};
    }
    return negated ? set.Negated() : std::move(set);
  }

  Status ClassItem(CharSet& set, std::size_t depth) {
    if (Accept("[:")) return PosixItem(set);
    if (Accept("[")) {
      AWQ_ASSIGN(CharSet nested, Class(depth + 1));
      set.Add(std::move(nested));
      return {};
    }
    if (Peek() == '\\') {
      if (auto shorthand = ShorthandSet(Peek(1))) {
        at_ += 2;
        set.Add(*std::move(shorthand));
        return {};
      }
      if (Peek(1) == 'p' || Peek(1) == 'P') {
        ++at_;
        AWQ_ASSIGN(CharSet property, Property());
        set.Add(std::move(property));
        return {};
      }
    }
    AWQ_ASSIGN(const char32_t first, ClassCodePoint());
    set.items += EscapeCodePoint(first);
    const bool names_set = Peek(1) == '\\' && (ShorthandSet(Peek(2)) || (Peek(2) | 0x20) == 'p');
    if (Peek() == '-' && at_ + 1 < pattern_.size() && Peek(1) != ']' && Peek(1) != '[' &&
        !names_set) {
      ++at_;
      AWQ_ASSIGN(const char32_t last, ClassCodePoint());
      if (last < first) return Bad("a range that runs backwards");
      set.items += "-" + EscapeCodePoint(last);
    }
    return {};
  }

  Result<char32_t> ClassCodePoint() {
    if (!Accept("\\")) return Next();
    if (AtEnd()) return Bad("a backslash at the end");
    if (Accept("b")) return U'\b';
    return EscapedCodePoint();
  }

  Status PosixItem(CharSet& set) {
    const bool negated = Accept("^");
    const std::size_t end = pattern_.find(":]", at_);
    if (end == std::string_view::npos) return Bad("a [: without :]");
    auto posix = PosixSet(pattern_.substr(at_, end - at_));
    if (!posix) return Refuse("this [:name:]");
    set.Add(negated ? posix->Negated() : *std::move(posix));
    at_ = end + 2;
    return {};
  }

  std::string_view pattern_;
  const std::string& where_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

Result<std::string> TranslateOniguruma(std::string_view pattern, const std::string& where) {
  if (pattern.size() > kMaxPatternBytes) {
    return MakeError(ErrorCode::kUnsupported, "{}: a pattern of {} bytes; at most {} are accepted",
                     where, pattern.size(), kMaxPatternBytes);
  }
  if (!IsValidUtf8(pattern)) {
    return MakeError(ErrorCode::kCorrupt, "{}: the pattern is not valid UTF-8", where);
  }
  return Translator(pattern, where).Run();
}

}  // namespace awq::text
