// Filters that give numbers.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "text/jinja/filter_tables.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_ops.h"

namespace awq::text::jinja {
namespace {

// Without spaces around it, a plus sign, and the underscores that Python allows between digits;
// nothing where one stands elsewhere.
std::optional<std::string> PlainNumber(std::string_view text) {
  text = Strip(text, Side::kBoth);
  if (text.starts_with('+') && !text.starts_with("+-")) text.remove_prefix(1);
  std::string plain;
  const auto is_digit = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_') {
      plain += text[i];
    } else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1])) {
      return std::nullopt;
    }
  }
  return plain;
}

std::optional<double> ReadFloat(std::string_view text) {
  const auto plain = PlainNumber(text);
  if (!plain || plain->empty() || plain->find('(') != plain->npos) return std::nullopt;
  double value = 0;
  const char* const end = plain->data() + plain->size();
  const auto [stop, failure] = std::from_chars(plain->data(), end, value);
  if (stop != end || failure == std::errc::invalid_argument) return std::nullopt;
  // What is too large or too small for a float is infinite or zero to Python.
  if (failure != std::errc()) return std::strtod(plain->c_str(), nullptr);
  return value;
}

Result<std::optional<std::int64_t>> ReadInteger(std::string_view text, std::int64_t base) {
  const auto plain = PlainNumber(text);
  if (!plain || base < 2 || base > 36) return std::optional<std::int64_t>();
  std::string_view digits = *plain;
  const bool is_negative = digits.starts_with('-');
  const std::string_view prefix = base == 16 ? "0x" : base == 8 ? "0o" : base == 2 ? "0b" : "";
  if (is_negative) digits.remove_prefix(1);
  if (!prefix.empty() && Lower(digits.substr(0, 2)) == prefix) digits.remove_prefix(2);
  if (digits.starts_with('-')) return std::optional<std::int64_t>();
  std::string signed_digits(is_negative ? 1 : 0, '-');
  signed_digits += digits;
  std::int64_t value = 0;
  const char* const end = signed_digits.data() + signed_digits.size();
  const auto [stop, failure] =
      std::from_chars(signed_digits.data(), end, value, static_cast<int>(base));
  if (stop != end || failure == std::errc::invalid_argument) return std::optional<std::int64_t>();
  if (failure != std::errc()) {
    return MakeError(ErrorCode::kUnsupported, "an integer beyond 64 bits");
  }
  return std::optional(value);
}

Result<Value> Whole(double value) {
  if (std::abs(value) < 9.2e18) return Value(static_cast<std::int64_t>(value));
  return MakeError(ErrorCode::kUnsupported, "an integer beyond 64 bits, or none at all");
}

Result<Value> IntFilter(Machine& machine, const Value& self, Given given) {
  const Value fallback = given[0] != nullptr ? *given[0] : Value(std::int64_t{0});
  AWQ_ASSIGN(const std::int64_t base, IntegerOr(given[1], 10));
  if (self.is_undefined()) return UndefinedError(self);
  if (const auto whole = self.integer()) return Value(*whole);
  if (const double* number = self.As<double>()) {
    return std::isnan(*number) ? fallback : Whole(*number);
  }
  if (!self.is_text()) return fallback;
  AWQ_TRY(machine.meter().Scan(self.utf8().size()));
  AWQ_ASSIGN(const auto whole, ReadInteger(self.utf8(), base));
  if (whole) return Value(*whole);
  const auto number = ReadFloat(self.utf8());
  return number && std::isfinite(*number) ? Whole(*number) : fallback;
}

Result<Value> FloatFilter(Machine& machine, const Value& self, Given given) {
  if (self.is_undefined()) return UndefinedError(self);
  auto number = self.number();
  if (self.is_text()) {
    AWQ_TRY(machine.meter().Scan(self.utf8().size()));
    number = ReadFloat(self.utf8());
  }
  return number ? Value(*number) : given[0] != nullptr ? *given[0] : Value(0.0);
}

Result<Value> RoundFilter(Machine&, const Value& self, Given given) {
  constexpr std::int64_t kMostDigits = 300;
  AWQ_ASSIGN(const std::int64_t precision, IntegerOr(given[0], 0));
  AWQ_ASSIGN(const std::string method, TextOr(given[1], "common"));
  const auto number = self.number();
  if (!number) return WrongType("a rounded number", self);
  if (precision < 0 || precision > kMostDigits || !std::isfinite(*number)) {
    return MakeError(ErrorCode::kUnsupported, "round takes finite numbers and 0 to {} digits",
                     kMostDigits);
  }
  if (method == "common") {
    if (const auto whole = self.integer()) return Value(*whole);
    return Value(*ReadFloat(fmt::format("{:.{}f}", *number, static_cast<int>(precision))));
  }
  if (method != "ceil" && method != "floor") {
    return MakeError(ErrorCode::kInvalidArgument, "round knows common, ceil and floor, found {}",
                     method);
  }
  const double unit = std::pow(10.0, static_cast<double>(precision));
  const double scaled = *number * unit;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / unit);
}

Result<Value> AbsFilter(Machine&, const Value& self, Given) {
  const auto number = self.number();
  if (!number) return WrongType("a number", self);
  return *number < 0 ? Negate(self, /*plus=*/false) : Negate(self, /*plus=*/true);
}

Result<Value> LengthFilter(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(const std::size_t length, Length(machine.meter(), self));
  return Value(static_cast<std::int64_t>(length));
}

constexpr std::array kFilters = {
    Function{"int", {"default", "base"}, 0, IntFilter},
    Function{"float", {"default"}, 0, FloatFilter},
    Function{"round", {"precision", "method"}, 0, RoundFilter},
    Function{"abs", {}, 0, AbsFilter},
    Function{"length", {}, 0, LengthFilter},
    Function{"count", {}, 0, LengthFilter},
};

}  // namespace

std::span<const Function> NumberFilters() { return kFilters; }

}  // namespace awq::text::jinja
