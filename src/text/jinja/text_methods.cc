// The methods of a text that templates call.
#include <algorithm>
#include <array>

#include "text/jinja/machine.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text_ops.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kNone = std::string_view::npos;

Result<Value> Like(Machine& machine, const Value& self, std::string text) {
  return MakeText(machine.meter(), std::move(text), self.is_markup());
}

Result<Value> ListOf(Machine& machine, const Value& self, std::vector<std::string> texts,
                     Sequence::Kind kind = Sequence::Kind::kList) {
  std::vector<Value> items;
  for (std::string& text : texts) {
    AWQ_ASSIGN(Value item, Like(machine, self, std::move(text)));
    items.push_back(std::move(item));
  }
  return MakeSequence(machine.meter(), std::move(items), kind);
}

template <Side kSide>
Result<Value> StripMethod(Machine& machine, const Value& self, Given given) {
  if (given[0] == nullptr || given[0]->is_none()) {
    return Like(machine, self, std::string(Strip(self.utf8(), kSide)));
  }
  AWQ_ASSIGN(const std::string characters, TextOr(given[0], ""));
  AWQ_TRY(machine.meter().Scan(self.utf8().size() * (characters.size() + 1)));
  return Like(machine, self, std::string(Strip(self.utf8(), kSide, characters)));
}

template <auto kSplit>
Result<Value> SplitMethod(Machine& machine, const Value& self, Given given) {
  std::optional<std::string> separator;
  if (given[0] != nullptr && !given[0]->is_none()) {
    AWQ_ASSIGN(separator, TextOr(given[0], ""));
  }
  AWQ_ASSIGN(const std::int64_t limit, IntegerOr(given[1], -1));
  AWQ_ASSIGN(auto parts, kSplit(machine.meter(), self.utf8(), separator, limit));
  return ListOf(machine, self, std::move(parts));
}

Result<Value> SplitLinesMethod(Machine& machine, const Value& self, Given given) {
  AWQ_TRY(machine.meter().Scan(self.utf8().size()));
  const bool keep_ends = given[0] != nullptr && given[0]->is_true();
  return ListOf(machine, self, SplitLines(self.utf8(), keep_ends));
}

template <auto kChange>
Result<Value> ChangeMethod(Machine& machine, const Value& self, Given) {
  AWQ_TRY(machine.meter().Scan(self.utf8().size()));
  return Like(machine, self, kChange(self.utf8()));
}

std::string SwapCase(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    const std::string_view character = text.substr(i, next.bytes);
    out += IsUpper(next.code) ? Lower(character) : Upper(character);
    i += next.bytes;
  }
  return out;
}

Result<Value> ReplaceMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::string old, TextOr(given[0], ""));
  AWQ_ASSIGN(const std::string fresh, TextOr(given[1], ""));
  AWQ_ASSIGN(const std::int64_t limit, IntegerOr(given[2], -1));
  AWQ_ASSIGN(std::string out, Replace(machine.meter(), self.utf8(), old, fresh, limit));
  return Like(machine, self, std::move(out));
}

Result<Value> JoinMethod(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(meter, *given[0]));
  std::string out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_text()) return WrongType("a text to join", items[i]);
    if (i > 0) out += self.utf8();
    out += items[i].utf8();
    AWQ_TRY(meter.Fits(out.size()));
  }
  return Like(machine, self, std::move(out));
}

// The part of a text that optional bounds, in characters, leave.
Result<std::string> Between(Machine& machine, const Value& self, const Value* start,
                            const Value* stop) {
  if (start == nullptr && stop == nullptr) return self.utf8();
  AWQ_ASSIGN(const auto part, Slice(machine.meter(), self, start != nullptr ? *start : Value(),
                                    stop != nullptr ? *stop : Value(), Value()));
  if (!part) return MakeError(ErrorCode::kInvalidArgument, "bounds that are no integers");
  return part->utf8();
}

template <bool kAtStart>
Result<Value> AffixMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::string text, Between(machine, self, given[1], given[2]));
  const Sequence* several = given[0]->sequence();
  const bool is_tuple = several != nullptr && several->kind == Sequence::Kind::kTuple;
  const std::vector<Value> affixes = is_tuple ? several->items : std::vector{*given[0]};
  for (const Value& affix : affixes) {
    AWQ_ASSIGN(const std::string part, TextOr(&affix, ""));
    AWQ_TRY(machine.meter().Scan(part.size()));
    if (kAtStart ? text.starts_with(part) : text.ends_with(part)) return Value(true);
  }
  return Value(false);
}

