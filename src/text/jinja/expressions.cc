#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"

namespace awq::text::jinja {

Result<Value> Interpreter::Evaluate(const Expr& expr, const ScopePtr& scope) {
  if (expr.kind == ExprKind::kConstant) return expr.constant;
  const Machine::Nesting nesting(machine_);
  AWQ_TRY(nesting.Check());
  AWQ_TRY(machine_.meter().Spend(1));
  line_ = expr.line;
  return expr.kind == ExprKind::kName ? Find(expr.name, scope) : Compute(expr, scope);
}

Result<Value> Interpreter::Find(const std::string& name, const ScopePtr& scope) {
  for (const Scope* each = scope.get(); each != nullptr; each = each->parent.get()) {
    const auto found = each->names.find(name);
    if (found != each->names.end()) return found->second;
  }
  if (const Value* variable = variables_.Find(name)) return *variable;
  const Function* function = FindGlobal(name);
  if (function == nullptr) return Value::MakeUndefined(fmt::format("{} is undefined", name));
  auto callable = std::make_shared<Callable>();
  callable->name = name;
  callable->call = [function](Machine& machine, const Arguments& arguments) {
    return Apply(machine, *function, Value(), arguments);
  };
  return Value(std::shared_ptr<const Callable>(std::move(callable)));
}

Result<Value> Interpreter::Compute(const Expr& expr, const ScopePtr& scope) {
  switch (expr.kind) {
    case ExprKind::kList:
    case ExprKind::kTuple:
    case ExprKind::kDict:
      return Several(expr, scope);
    case ExprKind::kCall:
      return CallExpr(expr, scope, nullptr);
    case ExprKind::kFilter:
    case ExprKind::kTest: {
      AWQ_ASSIGN(const Value value, Evaluate(*expr.parts[0], scope));
      AWQ_ASSIGN(const Arguments arguments, Evaluate(expr.arguments, scope));
      line_ = expr.line;
      if (expr.kind == ExprKind::kFilter) return machine_.CallFilter(expr.name, value, arguments);
      AWQ_ASSIGN(const bool passes, machine_.CallTest(expr.name, value, arguments));
      return Value(passes);
    }
    case ExprKind::kAnd:
    case ExprKind::kOr:
      return Junction(expr, scope);
    case ExprKind::kCompare:
      return Comparison(expr, scope);
    case ExprKind::kBinary:
      return Chain(expr, scope);
    case ExprKind::kConcat:
      return Concatenation(expr, scope);
    case ExprKind::kConditional:
      return Conditional(expr, scope);
    case ExprKind::kNot:
    case ExprKind::kNegative:
    case ExprKind::kPositive: {
      AWQ_ASSIGN(const Value value, Evaluate(*expr.parts[0], scope));
      if (expr.kind == ExprKind::kNot) return Value(!value.is_true());
      return Negate(value, expr.kind == ExprKind::kPositive);
    }
    default:
      return Part(expr, scope);
  }
}

// A member, an element or a slice.
Result<Value> Interpreter::Part(const Expr& expr, const ScopePtr& scope) {
  AWQ_ASSIGN(const Value object, Evaluate(*expr.parts[0], scope));
  if (expr.kind == ExprKind::kAttribute) return Attribute(machine_, object, expr.name);
  if (expr.kind == ExprKind::kSubscript) {
    AWQ_ASSIGN(const Value key, Evaluate(*expr.parts[1], scope));
    return Subscript(machine_, object, key);
  }
  Value bounds[3];
  for (std::size_t i = 0; i < 3; ++i) {
    if (expr.parts[i + 1] == nullptr) continue;
    AWQ_ASSIGN(bounds[i], Evaluate(*expr.parts[i + 1], scope));
  }
  if (object.is_undefined()) return UndefinedError(object);
  AWQ_ASSIGN(const auto slice, Slice(machine_.meter(), object, bounds[0], bounds[1], bounds[2]));
  return slice ? *slice : Value::MakeUndefined("a slice that cannot be had");
}

Result<Value> Interpreter::Several(const Expr& expr, const ScopePtr& scope) {
  std::vector<Value> items;
  for (const ExprPtr& part : expr.parts) {
    AWQ_ASSIGN(Value item, Evaluate(*part, scope));
    items.push_back(std::move(item));
  }
  if (expr.kind != ExprKind::kDict) {
    return MakeSequence(
        machine_.meter(), std::move(items),
        expr.kind == ExprKind::kList ? Sequence::Kind::kList : Sequence::Kind::kTuple);
  }
  std::vector<std::pair<Value, Value>> members;
  for (std::size_t i = 0; i < items.size(); i += 2) {
    members.emplace_back(std::move(items[i]), std::move(items[i + 1]));
  }
  return MakeDict(machine_.meter(), std::move(members));
}

Result<Value> Interpreter::Junction(const Expr& expr, const ScopePtr& scope) {
  const bool stops_at = expr.kind == ExprKind::kOr;
  Value value;
  for (const ExprPtr& part : expr.parts) {
    AWQ_ASSIGN(value, Evaluate(*part, scope));
    if (value.is_true() == stops_at) break;
  }
  return value;
}

Result<Value> Interpreter::Comparison(const Expr& expr, const ScopePtr& scope) {
  AWQ_ASSIGN(Value left, Evaluate(*expr.parts[0], scope));
  for (std::size_t i = 0; i < expr.compares.size(); ++i) {
    AWQ_ASSIGN(Value right, Evaluate(*expr.parts[i + 1], scope));
    AWQ_ASSIGN(const bool holds, Compare(machine_.meter(), expr.compares[i], left, right));
    if (!holds) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::Chain(const Expr& expr, const ScopePtr& scope) {
  AWQ_ASSIGN(Value value, Evaluate(*expr.parts[0], scope));
  for (std::size_t i = 0; i < expr.ops.size(); ++i) {
    AWQ_ASSIGN(const Value right, Evaluate(*expr.parts[i + 1], scope));
    AWQ_ASSIGN(value, Binary(machine_.meter(), expr.ops[i], value, right));
  }
  return value;
}

Result<Value> Interpreter::Concatenation(const Expr& expr, const ScopePtr& scope) {
  std::string joined;
  for (const ExprPtr& part : expr.parts) {
    AWQ_ASSIGN(const Value value, Evaluate(*part, scope));
    AWQ_ASSIGN(const std::string text, Str(machine_.meter(), value));
    joined += text;
    AWQ_TRY(machine_.meter().Fits(joined.size()));
  }
  return MakeText(machine_.meter(), std::move(joined));
}

Result<Value> Interpreter::Conditional(const Expr& expr, const ScopePtr& scope) {
  AWQ_ASSIGN(const Value condition, Evaluate(*expr.parts[1], scope));
  if (condition.is_true()) return Evaluate(*expr.parts[0], scope);
  if (expr.parts[2] != nullptr) return Evaluate(*expr.parts[2], scope);
  return Value::MakeUndefined("an if without else is not fulfilled, and its value");
}

}  // namespace awq::text::jinja
