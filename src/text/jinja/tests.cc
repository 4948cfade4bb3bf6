// What may stand behind `is`.
#include <algorithm>
#include <array>

#include "text/jinja/machine.h"
#include "text/jinja/operators.h"
#include "text/jinja/print.h"

namespace awq::text::jinja {
namespace {

template <auto kHolds>
Result<Value> Simple(Machine&, const Value& self, Given) {
  return Value(static_cast<bool>(kHolds(self)));
}

constexpr auto kIsDefined = [](const Value& v) { return !v.is_undefined(); };
constexpr auto kIsUndefined = [](const Value& v) { return v.is_undefined(); };
constexpr auto kIsNone = [](const Value& v) { return v.is_none(); };
constexpr auto kIsBoolean = [](const Value& v) { return v.As<bool>() != nullptr; };
constexpr auto kIsTrueValue = [](const Value& v) { return v.As<bool>() && *v.As<bool>(); };
constexpr auto kIsFalseValue = [](const Value& v) { return v.As<bool>() && !*v.As<bool>(); };
constexpr auto kIsInteger = [](const Value& v) { return v.As<std::int64_t>() != nullptr; };
constexpr auto kIsFloat = [](const Value& v) { return v.As<double>() != nullptr; };
constexpr auto kIsNumber = [](const Value& v) { return v.number().has_value(); };
constexpr auto kIsString = [](const Value& v) { return v.is_text(); };
constexpr auto kIsMapping = [](const Value& v) { return v.dict() != nullptr; };
constexpr auto kIsEscaped = [](const Value& v) { return v.is_markup(); };
constexpr auto kIsCallable = [](const Value& v) {
  return v.callable() != nullptr || v.loop() != nullptr || v.is_undefined();
};
constexpr auto kIsIterable = [](const Value& v) {
  return v.is_text() || v.sequence() || v.dict() || v.is_undefined() || v.loop();
};
// What has a length and items by number or key; to Python that is an undefined value, too.
constexpr auto kIsSequence = [](const Value& v) {
  const Sequence* sequence = v.sequence();
  return v.is_text() || v.dict() || (sequence && sequence->kind <= Sequence::Kind::kRange) ||
         v.is_undefined();
};

template <bool kWantOdd>
Result<Value> ParityTest(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(const Value rest,
             Binary(machine.meter(), BinaryOp::kMod, self, Value(std::int64_t{2})));
  return Value(rest.number() && *rest.number() == (kWantOdd ? 1 : 0));
}

Result<Value> DivisibleTest(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const Value rest, Binary(machine.meter(), BinaryOp::kMod, self, *given[0]));
  return Value(rest.number() && *rest.number() == 0);
}

template <bool kUpper>
Result<Value> CaseTest(Machine& machine, const Value& self, Given) {
  AWQ_ASSIGN(const std::string text, Str(machine.meter(), self));
  return Apply(machine, *FindTextMethod(kUpper ? "isupper" : "islower"), Value::Plain(text), {});
}

template <CompareOp kOp>
Result<Value> CompareTest(Machine& machine, const Value& self, Given given) {
  AWQ_ASSIGN(const bool holds, Compare(machine.meter(), kOp, self, *given[0]));
  return Value(holds);
}

Result<Value> SameAsTest(Machine& machine, const Value& self, Given given) {
  const Value& other = *given[0];
  if (self.identity() != nullptr) return Value(self.identity() == other.identity());
  AWQ_ASSIGN(const bool equal, Equal(machine.meter(), self, other));
  return Value(equal && self.type_name() == other.type_name());
}

template <const Function* (*kFind)(std::string_view)>
Result<Value> KnownTest(Machine&, const Value& self, Given) {
  return Value(self.is_text() && kFind(self.utf8()) != nullptr);
}

constexpr std::array kTests = {
    Function{"defined", {}, 0, Simple<kIsDefined>},
    Function{"undefined", {}, 0, Simple<kIsUndefined>},
    Function{"none", {}, 0, Simple<kIsNone>},
    Function{"boolean", {}, 0, Simple<kIsBoolean>},
    Function{"true", {}, 0, Simple<kIsTrueValue>},
    Function{"false", {}, 0, Simple<kIsFalseValue>},
    Function{"integer", {}, 0, Simple<kIsInteger>},
    Function{"float", {}, 0, Simple<kIsFloat>},
    Function{"number", {}, 0, Simple<kIsNumber>},
    Function{"string", {}, 0, Simple<kIsString>},
    Function{"mapping", {}, 0, Simple<kIsMapping>},
    Function{"iterable", {}, 0, Simple<kIsIterable>},
    Function{"sequence", {}, 0, Simple<kIsSequence>},
    Function{"callable", {}, 0, Simple<kIsCallable>},
    Function{"escaped", {}, 0, Simple<kIsEscaped>},
    Function{"odd", {}, 0, ParityTest<true>},
    Function{"even", {}, 0, ParityTest<false>},
    Function{"divisibleby", {"num"}, 1, DivisibleTest},
    Function{"lower", {}, 0, CaseTest<false>},
    Function{"upper", {}, 0, CaseTest<true>},
    Function{"sameas", {"other"}, 1, SameAsTest},
    Function{"filter", {}, 0, KnownTest<FindFilter>},
    Function{"test", {}, 0, KnownTest<FindTest>},
    Function{"in", {"seq"}, 1, CompareTest<CompareOp::kIn>},
    Function{"eq", {"other"}, 1, CompareTest<CompareOp::kEq>},
    Function{"equalto", {"other"}, 1, CompareTest<CompareOp::kEq>},
    Function{"==", {"other"}, 1, CompareTest<CompareOp::kEq>},
    Function{"ne", {"other"}, 1, CompareTest<CompareOp::kNe>},
    Function{"!=", {"other"}, 1, CompareTest<CompareOp::kNe>},
    Function{"lt", {"other"}, 1, CompareTest<CompareOp::kLt>},
    Function{"lessthan", {"other"}, 1, CompareTest<CompareOp::kLt>},
    Function{"<", {"other"}, 1, CompareTest<CompareOp::kLt>},
    Function{"le", {"other"}, 1, CompareTest<CompareOp::kLe>},
    Function{"<=", {"other"}, 1, CompareTest<CompareOp::kLe>},
    Function{"gt", {"other"}, 1, CompareTest<CompareOp::kGt>},
    Function{"greaterthan", {"other"}, 1, CompareTest<CompareOp::kGt>},
    Function{">", {"other"}, 1, CompareTest<CompareOp::kGt>},
    Function{"ge", {"other"}, 1, CompareTest<CompareOp::kGe>},
    Function{">=", {"other"}, 1, CompareTest<CompareOp::kGe>},
};

}  // namespace

const Function* FindTest(std::string_view name) {
  const auto row = std::ranges::find(kTests, name, &Function::name);
  return row != kTests.end() ? &*row : nullptr;
}

}  // namespace awq::text::jinja
