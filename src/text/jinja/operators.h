// Python's operators and subscripts.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/jinja/value.h"

namespace awq::text::jinja {

enum class BinaryOp : std::uint8_t { kAdd, kSub, kMul, kDiv, kFloorDiv, kMod, kPow };
enum class CompareOp : std::uint8_t { kEq, kNe, kLt, kLe, kGt, kGe, kIn, kNotIn };

// Integers have 64 bits: beyond them is an error.
Result<Value> Binary(Meter& meter, BinaryOp op, const Value& left, const Value& right);
Result<Value> Negate(const Value& value, bool plus);

Result<bool> Compare(Meter& meter, CompareOp op, const Value& left, const Value& right);
Result<bool> Equal(Meter& meter, const Value& left, const Value& right);
// -1, 0, 1. Error: kinds that Python does not order.
Result<int> Order(Meter& meter, const Value& left, const Value& right);

// A list's or text's item by its number, a dict's by its key; nothing where there is none.
Result<std::optional<Value>> Item(Meter& meter, const Value& object, const Value& key);
// Bounds that are none are left out. Nothing where the object has no slices, or a bound is no
// integer. Error: a step of 0.
Result<std::optional<Value>> Slice(Meter& meter, const Value& object, const Value& start,
                                   const Value& stop, const Value& step);

// `format % values`: %s, %r, %d, %i, %f, %x and %%, with width, precision and the flags 0, - and +.
Result<Value> FormatPercent(Meter& meter, const Value& format, const Value& values);

}  // namespace awq::text::jinja
