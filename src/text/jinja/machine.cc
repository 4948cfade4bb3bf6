#include "text/jinja/machine.h"

#include <algorithm>

namespace awq::text::jinja {

Machine::~Machine() {
  for (const auto& space : namespaces_) {
    const Dict emptied = std::exchange(space->members, Dict());
  }
  for (const auto& loop : loops_) loop->last_changed.reset();
}

Status Machine::Nesting::Check() const {
  const std::size_t most = machine_.meter_.limits().depth;
  if (machine_.depth_ <= most) return {};
  return MakeError(ErrorCode::kUnsupported, "calls or nests deeper than {} levels", most);
}

Result<Value> Machine::Call(const Value& function, const Arguments& arguments) {
  AWQ_TRY(meter_.Spend(1));
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  if (const Loop* loop = function.loop()) {
    if (!loop->recurse || arguments.positional.size() != 1 || !arguments.named.empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "loop() is for loops that are recursive, and takes what to loop over");
    }
    return loop->recurse(arguments.positional[0]);
  }
  const Callable* callable = function.callable();
  if (callable == nullptr) return WrongType("a call", function);
  return callable->call(*this, arguments);
}

Result<Value> Machine::CallFilter(std::string_view name, const Value& value,
                                  const Arguments& arguments) {
  AWQ_TRY(meter_.Spend(1));
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  const Function* filter = FindFilter(name);
  if (filter == nullptr) {
    return MakeError(ErrorCode::kUnsupported, "there is no filter {}", name);
  }
  return Apply(*this, *filter, value, arguments);
}

Result<bool> Machine::CallTest(std::string_view name, const Value& value,
                               const Arguments& arguments) {
  AWQ_TRY(meter_.Spend(1));
  const Function* test = FindTest(name);
  if (test == nullptr) return MakeError(ErrorCode::kUnsupported, "there is no test {}", name);
  AWQ_ASSIGN(const Value passed, Apply(*this, *test, value, arguments));
  return passed.is_true();
}

Result<Value> Machine::MakeNamespace(std::vector<std::pair<Value, Value>> members) {
  AWQ_TRY(meter_.Make(sizeof(Namespace) + members.size() * 2 * sizeof(Value)));
  auto space = std::make_shared<Namespace>();
  namespaces_.push_back(space);
  for (auto& [key, value] : members) AWQ_TRY(space->members.Set(key, std::move(value)));
  return Value(std::move(space));
}

Result<Value> Apply(Machine& machine, const Function& function, const Value& self,
                    const Arguments& arguments) {
  if (function.run_any != nullptr) return function.run_any(machine, self, arguments);
  std::array<const Value*, Function::kMostParameters> given = {};
  const auto end = std::ranges::find(function.parameters, std::string_view());
  const auto count = static_cast<std::size_t>(end - function.parameters.begin());
  if (arguments.positional.size() > count) {
    return MakeError(ErrorCode::kInvalidArgument, "{} takes at most {} arguments, found {}",
                     function.name, count, arguments.positional.size());
  }
  for (std::size_t i = 0; i < arguments.positional.size(); ++i) {
    given[i] = &arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    const auto at = std::find(function.parameters.begin(), end, name);
    const auto i = static_cast<std::size_t>(at - function.parameters.begin());
    if (at == end || given[i] != nullptr) {
      return MakeError(ErrorCode::kInvalidArgument, "{} takes no argument {}, or has it already",
                       function.name, name);
    }
    given[i] = &value;
  }
  for (std::size_t i = 0; i < function.required; ++i) {
    if (given[i] == nullptr) {
      return MakeError(ErrorCode::kInvalidArgument, "{} needs an argument {}", function.name,
                       function.parameters[i]);
    }
  }
  return function.run(machine, self, given);
}

Result<std::int64_t> IntegerOr(const Value* value, std::int64_t fallback) {
  if (value == nullptr) return fallback;
  const auto whole = value->integer();
  if (!whole) return WrongType("an integer", *value);
  return *whole;
}

Result<std::string> TextOr(const Value* value, std::string_view fallback) {
  if (value == nullptr) return std::string(fallback);
  if (!value->is_text()) return WrongType("a text", *value);
  return value->utf8();
}

}  // namespace awq::text::jinja
