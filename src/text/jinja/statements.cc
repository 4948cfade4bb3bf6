#include <algorithm>
#include <utility>

#include "text/jinja/interpreter.h"
#include "text/jinja/print.h"

namespace awq::text::jinja {

Result<std::string> Run(const Block& block, const Dict& variables, Machine& machine) {
  Interpreter interpreter(machine, variables);
  const auto top = std::make_shared<Scope>(nullptr);
  const auto done = interpreter.Execute(block, top);
  if (done) return interpreter.TakeOutput();
  return Error{done.error().code,
               fmt::format("line {}: {}", interpreter.line(), done.error().message)};
}

Result<Flow> Interpreter::Execute(const Block& block, const ScopePtr& scope) {
  for (const auto& statement : block) {
    AWQ_ASSIGN(const Flow flow, Execute(*statement, scope));
    if (flow != Flow::kOn) return flow;
  }
  return Flow::kOn;
}

Result<Flow> Interpreter::Execute(const Stmt& statement, const ScopePtr& scope) {
  const Machine::Nesting nesting(machine_);
  AWQ_TRY(nesting.Check());
  AWQ_TRY(machine_.meter().Spend(1));
  line_ = statement.line;
  switch (statement.kind) {
    case StmtKind::kText:
      AWQ_TRY(Write(statement.text));
      return Flow::kOn;
    case StmtKind::kPrint:
      for (const ExprPtr& each : statement.values) {
        AWQ_ASSIGN(const Value value, Evaluate(*each, scope));
        AWQ_TRY(WriteValue(value));
      }
      return Flow::kOn;
    case StmtKind::kIf:
      return If(statement, scope);
    case StmtKind::kFor:
      return For(statement, scope);
    case StmtKind::kSet: {
      AWQ_ASSIGN(const Value value, Evaluate(*statement.values[0], scope));
      AWQ_TRY(Assign(statement.targets[0], value, scope));
      return Flow::kOn;
    }
    case StmtKind::kSetBlock:
      AWQ_TRY(SetBlock(statement, scope));
      return Flow::kOn;
    case StmtKind::kFilter:
      AWQ_TRY(FilterBlock(statement, scope));
      return Flow::kOn;
    case StmtKind::kWith:
      return With(statement, scope);
    case StmtKind::kMacro:
      scope->names[statement.signature.name] = MacroValue(statement, scope);
      return Flow::kOn;
    case StmtKind::kCall:
      AWQ_TRY(CallBlock(statement, scope));
      return Flow::kOn;
    case StmtKind::kScope:
      return Execute(statement.blocks[0], std::make_shared<Scope>(scope));
    case StmtKind::kBreak:
      return Flow::kBreak;
    case StmtKind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kOn;
}

Result<Flow> Interpreter::If(const Stmt& statement, const ScopePtr& scope) {
  for (std::size_t i = 0; i < statement.values.size(); ++i) {
    AWQ_ASSIGN(const Value condition, Evaluate(*statement.values[i], scope));
    if (condition.is_true()) return Execute(statement.blocks[i], scope);
  }
  const bool has_else = statement.blocks.size() > statement.values.size();
  return has_else ? Execute(statement.blocks.back(), scope) : Result<Flow>(Flow::kOn);
}

Result<Flow> Interpreter::For(const Stmt& statement, const ScopePtr& scope) {
  AWQ_ASSIGN(const Value items, Evaluate(*statement.values[0], scope));
  return LoopOver(statement, items, 0, scope);
}

// The items that the condition of a loop lets through.
Result<std::vector<Value>> Interpreter::Chosen(const Stmt& statement, const Value& items,
                                               const ScopePtr& scope) {
  AWQ_ASSIGN(std::vector<Value> all, Iterate(machine_.meter(), items));
  if (statement.values[1] == nullptr) return all;
  std::vector<Value> chosen;
  for (Value& item : all) {
    const auto inside = std::make_shared<Scope>(scope);
    AWQ_TRY(Assign(statement.targets[0], item, inside));
    AWQ_ASSIGN(const Value passes, Evaluate(*statement.values[1], inside));
    if (passes.is_true()) chosen.push_back(std::move(item));
  }
  return chosen;
}

Result<Flow> Interpreter::LoopOver(const Stmt& statement, const Value& items, std::size_t level,
                                   const ScopePtr& scope) {
  const auto loop = std::make_shared<Loop>();
  AWQ_ASSIGN(loop->items, Chosen(statement, items, scope));
  loop->level = level;
  for (const Value& item : loop->items) loop->depth = std::max(loop->depth, item.depth() + 1);
  if (statement.is_recursive) {
    loop->recurse = [this, &statement, level, outside = std::weak_ptr(scope)](const Value& inner) {
      return Captured([&]() -> Status {
        const ScopePtr around = outside.lock();
        if (around == nullptr) return MakeError(ErrorCode::kUnsupported, "a loop after its end");
        AWQ_TRY(LoopOver(statement, inner, level + 1, around));
        return {};
      });
    };
  }
  bool some_went_through = false;  // what breaks or continues does not, to jinja2
  for (std::size_t i = 0; i < loop->items.size(); ++i) {
    AWQ_TRY(machine_.meter().Spend(1));
    loop->index = i;
    const auto inside = std::make_shared<Scope>(scope);
    inside->names["loop"] = Value(loop);
    AWQ_TRY(Assign(statement.targets[0], loop->items[i], inside));
    AWQ_ASSIGN(const Flow flow, Execute(statement.blocks[0], inside));
    if (flow == Flow::kBreak) break;
    some_went_through = some_went_through || flow == Flow::kOn;
  }
  if (some_went_through || statement.blocks.size() < 2) return Flow::kOn;
  return Execute(statement.blocks[1], std::make_shared<Scope>(scope));
}

Status Interpreter::SetBlock(const Stmt& statement, const ScopePtr& scope) {
  const auto inside = std::make_shared<Scope>(scope);
  AWQ_ASSIGN(Value value, Captured([&]() -> Status {
               AWQ_TRY(Execute(statement.blocks[0], inside));
               return {};
             }));
  AWQ_ASSIGN(value, Filtered(statement.values[0].get(), std::move(value), inside));
  return Assign(statement.targets[0], value, scope);
}

Status Interpreter::FilterBlock(const Stmt& statement, const ScopePtr& scope) {
  const auto inside = std::make_shared<Scope>(scope);
  AWQ_ASSIGN(Value value, Captured([&]() -> Status {
               AWQ_TRY(Execute(statement.blocks[0], inside));
               return {};
             }));
  AWQ_ASSIGN(value, Filtered(statement.values[0].get(), std::move(value), inside));
  return WriteValue(value);
}

Result<Value> Interpreter::Filtered(const Expr* filter, Value text, const ScopePtr& scope) {
  if (filter == nullptr) return text;
  AWQ_ASSIGN(const Value input, Filtered(filter->parts[0].get(), std::move(text), scope));
  AWQ_ASSIGN(const Arguments arguments, Evaluate(filter->arguments, scope));
  return machine_.CallFilter(filter->name, input, arguments);
}

Result<Flow> Interpreter::With(const Stmt& statement, const ScopePtr& scope) {
  const auto inside = std::make_shared<Scope>(scope);
  for (std::size_t i = 0; i < statement.values.size(); ++i) {
    AWQ_ASSIGN(const Value value, Evaluate(*statement.values[i], scope));
    AWQ_TRY(Assign(statement.targets[i], value, inside));
  }
  return Execute(statement.blocks[0], inside);
}

Status Interpreter::CallBlock(const Stmt& statement, const ScopePtr& scope) {
  const Value caller = MacroValue(statement, scope);
  AWQ_ASSIGN(const Value value, CallExpr(*statement.values[0], scope, &caller));
  return WriteValue(value);
}

Status Interpreter::Write(std::string_view text) {
  AWQ_TRY(machine_.meter().Make(text.size()));
  AWQ_TRY(machine_.meter().Fits(out_.size() + text.size()));
  out_ += text;
  return {};
}

Status Interpreter::WriteValue(const Value& value) {
  if (value.is_text()) return Write(value.utf8());
  AWQ_ASSIGN(const std::string text, Str(machine_.meter(), value));
  return Write(text);
}

Status Interpreter::Assign(const Target& target, const Value& value, const ScopePtr& scope) {
  Meter& meter = machine_.meter();
  if (target.is_tuple) {
    AWQ_ASSIGN(const std::vector<Value> parts, Iterate(meter, value));
    if (parts.size() != target.parts.size()) {
      return MakeError(ErrorCode::kInvalidArgument, "{} values for {} names", parts.size(),
                       target.parts.size());
    }
    for (std::size_t i = 0; i < parts.size(); ++i) {
      AWQ_TRY(Assign(target.parts[i], parts[i], scope));
    }
    return {};
  }
  if (target.member.empty()) {
    scope->names[target.name] = value;
    return {};
  }
  AWQ_ASSIGN(const Value object, Find(target.name, scope));
  Namespace* space = object.name_space();
  if (space == nullptr || target.member.starts_with('_')) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "{}.{} cannot be set: it is no member of a namespace", target.name,
                     target.member);
  }
  AWQ_TRY(meter.Make(2 * sizeof(Value)));
  return space->members.Set(Value::Plain(target.member), value);
}

}  // namespace awq::text::jinja