template <bool kPrefix>
Result<Value> RemoveMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::string part, TextOr(given[0], ""));
  const std::string& text = self.utf8();
  if (!(kPrefix ? text.starts_with(part) : text.ends_with(part))) return self;
  return Like(machine, self,
              kPrefix ? text.substr(part.size()) : text.substr(0, text.size() - part.size()));
}

enum class Search : std::uint8_t { kFind, kIndex, kFindLast, kIndexLast };

template <Search kSearch>
Result<Value> FindMethod(Machine& machine, const Value& self, Given given) {
  constexpr bool kLast = kSearch == Search::kFindLast || kSearch == Search::kIndexLast;
  AWQ_ASSIGN(const std::string part, TextOr(given[0], ""));
  AWQ_TRY(machine.meter().Scan(self.utf8().size() * (kLast ? part.size() + 1 : 1)));
  const std::size_t at = kLast ? self.utf8().rfind(part) : FindText(self.utf8(), part);
  if (at != kNone) {
    const Value before = Value::Plain(std::string_view(self.utf8()).substr(0, at));
    AWQ_ASSIGN(const std::size_t characters, Length(machine.meter(), before));
    return Value(static_cast<std::int64_t>(characters));
  }
  if (kSearch == Search::kFind || kSearch == Search::kFindLast) return Value(std::int64_t{-1});
  return MakeError(ErrorCode::kInvalidArgument, "the text has no such part");
}

Result<Value> CountMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::string part, TextOr(given[0], ""));
  AWQ_ASSIGN(const std::size_t length, Length(machine.meter(), self));
  if (part.empty()) return Value(static_cast<std::int64_t>(length) + 1);
  std::int64_t count = 0;
  for (std::size_t at = 0; (at = FindText(self.utf8(), part, at)) != kNone; at += part.size()) {
    ++count;
  }
  return Value(count);
}

template <bool kFromRight>
Result<Value> PartitionMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::string part, TextOr(given[0], ""));
  if (part.empty()) return MakeError(ErrorCode::kInvalidArgument, "an empty separator");
  const std::string& text = self.utf8();
  AWQ_TRY(machine.meter().Scan(text.size() * (kFromRight ? part.size() : 1)));
  const std::size_t at = kFromRight ? text.rfind(part) : FindText(text, part);
  std::vector<std::string> parts = {text, "", ""};
  if (at != kNone) {
    parts = {text.substr(0, at), part, text.substr(at + part.size())};
  } else if (kFromRight) {
    std::swap(parts[0], parts[2]);
  }
  return ListOf(machine, self, std::move(parts), Sequence::Kind::kTuple);
}

enum class Align : std::uint8_t { kLeft, kRight, kCenter, kZeros };

template <Align kAlign>
Result<Value> AlignMethod(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const std::int64_t width, IntegerOr(given[0], 0));
  AWQ_ASSIGN(const std::string fill, TextOr(given[1], kAlign == Align::kZeros ? "0" : " "));
  AWQ_ASSIGN(const std::size_t length, Length(machine.meter(), self));
  if (width <= static_cast<std::int64_t>(length)) return self;
  const std::size_t pad = static_cast<std::size_t>(width) - length;
  AWQ_TRY(machine.meter().Fits(pad));
  AWQ_TRY(machine.meter().Fits(pad * fill.size()));
  std::size_t left = kAlign == Align::kLeft ? 0 : pad;
  if (kAlign == Align::kCenter) left = pad / 2 + (pad & static_cast<std::size_t>(width) & 1);
  const std::string& text = self.utf8();
  const bool has_sign =
      kAlign == Align::kZeros && !text.empty() && (text[0] == '-' || text[0] == '+');
  std::string out = has_sign ? text.substr(0, 1) : "";
  for (std::size_t i = 0; i < left; ++i) out += fill;
  out += has_sign ? text.substr(1) : text;
  for (std::size_t i = left; i < pad; ++i) out += fill;
  return Like(machine, self, std::move(out));
}

