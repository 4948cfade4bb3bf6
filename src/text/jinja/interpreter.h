// Runs a parsed template.
#pragma once

#include <awq/result.h>

#include <map>
#include <memory>
#include <string>

#include "text/jinja/ast.h"
#include "text/jinja/machine.h"

namespace awq::text::jinja {

// The text that the template makes of the variables. Errors say the line.
Result<std::string> Run(const Block& block, const Dict& variables, Machine& machine);

// Names and what encloses them.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outside) : parent(std::move(outside)) {}
  std::shared_ptr<Scope> parent;  // null: the template's variables
  std::map<std::string, Value, std::less<>> names;
};
using ScopePtr = std::shared_ptr<Scope>;

enum class Flow : std::uint8_t { kOn, kBreak, kContinue };

class Interpreter {
 public:
  Interpreter(Machine& machine, const Dict& variables) : machine_(machine), variables_(variables) {}

  Result<Flow> Execute(const Block& block, const ScopePtr& scope);
  std::size_t line() const { return line_; }  // that was come to last
  std::string TakeOutput() { return std::move(out_); }

 private:
  // What `work` writes, as a text of its own.
  template <class Work>
  Result<Value> Captured(Work work);

  // statements.cc
  Result<Flow> Execute(const Stmt& statement, const ScopePtr& scope);
  Result<Flow> If(const Stmt& statement, const ScopePtr& scope);
  Result<Flow> For(const Stmt& statement, const ScopePtr& scope);
  Result<Flow> LoopOver(const Stmt& statement, const Value& items, std::size_t level,
                        const ScopePtr& scope);
  Result<std::vector<Value>> Chosen(const Stmt& statement, const Value& items,
                                    const ScopePtr& scope);
  Status SetBlock(const Stmt& statement, const ScopePtr& scope);
  Status FilterBlock(const Stmt& statement, const ScopePtr& scope);
  Result<Value> Filtered(const Expr* filter, Value text, const ScopePtr& scope);
  Result<Flow> With(const Stmt& statement, const ScopePtr& scope);
  Status CallBlock(const Stmt& statement, const ScopePtr& scope);
  Status Write(std::string_view text);
  Status WriteValue(const Value& value);
  Status Assign(const Target& target, const Value& value, const ScopePtr& scope);

  // calls.cc
  Value MacroValue(const Stmt& statement, const ScopePtr& scope);
  Result<Value> CallMacro(const Stmt& statement, const std::weak_ptr<Scope>& defined_in,
                          const Arguments& arguments);
  Status BindParameters(const Stmt& statement, const Arguments& arguments, const ScopePtr& scope);
  Result<Arguments> Evaluate(const CallExprs& exprs, const ScopePtr& scope);
  Result<Value> CallExpr(const Expr& expr, const ScopePtr& scope, const Value* caller);

  // expressions.cc
  Result<Value> Evaluate(const Expr& expr, const ScopePtr& scope);
  Result<Value> Find(const std::string& name, const ScopePtr& scope);
  Result<Value> Compute(const Expr& expr, const ScopePtr& scope);
  Result<Value> Several(const Expr& expr, const ScopePtr& scope);
  Result<Value> Junction(const Expr& expr, const ScopePtr& scope);
  Result<Value> Comparison(const Expr& expr, const ScopePtr& scope);
  Result<Value> Chain(const Expr& expr, const ScopePtr& scope);
  Result<Value> Concatenation(const Expr& expr, const ScopePtr& scope);
  Result<Value> Conditional(const Expr& expr, const ScopePtr& scope);
  Result<Value> Part(const Expr& expr, const ScopePtr& scope);

  Machine& machine_;
  const Dict& variables_;
  std::string out_;
  std::size_t line_ = 1;
};

template <class Work>
Result<Value> Interpreter::Captured(Work work) {
  std::string outside = std::exchange(out_, std::string());
  const Status done = work();
  std::string inside = std::exchange(out_, std::move(outside));
  if (!done) return done.error();
  return MakeText(machine_.meter(), std::move(inside));
}

}  // namespace awq::text::jinja
