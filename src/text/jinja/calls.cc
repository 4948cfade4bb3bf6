#include <algorithm>

#include "text/jinja/interpreter.h"

namespace awq::text::jinja {

Value Interpreter::MacroValue(const Stmt& statement, const ScopePtr& scope) {
  auto callable = std::make_shared<Callable>();
  callable->name = statement.signature.name;
  callable->is_macro = true;
  callable->call = [this, &statement, defined_in = std::weak_ptr(scope)](
                       Machine&, const Arguments& arguments) {
    return CallMacro(statement, defined_in, arguments);
  };
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Result<Value> Interpreter::CallMacro(const Stmt& statement, const std::weak_ptr<Scope>& defined_in,
                                     const Arguments& arguments) {
  const ScopePtr around = defined_in.lock();
  if (around == nullptr) {
    return MakeError(ErrorCode::kUnsupported, "the macro {} is called outside of where it was made",
                     statement.signature.name);
  }
  const auto inside = std::make_shared<Scope>(around);
  return Captured([&]() -> Status {
    AWQ_TRY(BindParameters(statement, arguments, inside));
    AWQ_TRY(Execute(statement.blocks[0], inside));
    return {};
  });
}

Status Interpreter::BindParameters(const Stmt& statement, const Arguments& arguments,
                                   const ScopePtr& scope) {
  const Signature& signature = statement.signature;
  const std::size_t given = std::min(arguments.positional.size(), signature.parameters.size());
  std::vector<std::pair<std::string, Value>> named = arguments.named;
  const auto take = [&](std::string_view name) -> std::optional<Value> {
    const auto at = std::ranges::find(named, name, &std::pair<std::string, Value>::first);
    if (at == named.end()) return std::nullopt;
    Value value = std::move(at->second);
    named.erase(at);
    return value;
  };
  std::vector<const Parameter*> missing;
  for (std::size_t i = 0; i < signature.parameters.size(); ++i) {
    const Parameter& parameter = signature.parameters[i];
    std::optional<Value> value =
        i < given ? std::optional(arguments.positional[i]) : take(parameter.name);
    if (!value) missing.push_back(&parameter);
    scope->names[parameter.name] = value
                                       ? std::move(*value)
                                       : Value::MakeUndefined(fmt::format(
                                             "the parameter {} was not provided", parameter.name));
  }
  if (signature.wants_caller) {
    const auto caller = take("caller");
    scope->names["caller"] = caller ? *caller : Value::MakeUndefined("there is no caller");
  }
  if (signature.wants_named_rest) {
    std::vector<std::pair<Value, Value>> rest;
    for (auto& [name, value] : named) rest.emplace_back(Value::Plain(name), std::move(value));
    AWQ_ASSIGN(scope->names["kwargs"], MakeDict(machine_.meter(), std::move(rest)));
  } else if (!named.empty()) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the macro {} takes no argument {}, or has it already", signature.name,
                     named.front().first);
  }
  if (signature.wants_rest) {
    std::vector<Value> rest(arguments.positional.begin() + static_cast<std::ptrdiff_t>(given),
                            arguments.positional.end());
    AWQ_ASSIGN(scope->names["varargs"],
               MakeSequence(machine_.meter(), std::move(rest), Sequence::Kind::kTuple));
  } else if (arguments.positional.size() > given) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "the macro {} takes at most {} arguments, found {}", signature.name, given,
                     arguments.positional.size());
  }
  for (const Parameter* parameter : missing) {
    if (parameter->fallback == nullptr) continue;
    AWQ_ASSIGN(scope->names[parameter->name], Evaluate(*parameter->fallback, scope));
  }
  return {};
}

Result<Arguments> Interpreter::Evaluate(const CallExprs& exprs, const ScopePtr& scope) {
  Arguments arguments;
  for (const ExprPtr& expr : exprs.positional) {
    AWQ_ASSIGN(Value value, Evaluate(*expr, scope));
    arguments.positional.push_back(std::move(value));
  }
  for (const auto& [name, expr] : exprs.named) {
    AWQ_ASSIGN(Value value, Evaluate(*expr, scope));
    arguments.named.emplace_back(name, std::move(value));
  }
  if (exprs.rest != nullptr) {
    AWQ_ASSIGN(const Value rest, Evaluate(*exprs.rest, scope));
    AWQ_ASSIGN(const std::vector<Value> items, Iterate(machine_.meter(), rest));
    arguments.positional.insert(arguments.positional.end(), items.begin(), items.end());
  }
  if (exprs.named_rest != nullptr) {
    AWQ_ASSIGN(const Value rest, Evaluate(*exprs.named_rest, scope));
    if (rest.dict() == nullptr) return WrongType("named arguments", rest);
    for (const auto& [key, value] : rest.dict()->items()) {
      if (!key.is_text()) return WrongType("the name of an argument", key);
      if (arguments.Named(key.utf8()) != nullptr) {
        return MakeError(ErrorCode::kInvalidArgument, "the argument {} is given twice", key.utf8());
      }
      AWQ_TRY(machine_.meter().Spend(1 + arguments.named.size()));
      arguments.named.emplace_back(key.utf8(), value);
    }
  }
  return arguments;
}

Result<Value> Interpreter::CallExpr(const Expr& expr, const ScopePtr& scope, const Value* caller) {
  AWQ_ASSIGN(const Value function, Evaluate(*expr.parts[0], scope));
  AWQ_ASSIGN(Arguments arguments, Evaluate(expr.arguments, scope));
  if (caller != nullptr) arguments.named.emplace_back("caller", *caller);
  line_ = expr.line;
  return machine_.Call(function, arguments);
}

}  // namespace awq::text::jinja
