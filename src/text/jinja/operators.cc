#include "text/jinja/operators.h"

#include <cmath>
#include <string>

#include "text/jinja/print.h"
#include "text/jinja/text_ops.h"

namespace awq::text::jinja {
namespace {

Error Unsuited(const Value& left, const Value& right) {
  if (left.is_undefined()) return UndefinedError(left);
  if (right.is_undefined()) return UndefinedError(right);
  return MakeError(ErrorCode::kInvalidArgument, "an operation on a {} and a {}", left.type_name(),
                   right.type_name());
}

Error TooLarge() { return MakeError(ErrorCode::kUnsupported, "an integer beyond 64 bits"); }

bool IsPlainSequence(const Value& value) {
  return value.sequence() != nullptr && value.sequence()->kind <= Sequence::Kind::kTuple;
}

Result<Value> IntegerPower(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return MakeError(ErrorCode::kInvalidArgument, "0 to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return TooLarge();
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return TooLarge();
  }
  return Value(result);
}

Result<Value> IntegerBinary(BinaryOp op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case BinaryOp::kSub:
      if (__builtin_sub_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case BinaryOp::kMul:
      if (__builtin_mul_overflow(a, b, &result)) return TooLarge();
      return Value(result);
    case BinaryOp::kPow:
      return IntegerPower(a, b);
    default:
      break;
  }
  if (b == 0) return MakeError(ErrorCode::kInvalidArgument, "a division by zero");
  if (op == BinaryOp::kDiv) return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // the lowest integer has no opposite
    if (op == BinaryOp::kMod) return Value(std::int64_t{0});
    return IntegerBinary(BinaryOp::kSub, 0, a);
  }
  const std::int64_t remainder = a % b;
  const bool is_below = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == BinaryOp::kMod) return Value(is_below ? remainder + b : remainder);
  return Value(a / b - (is_below ? 1 : 0));
}

Result<Value> FloatBinary(BinaryOp op, double a, double b) {
  switch (op) {
    case BinaryOp::kAdd:
      return Value(a + b);
    case BinaryOp::kSub:
      return Value(a - b);
    case BinaryOp::kMul:
      return Value(a * b);
    case BinaryOp::kPow: {
      const double power = std::pow(a, b);
      if (std::isfinite(power) || !std::isfinite(a) || !std::isfinite(b)) return Value(power);
      return MakeError(ErrorCode::kInvalidArgument, "a power that is no finite number");
    }
    default:
      break;
  }
  if (b == 0) return MakeError(ErrorCode::kInvalidArgument, "a division by zero");
  if (op == BinaryOp::kDiv) return Value(a / b);
  double remainder = std::fmod(a, b);
  if (remainder != 0 && (remainder < 0) != (b < 0)) remainder += b;
  if (op == BinaryOp::kMod) return Value(remainder == 0 ? std::copysign(0.0, b) : remainder);
  return Value(std::round((a - remainder) / b));
}

Result<Value> Repeat(Meter& meter, const Value& value, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(times, 0));
  const std::size_t most = meter.limits().text_bytes + 1;
  if (value.is_text()) {
    const std::size_t size = value.utf8().size();
    AWQ_TRY(meter.Fits(size == 0 || count == 0 ? 0 : count > most / size ? most : size * count));
    AWQ_TRY(meter.Spend(size == 0 ? 0 : count));
    std::string out;
    for (std::size_t i = 0; size > 0 && i < count; ++i) out += value.utf8();
    return MakeText(meter, std::move(out), value.is_markup());
  }
  const std::vector<Value>& items = value.sequence()->items;
  AWQ_TRY(meter.Spend(items.empty()                 ? 0
                      : count > most / items.size() ? most
                                                    : items.size() * count));
  AWQ_TRY(meter.Make(items.size() * (items.empty() ? 0 : count) * sizeof(Value)));
  std::vector<Value> out;
  for (std::size_t i = 0; !items.empty() && i < count; ++i) {
    out.insert(out.end(), items.begin(), items.end());
  }
  return MakeSequence(meter, std::move(out), value.sequence()->kind);
}

Result<Value> AddTexts(Meter& meter, const Value& left, const Value& right) {
  const bool markup = left.is_markup() || right.is_markup();
  const auto part = [&](const Value& side) {
    return markup && !side.is_markup() ? EscapeHtml(side.utf8()) : side.utf8();
  };
  return MakeText(meter, part(left) + part(right), markup);
}

}  // namespace

