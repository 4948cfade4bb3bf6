#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kMostDigits = 3;  // of a width or precision

// One "%-5.2f".
struct Conversion {
  bool left = false;
  bool zeros = false;
  bool plus = false;
  std::size_t width = 0;
  std::optional<std::size_t> precision = std::nullopt;
  char kind = '\0';
};

class Reader {
 public:
  explicit Reader(std::string_view format) : rest_(format) {}

  // What stands before the next conversion.
  std::string_view Literal() {
    const std::size_t size = std::min(rest_.find('%'), rest_.size());
    const std::string_view literal = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return literal;
  }
  bool done() const { return rest_.empty(); }

  Result<Conversion> Next() {
    Conversion next;
    rest_.remove_prefix(1);
    while (!rest_.empty() && std::string_view("-0+").find(rest_[0]) != rest_.npos) {
      (rest_[0] == '-' ? next.left : rest_[0] == '0' ? next.zeros : next.plus) = true;
      rest_.remove_prefix(1);
    }
    AWQ_ASSIGN(next.width, Digits());
    if (rest_.starts_with('.')) {
      rest_.remove_prefix(1);
      AWQ_ASSIGN(next.precision, Digits());
    }
    if (rest_.empty()) return MakeError(ErrorCode::kInvalidArgument, "a format that ends in a %");
    next.kind = rest_[0];
    rest_.remove_prefix(1);
    return next;
  }

 private:
  Result<std::size_t> Digits() {
    std::size_t number = 0;
    for (std::size_t i = 0; !rest_.empty() && rest_[0] >= '0' && rest_[0] <= '9'; ++i) {
      if (i == kMostDigits) return MakeError(ErrorCode::kUnsupported, "a format wider than 999");
      number = number * 10 + static_cast<std::size_t>(rest_[0] - '0');
      rest_.remove_prefix(1);
    }
    return number;
  }

  std::string_view rest_;
};

Result<std::string> Number(const Conversion& conversion, const Value& value) {
  const auto number = value.number();
  if (!number) return WrongType("a number to format", value);
  std::string text;
  if (conversion.kind == 'f') {
    text = fmt::format("{:.{}f}", *number, conversion.precision.value_or(6));
  } else {
    const auto whole = value.integer();
    if (!whole && (conversion.kind == 'x' || std::abs(*number) >= 9.2e18)) {
      return WrongType("an integer to format", value);
    }
    const std::int64_t shown = whole ? *whole : static_cast<std::int64_t>(*number);
    text = conversion.kind == 'x' ? fmt::format("{:x}", shown) : fmt::format("{}", shown);
  }
  return conversion.plus && text[0] != '-' ? "+" + text : text;
}

Result<std::string> Convert(Meter& meter, const Conversion& conversion, const Value& value) {
  std::string text;
  const bool is_text = conversion.kind == 's' || conversion.kind == 'r';
  if (is_text) {
    AWQ_ASSIGN(text, conversion.kind == 's' ? Str(meter, value) : Repr(meter, value));
    if (conversion.precision) {
      const Value most(static_cast<std::int64_t>(*conversion.precision));
      AWQ_ASSIGN(const auto cut, Slice(meter, Value::Plain(text), Value(), most, Value()));
      text = cut->utf8();
    }
  } else if (std::string_view("difx").find(conversion.kind) != std::string_view::npos) {
    AWQ_ASSIGN(text, Number(conversion, value));
  } else {
    return MakeError(ErrorCode::kUnsupported, "%{} is no format that is known here",
                     conversion.kind);
  }
  AWQ_ASSIGN(const std::size_t length, Length(meter, Value::Plain(text)));
  const std::size_t pad = conversion.width - std::min(conversion.width, length);
  if (conversion.left) return text + std::string(pad, ' ');
  if (!conversion.zeros || is_text) return std::string(pad, ' ') + text;
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return text.insert(sign, pad, '0');
}

}  // namespace

Result<Value> FormatPercent(Meter& meter, const Value& format, const Value& values) {
  const Sequence* tuple = values.sequence();
  const bool is_tuple = tuple != nullptr && tuple->kind == Sequence::Kind::kTuple;
  const std::vector<Value> given = is_tuple ? tuple->items : std::vector{values};
  Reader reader(format.utf8());
  std::string out(reader.Literal());
  std::size_t used = 0;
  while (!reader.done()) {
    AWQ_ASSIGN(const Conversion conversion, reader.Next());
    if (conversion.kind == '%') {
      out += '%';
    } else if (used == given.size()) {
      return MakeError(ErrorCode::kInvalidArgument, "a format with more places than values");
    } else {
      AWQ_ASSIGN(const std::string text, Convert(meter, conversion, given[used++]));
      out += text;
    }
    out += reader.Literal();
    AWQ_TRY(meter.Fits(out.size()));
  }
  // A dict or list that no place names is let go, as Python does.
  const bool may_rest = !is_tuple && (values.dict() != nullptr || values.sequence() != nullptr);
  if (used < given.size() && !may_rest) {
    return MakeError(ErrorCode::kInvalidArgument, "a format with fewer places than values");
  }
  return MakeText(meter, std::move(out), format.is_markup());
}

}  // namespace awq::text::jinja