bool IsDigit(char32_t code) { return code < 0x80 ? code >= '0' && code <= '9' : IsNumeric(code); }
bool IsAlphabetic(char32_t code) { return code != '_' && IsWord(code) && !IsNumeric(code); }
bool IsAlphanumeric(char32_t code) { return IsAlphabetic(code) || IsNumeric(code); }

// There is a character, and all are so.
template <auto kIs>
Result<Value> AllMethod(Machine& machine, const Value& self, Given) {
  const std::string& text = self.utf8();
  AWQ_TRY(machine.meter().Scan(text.size()));
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    if (!kIs(next.code)) return Value(false);
    i += next.bytes;
  }
  return Value(!text.empty());
}

template <bool kWantUpper>
Result<Value> CaseMethod(Machine& machine, const Value& self, Given) {
  const std::string& text = self.utf8();
  AWQ_TRY(machine.meter().Scan(text.size()));
  bool some = false;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    if (IsCased(next.code) && IsUpper(next.code) != kWantUpper) return Value(false);
    some = some || IsCased(next.code);
    i += next.bytes;
  }
  return Value(some);
}

constexpr std::array kMethods = {
    Function{"strip", {"chars"}, 0, StripMethod<Side::kBoth>},
    Function{"lstrip", {"chars"}, 0, StripMethod<Side::kLeft>},
    Function{"rstrip", {"chars"}, 0, StripMethod<Side::kRight>},
    Function{"split", {"sep", "maxsplit"}, 0, SplitMethod<Split>},
    Function{"rsplit", {"sep", "maxsplit"}, 0, SplitMethod<SplitFromRight>},
    Function{"splitlines", {"keepends"}, 0, SplitLinesMethod},
    Function{"upper", {}, 0, ChangeMethod<Upper>},
    Function{"lower", {}, 0, ChangeMethod<Lower>},
    Function{"casefold", {}, 0, ChangeMethod<Lower>},
    Function{"capitalize", {}, 0, ChangeMethod<Capitalize>},
    Function{"title", {}, 0, ChangeMethod<Title>},
    Function{"swapcase", {}, 0, ChangeMethod<SwapCase>},
    Function{"replace", {"old", "new", "count"}, 2, ReplaceMethod},
    Function{"join", {"iterable"}, 1, JoinMethod},
    Function{"startswith", {"prefix", "start", "end"}, 1, AffixMethod<true>},
    Function{"endswith", {"suffix", "start", "end"}, 1, AffixMethod<false>},
    Function{"removeprefix", {"prefix"}, 1, RemoveMethod<true>},
    Function{"removesuffix", {"suffix"}, 1, RemoveMethod<false>},
    Function{"find", {"sub"}, 1, FindMethod<Search::kFind>},
    Function{"index", {"sub"}, 1, FindMethod<Search::kIndex>},
    Function{"rfind", {"sub"}, 1, FindMethod<Search::kFindLast>},
    Function{"rindex", {"sub"}, 1, FindMethod<Search::kIndexLast>},
    Function{"count", {"sub"}, 1, CountMethod},
    Function{"partition", {"sep"}, 1, PartitionMethod<false>},
    Function{"rpartition", {"sep"}, 1, PartitionMethod<true>},
    Function{"ljust", {"width", "fillchar"}, 1, AlignMethod<Align::kLeft>},
    Function{"rjust", {"width", "fillchar"}, 1, AlignMethod<Align::kRight>},
    Function{"center", {"width", "fillchar"}, 1, AlignMethod<Align::kCenter>},
    Function{"zfill", {"width"}, 1, AlignMethod<Align::kZeros>},
    Function{"isdigit", {}, 0, AllMethod<IsDigit>},
    Function{"isdecimal", {}, 0, AllMethod<IsDigit>},
    Function{"isnumeric", {}, 0, AllMethod<IsDigit>},
    Function{"isalpha", {}, 0, AllMethod<IsAlphabetic>},
    Function{"isalnum", {}, 0, AllMethod<IsAlphanumeric>},
    Function{"isspace", {}, 0, AllMethod<IsPythonSpace>},
    Function{"isupper", {}, 0, CaseMethod<true>},
    Function{"islower", {}, 0, CaseMethod<false>},
};

}  // namespace

const Function* FindTextMethod(std::string_view name) {
  const auto row = std::ranges::find(kMethods, name, &Function::name);
  return row != kMethods.end() ? &*row : nullptr;
}

}  // namespace awq::text::jinja
