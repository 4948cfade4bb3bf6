// Filters that give texts.
#include <algorithm>
#include <array>

#include "text/jinja/filter_tables.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"
#include "text/jinja/text_ops.h"
#include "text/utf8.h"

namespace awq::text::jinja {
namespace {

// The value if it is a text, else what it prints as.
Result<Value> SoftText(Machine& machine, const Value& value) {
  if (value.is_text()) return value;
  AWQ_ASSIGN(std::string text, Str(machine.meter(), value));
  return MakeText(machine.meter(), std::move(text));
}

Result<Value> StringFilter(Machine& machine, const Value& self, Given) {
  return SoftText(machine, self);
}

template <auto kChange>
Result<Value> ChangeFilter(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(const Value text, SoftText(machine, self));
  AWQ_TRY(machine.meter().Scan(text.utf8().size()));
  return MakeText(machine.meter(), kChange(text.utf8()), text.is_markup());
}

// Unlike str.title: a word begins after a dash, a space or an opening bracket.
std::string TitleWords(std::string_view text) {
  std::string out;
  bool begins = true;
  for (std::size_t i = 0; i < text.size();) {
    const Utf8Char next = DecodeUtf8(text, i);
    const std::string_view character = text.substr(i, next.bytes);
    const bool parts = next.code == '-' || next.code == '(' || next.code == '{' ||
                       next.code == '[' || next.code == '<' || IsPythonSpace(next.code);
    out += begins ? Upper(character) : Lower(character);
    begins = parts;
    i += next.bytes;
  }
  return out;
}

Result<Value> TrimFilter(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const Value text, SoftText(machine, self));
  Arguments arguments;
  if (given[0] != nullptr) arguments.positional.push_back(*given[0]);
  return Apply(machine, *FindTextMethod("strip"), text, arguments);
}

Result<Value> ReplaceFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const std::string text, Str(meter, self));
  AWQ_ASSIGN(const std::string old, Str(meter, *given[0]));
  AWQ_ASSIGN(const std::string fresh, Str(meter, *given[1]));
  const bool all = given[2] == nullptr || given[2]->is_none();
  AWQ_ASSIGN(const std::int64_t limit, IntegerOr(all ? nullptr : given[2], -1));
  AWQ_ASSIGN(std::string out, Replace(meter, text, old, fresh, limit));
  return MakeText(meter, std::move(out));
}

Result<Value> SafeFilter(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(std::string text, Str(machine.meter(), self));
  return MakeText(machine.meter(), std::move(text), /*markup=*/true);
}

Result<Value> EscapeFilter(Machine& machine, const Value& self, Given) {
  if (self.is_markup()) return self;
  AWQ_ASSIGN(const std::string text, Str(machine.meter(), self));
  return MakeText(machine.meter(), EscapeHtml(text), /*markup=*/true);
}

Result<Value> IndentFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  if (!self.is_text()) return WrongType("a text to indent", self);
  std::string indention;
  if (given[0] != nullptr && given[0]->is_text()) {
    indention = given[0]->utf8();
  } else {
    AWQ_ASSIGN(const std::int64_t width, IntegerOr(given[0], 4));
    const auto spaces = static_cast<std::size_t>(std::max<std::int64_t>(width, 0));
    AWQ_TRY(meter.Fits(spaces));
    indention.assign(spaces, ' ');
  }
  const bool first = given[1] != nullptr && given[1]->is_true();
  const bool blank = given[2] != nullptr && given[2]->is_true();
  AWQ_TRY(meter.Scan(self.utf8().size()));
  const std::vector<std::string> lines = SplitLines(self.utf8() + "\n", false);
  std::string out;
  if (first) out = indention;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += indention;
    out += lines[i];
    AWQ_TRY(meter.Fits(out.size()));
  }
  return MakeText(meter, std::move(out), self.is_markup());
}

