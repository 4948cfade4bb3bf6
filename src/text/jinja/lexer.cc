#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/error.h"
#include "text/jinja/literals.h"
#include "text/jinja/text_ops.h"
#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

// One kind of line end, and none at the very end.
std::string NormalizeLines(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(NormalizeLines(source)), text_(source_) {}

  Result<std::vector<Token>> Run() {
    while (at_ < text_.size()) AWQ_TRY(Next());
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  Error Wrong(std::string_view what) const {
    return MakeError(ErrorCode::kCorrupt, "line {}: {}", line_, what);
  }

  void Add(TokenKind kind, std::string text) {
    tokens_.push_back({.kind = kind, .line = line_, .text = std::move(text)});
  }

  // Goes on to `end`, and counts lines.
  void MoveTo(std::size_t end) {
    const std::string_view passed = text_.substr(at_, end - at_);
    line_ += static_cast<std::size_t>(std::count(passed.begin(), passed.end(), '\n'));
    if (!passed.empty()) line_starts_ = passed.back() == '\n';
    at_ = end;
  }

  std::size_t PastSpaces(std::size_t from) const {
    return text_.size() - Strip(text_.substr(from), Side::kLeft).size();
  }

  // "-" or "+" at `at`, else '\0'.
  char SignAt(std::size_t at) const {
    const char c = at < text_.size() ? text_[at] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // Text before a tag, less what the tag or lstrip_blocks takes away.
  void AddData(std::string_view data, char sign, bool is_variable) {
    if (sign == '-') {
      data = Strip(data, Side::kRight);
    } else if (sign != '+' && !is_variable) {
      const std::size_t start = data.rfind('\n') + 1;  // npos + 1 is 0
      const bool all_space = start < data.size() && Strip(data.substr(start), Side::kLeft).empty();
      if (all_space && (start > 0 || line_starts_)) data = data.substr(0, start);
    }
    if (!data.empty()) Add(TokenKind::kData, std::string(data));
  }

  // Data and one tag.
  Status Next() {
    std::size_t tag = at_;
    while ((tag = text_.find('{', tag)) != kNone) {
      const char next = tag + 1 < text_.size() ? text_[tag + 1] : '\0';
      if (next == '{' || next == '%' || next == '#') break;
      ++tag;
    }
    if (tag == kNone) {
      Add(TokenKind::kData, std::string(text_.substr(at_)));
      MoveTo(text_.size());
      return {};
    }
    const char kind = text_[tag + 1];
    const char sign = SignAt(tag + 2);
    AddData(text_.substr(at_, tag - at_), sign, kind == '{');
    if (kind == '%') {
      const std::size_t raw = RawEnd(tag);
      if (raw != kNone) return Raw(raw);
    }
    MoveTo(tag + 2 + (sign != '\0' ? 1 : 0));
    if (kind == '#') return Comment();
    const bool is_block = kind == '%';
    Add(is_block ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    return Inside(is_block);
  }

  // Where a tag ends that begins at `open` and holds `word` alone; kNone where it is another.
  std::size_t WordTagEnd(std::size_t open, std::string_view word, bool trims) const {
    std::size_t i = open + 2;
    if (SignAt(i) != '\0') ++i;
    i = PastSpaces(i);
    if (text_.substr(i, word.size()) != word) return kNone;
    i = PastSpaces(i + word.size());
    const std::size_t end = BlockEnd(i, trims);
    return end;
  }
  std::size_t RawEnd(std::size_t open) const { return WordTagEnd(open, "raw", /*trims=*/false); }

  // Past "%}" at `at`, with the whitespace or line end that it takes along; kNone if there is none.
  std::size_t BlockEnd(std::size_t at, bool trims) const { return TagEnd(at, "%}", trims); }

  std::size_t TagEnd(std::size_t at, std::string_view end, bool trims) const {
    const char sign = SignAt(at);
    if (text_.substr(at + (sign != '\0' ? 1 : 0), 2) != end) return kNone;
    std::size_t past = at + (sign != '\0' ? 3 : 2);
    if (sign == '-') return PastSpaces(past);
    if (sign == '+') return trims ? past : kNone;  // {% raw +%} and {{ x +}} are none
    if (trims && past < text_.size() && text_[past] == '\n') ++past;
    return past;
  }

  Status Raw(std::size_t start) {
    MoveTo(start);
    for (std::size_t open = start; (open = text_.find("{%", open)) != kNone; ++open) {
      const std::size_t end = WordTagEnd(open, "endraw", /*trims=*/true);
      if (end == kNone) continue;
      AddData(text_.substr(start, open - start), SignAt(open + 2), false);
      MoveTo(end);
      return {};
    }
    return Wrong("{% raw %} without {% endraw %}");
  }

  Status Comment() {
    const std::size_t close = text_.find("#}", at_);
    if (close == kNone) return Wrong("a comment without its end #}");
    const bool has_sign = close > at_ && SignAt(close - 1) != '\0';
    MoveTo(TagEnd(has_sign ? close - 1 : close, "#}", /*trims=*/true));
    return {};
  }

  // Tokens up to the end of the tag.
  Status Inside(bool is_block) {
    std::vector<char> open;
    for (;;) {
      MoveTo(PastSpaces(at_));
      if (at_ >= text_.size()) return Wrong("the template ends inside a tag");
      if (open.empty()) {
        const std::size_t end = TagEnd(at_, is_block ? "%}" : "}}", is_block);
        if (end != kNone) {
          Add(is_block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          MoveTo(end);
          return {};
        }
      }
      AWQ_TRY(Literal(open));
    }
  }

  Status Literal(std::vector<char>& open) {
    const std::string_view rest = text_.substr(at_);
    const char c = rest[0];
    if (c == '"' || c == '\'') {
      AWQ_ASSIGN(StringLiteral literal, ReadString(rest, line_));
      Add(TokenKind::kString, std::move(literal.value));
      MoveTo(at_ + literal.bytes);
      return {};
    }
    if (c >= '0' && c <= '9') {
      const bool after_dot = at_ > 0 && text_[at_ - 1] == '.';
      AWQ_ASSIGN(const NumberLiteral literal, ReadNumber(rest, after_dot, line_));
      Add(literal.is_float ? TokenKind::kFloat : TokenKind::kInteger,
          std::string(rest.substr(0, literal.bytes)));
      tokens_.back().integer = literal.integer;
      tokens_.back().number = literal.number;
      MoveTo(at_ + literal.bytes);
      return {};
    }
    if (const std::size_t bytes = NameBytes(rest); bytes > 0) {
      Add(TokenKind::kName, std::string(rest.substr(0, bytes)));
      MoveTo(at_ + bytes);
      return {};
    }
    return Operator(open);
  }

  Status Operator(std::vector<char>& open) {
    static constexpr std::array<std::string_view, 26> kOperators = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const std::string_view rest = text_.substr(at_);
    const auto found = std::ranges::find_if(
        kOperators, [&](std::string_view each) { return rest.starts_with(each); });
    if (found == kOperators.end()) {
      return Wrong(
          fmt::format("unexpected character {}", rest.substr(0, DecodeUtf8(rest, 0).bytes)));
    }
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) return Wrong(fmt::format("unexpected {}", c));
      open.pop_back();
    }
    Add(TokenKind::kOperator, std::string(*found));
    MoveTo(at_ + found->size());
    return {};
  }

  std::string source_;
  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

Result<std::vector<Token>> Tokenize(std::string_view source) { return Lexer(source).Run(); }

}  // namespace awq::text::jinja
