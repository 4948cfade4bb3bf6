#include "text/jinja/expression_parser.h"

#include "text/jinja/machine.h"

namespace awq::text::jinja {
namespace {

constexpr std::size_t kMostNesting = 100;

bool IsConstantName(std::string_view name) {
  return name == "true" || name == "True" || name == "false" || name == "False" || name == "none" ||
         name == "None";
}

}  // namespace

Status ExpressionParser::Nesting::Check() const {
  if (parser_.depth_ <= kMostNesting) return {};
  return MakeError(ErrorCode::kUnsupported, "line {}: nested deeper than {} levels",
                   parser_.current().line, kMostNesting);
}

bool ExpressionParser::IsName(std::string_view name) const {
  return current().kind == TokenKind::kName && current().text == name;
}

bool ExpressionParser::IsOperator(std::string_view op) const {
  return current().kind == TokenKind::kOperator && current().text == op;
}

bool ExpressionParser::SkipName(std::string_view name) {
  if (!IsName(name)) return false;
  Take();
  return true;
}

bool ExpressionParser::SkipOperator(std::string_view op) {
  if (!IsOperator(op)) return false;
  Take();
  return true;
}

Error ExpressionParser::Wrong(std::string_view what) const {
  return MakeError(ErrorCode::kCorrupt, "line {}: {}", current().line, what);
}

Error ExpressionParser::Unexpected(std::string_view expected) const {
  static constexpr std::string_view kKinds[] = {
      "text", "{{", "}}", "{%", "%}", "", "a string", "", "", "", "the end of the template"};
  const std::string_view kind = kKinds[static_cast<int>(current().kind)];
  return Wrong(
      fmt::format("expected {}, found {}", expected, kind.empty() ? current().text : kind));
}

Status ExpressionParser::Expect(TokenKind kind) {
  if (current().kind != kind) {
    return Unexpected(kind == TokenKind::kBlockEnd      ? "%}"
                      : kind == TokenKind::kVariableEnd ? "}}"
                                                        : "a name");
  }
  Take();
  return {};
}

Status ExpressionParser::ExpectOperator(std::string_view op) {
  return SkipOperator(op) ? Status() : Unexpected(op);
}

Status ExpressionParser::ExpectName(std::string_view name) {
  return SkipName(name) ? Status() : Unexpected(name);
}

Result<std::string> ExpressionParser::TakeName() {
  if (current().kind != TokenKind::kName) return Unexpected("a name");
  return Take().text;
}

Status ExpressionParser::CheckKnown() const {
  if (unknown_.empty()) return {};
  return unknown_.front();
}

ExprPtr ExpressionParser::New(ExprKind kind) const {
  auto made = std::make_unique<Expr>();
  made->kind = kind;
  made->line = current().line;
  return made;
}

ExprPtr ExpressionParser::New(ExprKind kind, ExprPtr part) const {
  auto made = New(kind);
  if (part != nullptr) made->line = part->line;
  made->parts.push_back(std::move(part));
  return made;
}

Result<ExprPtr> ExpressionParser::Expression() {
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  const std::size_t unknown = unknown_.size();
  AWQ_ASSIGN(ExprPtr value, Or());
  // a if b if c is (a if b) if c; the part behind else takes all that follows.
  for (std::size_t count = 0; SkipName("if"); ++count) {
    if (count == kMostNesting) return Wrong("too many conditions in a row");
    ExprPtr conditional = New(ExprKind::kConditional, std::move(value));
    AWQ_ASSIGN(ExprPtr condition, Or());
    conditional->parts.push_back(std::move(condition));
    ExprPtr otherwise;
    if (SkipName("else")) {
      AWQ_ASSIGN(otherwise, Expression());
    }
    conditional->parts.push_back(std::move(otherwise));
    value = std::move(conditional);
    unknown_.resize(unknown);  // it is a branch
  }
  return value;
}

template <class Op>
Result<ExprPtr> ExpressionParser::Chain(
    Result<ExprPtr> (ExpressionParser::*part)(),
    std::initializer_list<std::pair<std::string_view, Op>> ops) {
  AWQ_ASSIGN(ExprPtr value, (this->*part)());
  ExprPtr chain;
  for (;;) {
    const auto op = std::find_if(ops.begin(), ops.end(),
                                 [&](const auto& each) { return IsOperator(each.first); });
    if (op == ops.end()) return chain != nullptr ? std::move(chain) : std::move(value);
    Take();
    if (chain == nullptr) chain = New(ExprKind::kBinary, std::move(value));
    AWQ_ASSIGN(ExprPtr next, (this->*part)());
    chain->ops.push_back(op->second);
    chain->parts.push_back(std::move(next));
  }
}

Result<ExprPtr> ExpressionParser::Or() {
  AWQ_ASSIGN(ExprPtr value, And());
  if (!IsName("or")) return value;
  ExprPtr any = New(ExprKind::kOr, std::move(value));
  while (SkipName("or")) {
    AWQ_ASSIGN(ExprPtr next, And());
    any->parts.push_back(std::move(next));
  }
  return any;
}

Result<ExprPtr> ExpressionParser::And() {
  AWQ_ASSIGN(ExprPtr value, Not());
  if (!IsName("and")) return value;
  ExprPtr all = New(ExprKind::kAnd, std::move(value));
  while (SkipName("and")) {
    AWQ_ASSIGN(ExprPtr next, Not());
    all->parts.push_back(std::move(next));
  }
  return all;
}

Result<ExprPtr> ExpressionParser::Not() {
  if (!IsName("not")) return Comparison();
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  Take();
  AWQ_ASSIGN(ExprPtr value, Not());
  return New(ExprKind::kNot, std::move(value));
}

Result<ExprPtr> ExpressionParser::Comparison() {
  static constexpr std::pair<std::string_view, CompareOp> kOps[] = {
      {"==", CompareOp::kEq}, {"!=", CompareOp::kNe}, {"<", CompareOp::kLt},
      {"<=", CompareOp::kLe}, {">", CompareOp::kGt},  {">=", CompareOp::kGe}};
  AWQ_ASSIGN(ExprPtr value, Sum());
  ExprPtr comparison;
  for (;;) {
    std::optional<CompareOp> op;
    for (const auto& [text, each] : kOps) {
      if (IsOperator(text)) op = each;
    }
    if (IsName("in")) op = CompareOp::kIn;
    if (IsName("not") && following().kind == TokenKind::kName && following().text == "in") {
      Take();
      op = CompareOp::kNotIn;
    }
    if (!op) return comparison != nullptr ? std::move(comparison) : std::move(value);
    Take();
    if (comparison == nullptr) comparison = New(ExprKind::kCompare, std::move(value));
    AWQ_ASSIGN(ExprPtr next, Sum());
    comparison->compares.push_back(*op);
    comparison->parts.push_back(std::move(next));
  }
}

Result<ExprPtr> ExpressionParser::Sum() {
  return Chain<BinaryOp>(&ExpressionParser::Concatenation,
                         {{"+", BinaryOp::kAdd}, {"-", BinaryOp::kSub}});
}

Result<ExprPtr> ExpressionParser::Concatenation() {
  AWQ_ASSIGN(ExprPtr value, Product());
  if (!IsOperator("~")) return value;
  ExprPtr all = New(ExprKind::kConcat, std::move(value));
  while (SkipOperator("~")) {
    AWQ_ASSIGN(ExprPtr next, Product());
    all->parts.push_back(std::move(next));
  }
  return all;
}

Result<ExprPtr> ExpressionParser::Product() {
  return Chain<BinaryOp>(&ExpressionParser::Power, {{"*", BinaryOp::kMul},
                                                    {"/", BinaryOp::kDiv},
                                                    {"//", BinaryOp::kFloorDiv},
                                                    {"%", BinaryOp::kMod}});
}

Result<ExprPtr> ExpressionParser::Power() {
  AWQ_ASSIGN(ExprPtr value, Unary(/*with_filters=*/true));
  ExprPtr chain;
  while (SkipOperator("**")) {
    if (chain == nullptr) chain = New(ExprKind::kBinary, std::move(value));
    AWQ_ASSIGN(ExprPtr next, Unary(true));
    chain->ops.push_back(BinaryOp::kPow);
    chain->parts.push_back(std::move(next));
  }
  return chain != nullptr ? std::move(chain) : std::move(value);
}

Result<ExprPtr> ExpressionParser::Unary(bool with_filters) {
  ExprPtr value;
  if (IsOperator("-") || IsOperator("+")) {
    const Nesting nesting(*this);
    AWQ_TRY(nesting.Check());
    const bool is_minus = Take().text == "-";
    AWQ_ASSIGN(ExprPtr operand, Unary(/*with_filters=*/false));
    value = New(is_minus ? ExprKind::kNegative : ExprKind::kPositive, std::move(operand));
  } else {
    AWQ_ASSIGN(value, Primary());
  }
  AWQ_ASSIGN(value, Postfix(std::move(value)));
  return with_filters ? FiltersAndTests(std::move(value)) : Result<ExprPtr>(std::move(value));
}

Result<ExprPtr> ExpressionParser::Primary() {
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  const TokenKind kind = current().kind;
  if (kind == TokenKind::kName) return NamePrimary();
  if (IsOperator("[")) return List();
  if (IsOperator("{")) return DictDisplay();
  if (SkipOperator("(")) {
    ExprPtr inside;
    if (IsOperator(")")) {
      inside = New(ExprKind::kTuple);
    } else {
      AWQ_ASSIGN(inside, Tuple(/*with_conditional=*/true));
    }
    AWQ_TRY(ExpectOperator(")"));
    return inside;
  }
  ExprPtr constant = New(ExprKind::kConstant);
  if (kind == TokenKind::kString) {
    std::string text;
    while (current().kind == TokenKind::kString) text += Take().text;
    constant->constant = Value::Plain(text);
  } else if (kind == TokenKind::kInteger) {
    constant->constant = Value(Take().integer);
  } else if (kind == TokenKind::kFloat) {
    constant->constant = Value(Take().number);
  } else {
    return Unexpected("an expression");
  }
  return constant;
}

Result<ExprPtr> ExpressionParser::NamePrimary() {
  ExprPtr name = New(ExprKind::kName);
  name->name = Take().text;
  special_.caller = special_.caller || name->name == "caller";
  special_.rest = special_.rest || name->name == "varargs";
  special_.named_rest = special_.named_rest || name->name == "kwargs";
  if (IsConstantName(name->name)) {
    name->kind = ExprKind::kConstant;
    const char first = static_cast<char>(name->name[0] | 0x20);
    if (first != 'n') name->constant = Value(first == 't');
  }
  return name;
}

Result<ExprPtr> ExpressionParser::List() {
  ExprPtr list = New(ExprKind::kList);
  AWQ_TRY(ExpectOperator("["));
  while (!SkipOperator("]")) {
    if (!list->parts.empty()) {
      AWQ_TRY(ExpectOperator(","));
      if (SkipOperator("]")) break;
    }
    AWQ_ASSIGN(ExprPtr item, Expression());
    list->parts.push_back(std::move(item));
  }
  return list;
}

Result<ExprPtr> ExpressionParser::DictDisplay() {
  ExprPtr dict = New(ExprKind::kDict);
  AWQ_TRY(ExpectOperator("{"));
  while (!SkipOperator("}")) {
    if (!dict->parts.empty()) {
      AWQ_TRY(ExpectOperator(","));
      if (SkipOperator("}")) break;
    }
    AWQ_ASSIGN(ExprPtr key, Expression());
    AWQ_TRY(ExpectOperator(":"));
    AWQ_ASSIGN(ExprPtr value, Expression());
    dict->parts.push_back(std::move(key));
    dict->parts.push_back(std::move(value));
  }
  return dict;
}

Result<ExprPtr> ExpressionParser::Tuple(bool with_conditional, std::string_view end) {
  ExprPtr tuple = New(ExprKind::kTuple);
  bool is_tuple = false;
  const auto ends = [&] {
    return current().kind == TokenKind::kVariableEnd || current().kind == TokenKind::kBlockEnd ||
           IsOperator(")") || (!end.empty() && IsName(end));
  };
  while (!ends()) {
    AWQ_ASSIGN(ExprPtr item, with_conditional ? Expression() : Or());
    tuple->parts.push_back(std::move(item));
    if (!SkipOperator(",")) break;
    is_tuple = true;
  }
  if (is_tuple) return tuple;
  if (tuple->parts.empty()) return Unexpected("an expression");
  return std::move(tuple->parts.front());
}

Result<Target> ExpressionParser::AssignTarget(bool may_be_member, std::string_view end) {
  Target target;
  for (;;) {
    AWQ_ASSIGN(Target part, OneTarget(may_be_member));
    target.parts.push_back(std::move(part));
    if (!SkipOperator(",")) break;
    target.is_tuple = true;
    if (current().kind == TokenKind::kBlockEnd || IsOperator(")")) break;
    if (!end.empty() && IsName(end)) break;
  }
  if (target.is_tuple) return target;
  Target only = std::move(target.parts.front());
  return only;
}

Result<Target> ExpressionParser::OneTarget(bool may_be_member) {
  const Nesting nesting(*this);
  AWQ_TRY(nesting.Check());
  if (SkipOperator("(")) {
    AWQ_ASSIGN(Target inside, AssignTarget(/*may_be_member=*/false));
    AWQ_TRY(ExpectOperator(")"));
    return inside;
  }
  Target target;
  AWQ_ASSIGN(target.name, TakeName());
  if (IsConstantName(target.name)) return Wrong(fmt::format("{} cannot be set", target.name));
  if (may_be_member && SkipOperator(".")) {
    AWQ_ASSIGN(target.member, TakeName());
  }
  return target;
}

}  // namespace awq::text::jinja