Result<Value> TruncateFilter(Machine& machine, const Value& self, Given given) {
  Meter& meter = machine.meter();
  AWQ_ASSIGN(const std::int64_t most, IntegerOr(given[0], 255));
  AWQ_ASSIGN(const std::string end, TextOr(given[2], "..."));
  AWQ_ASSIGN(const std::size_t end_length, Length(meter, Value::Plain(end)));
  AWQ_ASSIGN(const std::int64_t leeway,
             IntegerOr(given[3] != nullptr && given[3]->is_none() ? nullptr : given[3], 5));
  if (!self.is_text()) return WrongType("a text to truncate", self);
  const std::int64_t kept = most - static_cast<std::int64_t>(end_length);
  if (kept < 0 || leeway < 0) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "truncate to less than its end, or a leeway below 0");
  }
  AWQ_ASSIGN(const std::size_t length, Length(meter, self));
  if (static_cast<std::int64_t>(length) - most <= leeway) return self;
  AWQ_ASSIGN(const auto head, Slice(meter, self, Value(), Value(kept), Value()));
  std::string out = head->utf8();
  if (given[1] == nullptr || !given[1]->is_true()) out.resize(std::min(out.rfind(' '), out.size()));
  out += end;
  return MakeText(meter, std::move(out));
}

Result<Value> FormatFilter(Machine& machine, const Value& self, const Arguments& all) {
  AWQ_ASSIGN(const Value text, SoftText(machine, self));
  if (!all.named.empty()) {
    return MakeError(ErrorCode::kUnsupported, "format takes no named arguments here");
  }
  AWQ_ASSIGN(const Value values,
             MakeSequence(machine.meter(), all.positional, Sequence::Kind::kTuple));
  return FormatPercent(machine.meter(), text, values);
}

Status ReadSeparators(Meter& meter, const Value& value, JsonStyle& style) {
  AWQ_ASSIGN(const std::vector<Value> both, Iterate(meter, value));
  if (both.size() != 2) {
    return MakeError(ErrorCode::kInvalidArgument, "tojson needs two separators, found {}",
                     both.size());
  }
  AWQ_ASSIGN(style.item_separator, TextOr(&both[0], ""));
  AWQ_ASSIGN(style.key_separator, TextOr(&both[1], ""));
  return {};
}

Result<Value> ToJsonFilter(Machine& machine, const Value& self, Given given) {
  const auto is_given = [](const Value* value) { return value != nullptr && !value->is_none(); };
  Meter& meter = machine.meter();
  JsonStyle style;
  style.ascii_only = given[0] != nullptr && given[0]->is_true();
  style.sorted = given[3] != nullptr && given[3]->is_true();
  if (is_given(given[1])) {
    style.item_separator.pop_back();  // no space at a line's end
    if (given[1]->is_text()) {
      style.indent = given[1]->utf8();
    } else {
      AWQ_ASSIGN(const std::int64_t width, IntegerOr(given[1], 0));
      AWQ_TRY(meter.Fits(static_cast<std::size_t>(std::max<std::int64_t>(width, 0))));
      style.indent = std::string(static_cast<std::size_t>(std::max<std::int64_t>(width, 0)), ' ');
    }
  }
  if (is_given(given[2])) AWQ_TRY(ReadSeparators(meter, *given[2], style));
  AWQ_ASSIGN(std::string json, ToJson(meter, self, style));
  return MakeText(meter, std::move(json));
}

constexpr std::array kFilters = {
    Function{"string", {}, 0, StringFilter},
    Function{"upper", {}, 0, ChangeFilter<Upper>},
    Function{"lower", {}, 0, ChangeFilter<Lower>},
    Function{"capitalize", {}, 0, ChangeFilter<Capitalize>},
    Function{"title", {}, 0, ChangeFilter<TitleWords>},
    Function{"trim", {"chars"}, 0, TrimFilter},
    Function{"replace", {"old", "new", "count"}, 2, ReplaceFilter},
    Function{"safe", {}, 0, SafeFilter},
    Function{"escape", {}, 0, EscapeFilter},
    Function{"e", {}, 0, EscapeFilter},
    Function{"indent", {"width", "first", "blank"}, 0, IndentFilter},
    Function{"truncate", {"length", "killwords", "end", "leeway"}, 0, TruncateFilter},
    Function{"format", {}, 0, nullptr, FormatFilter},
    Function{"tojson", {"ensure_ascii", "indent", "separators", "sort_keys"}, 0, ToJsonFilter},
};

}  // namespace

std::span<const Function> TextFilters() { return kFilters; }

}  // namespace awq::text::jinja