Result<Value> Binary(Meter& meter, BinaryOp op, const Value& left, const Value& right) {
  const auto a = left.integer();
  const auto b = right.integer();
  if (a && b) return IntegerBinary(op, *a, *b);
  if (left.number() && right.number()) return FloatBinary(op, *left.number(), *right.number());
  if (op == BinaryOp::kAdd) {
    if (left.is_text() && right.is_text()) return AddTexts(meter, left, right);
    if (IsPlainSequence(left) && IsPlainSequence(right) &&
        left.sequence()->kind == right.sequence()->kind) {
      std::vector<Value> items = left.sequence()->items;
      const std::vector<Value>& more = right.sequence()->items;
      items.insert(items.end(), more.begin(), more.end());
      AWQ_TRY(meter.Spend(items.size()));
      return MakeSequence(meter, std::move(items), left.sequence()->kind);
    }
  }
  if (op == BinaryOp::kMul) {
    if ((left.is_text() || IsPlainSequence(left)) && b) return Repeat(meter, left, *b);
    if ((right.is_text() || IsPlainSequence(right)) && a) return Repeat(meter, right, *a);
  }
  if (op == BinaryOp::kMod && left.is_text()) return FormatPercent(meter, left, right);
  return Unsuited(left, right);
}

Result<Value> Negate(const Value& value, bool plus) {
  if (const auto whole = value.integer()) {
    return plus ? Value(*whole) : IntegerBinary(BinaryOp::kSub, 0, *whole);
  }
  const auto number = value.number();
  if (!number) return WrongType("a number", value);
  return Value(plus ? *number : -*number);
}

Result<std::optional<Value>> Item(Meter& meter, const Value& object, const Value& key) {
  if (object.is_undefined()) return UndefinedError(object);
  if (const Dict* dict = object.dict()) {
    const Value* found = dict->Find(key);
    return found != nullptr ? std::optional(*found) : std::nullopt;
  }
  const auto index = key.integer();
  const Sequence* sequence = object.sequence();
  const bool has_items =
      object.is_text() || (sequence != nullptr && sequence->kind <= Sequence::Kind::kRange);
  if (!index || !has_items) return std::optional<Value>();
  AWQ_ASSIGN(const std::size_t length, Length(meter, object));
  const auto size = static_cast<std::int64_t>(length);
  if (*index >= size || *index < -size) return std::optional<Value>();
  const auto at = static_cast<std::size_t>(*index < 0 ? *index + size : *index);
  if (sequence != nullptr) return std::optional(sequence->items[at]);
  const std::vector<std::size_t> offsets = CharacterOffsets(object.utf8());
  AWQ_ASSIGN(Value character,
             MakeText(meter, object.utf8().substr(offsets[at], offsets[at + 1] - offsets[at]),
                      object.is_markup()));
  return std::optional(std::move(character));
}

Result<std::optional<Value>> Slice(Meter& meter, const Value& object, const Value& start,
                                   const Value& stop, const Value& step) {
  const Sequence* sequence = object.sequence();
  const bool has_slices =
      object.is_text() || (sequence != nullptr && sequence->kind <= Sequence::Kind::kRange);
  const auto can_bound = [](const Value& bound) { return bound.is_none() || bound.integer(); };
  if (!has_slices || !can_bound(start) || !can_bound(stop) || !can_bound(step)) {
    return std::optional<Value>();
  }
  AWQ_ASSIGN(const std::size_t length, Length(meter, object));
  AWQ_TRY(meter.Make(length * sizeof(std::size_t)));
  AWQ_TRY(meter.Scan(length));
  AWQ_ASSIGN(const std::vector<std::size_t> indices,
             SliceIndices(length, start.integer(), stop.integer(), step.integer()));
  if (sequence != nullptr) {
    std::vector<Value> items;
    for (const std::size_t i : indices) items.push_back(sequence->items[i]);
    AWQ_ASSIGN(Value slice, MakeSequence(meter, std::move(items), sequence->kind));
    return std::optional(std::move(slice));
  }
  const std::string& text = object.utf8();
  const std::vector<std::size_t> offsets = CharacterOffsets(text);
  std::string out;
  for (const std::size_t i : indices) out.append(text, offsets[i], offsets[i + 1] - offsets[i]);
  AWQ_ASSIGN(Value slice, MakeText(meter, std::move(out), object.is_markup()));
  return std::optional(std::move(slice));
}

}  // namespace awq::text::jinja
