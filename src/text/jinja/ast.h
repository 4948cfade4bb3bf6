// A parsed template.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/operators.h"
#include "text/jinja/value.h"

namespace awq::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallExprs {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr rest;        // *rest
  ExprPtr named_rest;  // **named_rest
};

enum class ExprKind : std::uint8_t {
  kConstant,
  kName,
  kList,
  kTuple,
  kDict,         // parts: key, value, key, value, ...
  kAttribute,    // parts[0].name
  kSubscript,    // parts[0][parts[1]]
  kSlice,        // parts[0][parts[1]:parts[2]:parts[3]]; any of the last three may be null
  kCall,         // parts[0](arguments)
  kFilter,       // parts[0]|name(arguments); parts[0] is null in front of a block
  kTest,         // parts[0] is name(arguments)
  kNot,          // of parts[0]
  kAnd,          // of all parts
  kOr,           //
  kCompare,      // parts[0] compares[0] parts[1] compares[1] parts[2] ...
  kBinary,       // parts[0] ops[0] parts[1] ops[1] ..., from the left
  kConcat,       // parts[0] ~ parts[1] ~ ...
  kNegative,     //
  kPositive,     //
  kConditional,  // parts[0] if parts[1] else parts[2], which may be null
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  std::size_t line = 1;
  std::string name;
  Value constant;
  std::vector<ExprPtr> parts;
  std::vector<BinaryOp> ops;
  std::vector<CompareOp> compares;
  CallExprs arguments;
};

// What is assigned to: a name, a namespace's member, or several.
struct Target {
  std::string name;
  std::string member;  // of the namespace `name`; may be empty
  bool is_tuple = false;
  std::vector<Target> parts;
};

struct Stmt;
using Block = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: none
};

// Of a macro, or of a {% call %} block.
struct Signature {
  std::string name;
  std::vector<Parameter> parameters;
  // Whether the body speaks of them.
  bool wants_caller = false;
  bool wants_rest = false;        // varargs
  bool wants_named_rest = false;  // kwargs
};

enum class StmtKind : std::uint8_t {
  kText,      // text
  kPrint,     // values
  kIf,        // values[i] -> blocks[i]; one block more: else
  kFor,       // targets[0] in values[0] if values[1], which may be null: blocks[0], else blocks[1]
  kSet,       // targets[0] = values[0]
  kSetBlock,  // targets[0] = blocks[0], through values[0], a filter, which may be null
  kFilter,    // blocks[0] through values[0]
  kWith,      // targets[i] = values[i] in blocks[0]
  kMacro,     // signature: blocks[0]
  kCall,      // values[0], a call, with signature: blocks[0] as its caller
  kScope,     // blocks[0] with names of its own: {% generation %}
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  std::size_t line = 1;
  std::string text;
  std::vector<Target> targets;
  std::vector<ExprPtr> values;
  std::vector<Block> blocks;
  Signature signature;
  bool is_recursive = false;
};

}  // namespace awq::text::jinja
