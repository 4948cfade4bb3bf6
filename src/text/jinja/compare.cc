#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/text_ops.h"

namespace awq::text::jinja {
namespace {

Result<bool> EqualItems(Meter& meter, const std::vector<Value>& left,
                        const std::vector<Value>& right) {
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i) {
    AWQ_ASSIGN(const bool same, Equal(meter, left[i], right[i]));
    if (!same) return false;
  }
  return true;
}

Result<bool> EqualMembers(Meter& meter, const Dict& left, const Dict& right) {
  if (left.items().size() != right.items().size()) return false;
  for (const auto& [key, value] : left.items()) {
    const Value* other = right.Find(key);
    if (other == nullptr) return false;
    AWQ_ASSIGN(const bool same, Equal(meter, value, *other));
    if (!same) return false;
  }
  return true;
}

Error Unordered(const Value& left, const Value& right) {
  if (left.is_undefined()) return UndefinedError(left);
  if (right.is_undefined()) return UndefinedError(right);
  return MakeError(ErrorCode::kInvalidArgument, "an order between a {} and a {}", left.type_name(),
                   right.type_name());
}

// Whether `container` has `value`.
Result<bool> Has(Meter& meter, const Value& container, const Value& value) {
  if (container.is_text()) {
    if (!value.is_text()) return WrongType("a part of a text", value);
    AWQ_TRY(meter.Scan(container.utf8().size() + value.utf8().size()));
    return FindText(container.utf8(), value.utf8()) != std::string_view::npos;
  }
  if (const Dict* dict = container.dict()) {
    if (value.sequence() != nullptr || value.dict() != nullptr) return WrongType("a key", value);
    return dict->Find(value) != nullptr;
  }
  AWQ_ASSIGN(const std::vector<Value> items, Iterate(meter, container));
  for (const Value& item : items) {
    AWQ_ASSIGN(const bool same, Equal(meter, item, value));
    if (same) return true;
  }
  return false;
}

}  // namespace

Result<bool> Equal(Meter& meter, const Value& left, const Value& right) {
  AWQ_TRY(meter.Spend(1));
  if (const auto number = left.number()) {
    const auto a = left.integer();
    const auto b = right.integer();
    return a && b ? *a == *b : right.number() == number;
  }
  if (left.is_text() && right.is_text()) {
    if (left.utf8().size() != right.utf8().size()) return false;
    AWQ_TRY(meter.Scan(left.utf8().size()));
    return left.utf8() == right.utf8();
  }
  if (left.is_none() || left.is_undefined()) return left.type_name() == right.type_name();
  if (left.identity() == right.identity()) return true;
  if (left.dict() != nullptr && right.dict() != nullptr) {
    return EqualMembers(meter, *left.dict(), *right.dict());
  }
  const Sequence* a = left.sequence();
  const Sequence* b = right.sequence();
  const bool alike = a != nullptr && b != nullptr && a->kind == b->kind;
  if (!alike || a->kind > Sequence::Kind::kRange) return false;
  return EqualItems(meter, a->items, b->items);
}

Result<int> Order(Meter& meter, const Value& left, const Value& right) {
  AWQ_TRY(meter.Spend(1));
  const auto sign = [](auto a, auto b) { return a < b ? -1 : b < a ? 1 : 0; };
  if (left.integer() && right.integer()) return sign(*left.integer(), *right.integer());
  if (left.number() && right.number()) return sign(*left.number(), *right.number());
  if (left.is_text() && right.is_text()) {
    AWQ_TRY(meter.Scan(std::min(left.utf8().size(), right.utf8().size())));
    return sign(left.utf8().compare(right.utf8()), 0);  // bytes are in the order of code points
  }
  const Sequence* a = left.sequence();
  const Sequence* b = right.sequence();
  if (a == nullptr || b == nullptr || a->kind != b->kind || a->kind > Sequence::Kind::kTuple) {
    return Unordered(left, right);
  }
  for (std::size_t i = 0; i < a->items.size() && i < b->items.size(); ++i) {
    AWQ_ASSIGN(const bool same, Equal(meter, a->items[i], b->items[i]));
    if (!same) return Order(meter, a->items[i], b->items[i]);
  }
  return sign(a->items.size(), b->items.size());
}

Result<bool> Compare(Meter& meter, CompareOp op, const Value& left, const Value& right) {
  if (op == CompareOp::kIn || op == CompareOp::kNotIn) {
    AWQ_ASSIGN(const bool has, Has(meter, right, left));
    return has == (op == CompareOp::kIn);
  }
  if (op == CompareOp::kEq || op == CompareOp::kNe) {
    AWQ_ASSIGN(const bool same, Equal(meter, left, right));
    return same == (op == CompareOp::kEq);
  }
  AWQ_ASSIGN(const int order, Order(meter, left, right));
  switch (op) {
    case CompareOp::kLt:
      return order < 0;
    case CompareOp::kLe:
      return order <= 0;
    case CompareOp::kGt:
      return order > 0;
    default:
      return order >= 0;
  }
}

}  // namespace awq::text::jinja
