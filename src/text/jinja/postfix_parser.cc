// What stands behind a value: members, subscripts, calls, filters and tests.
#include "text/jinja/expression_parser.h"
#include "text/jinja/machine.h"

namespace awq::text::jinja {

Result<ExprPtr> ExpressionParser::Postfix(ExprPtr value) {
  for (std::size_t count = 0;; ++count) {
    if (!IsOperator(".") && !IsOperator("[") && !IsOperator("(")) return value;
    AWQ_TRY(CheckChain(count));
    AWQ_ASSIGN(value, IsOperator(".")   ? Member(std::move(value))
                      : IsOperator("[") ? SubscriptOf(std::move(value))
                                        : Call(std::move(value)));
  }
}

Result<ExprPtr> ExpressionParser::FiltersAndTests(ExprPtr value) {
  for (std::size_t count = 0;; ++count) {
    AWQ_TRY(CheckChain(count));
    if (IsOperator("|")) {
      AWQ_ASSIGN(value, Filters(std::move(value)));
    } else if (IsName("is")) {
      AWQ_ASSIGN(value, Test(std::move(value)));
    } else if (IsOperator("(")) {
      AWQ_ASSIGN(value, Call(std::move(value)));
    } else {
      return value;
    }
  }
}

// Each link is evaluated inside of the next.
Status ExpressionParser::CheckChain(std::size_t links) const {
  constexpr std::size_t kMostLinks = 100;
  if (links <= kMostLinks) return {};
  return Wrong(fmt::format("more than {} members, calls or filters in a row", kMostLinks));
}

Result<ExprPtr> ExpressionParser::Member(ExprPtr object) {
  AWQ_TRY(ExpectOperator("."));
  if (current().kind == TokenKind::kInteger) {
    ExprPtr subscript = New(ExprKind::kSubscript, std::move(object));
    ExprPtr index = New(ExprKind::kConstant);
    index->constant = Value(Take().integer);
    subscript->parts.push_back(std::move(index));
    return subscript;
  }
  ExprPtr member = New(ExprKind::kAttribute, std::move(object));
  AWQ_ASSIGN(member->name, TakeName());
  return member;
}

Result<ExprPtr> ExpressionParser::SubscriptOf(ExprPtr object) {
  ExprPtr subscript = New(ExprKind::kSubscript, std::move(object));
  AWQ_TRY(ExpectOperator("["));
  std::vector<ExprPtr> bounds(1);
  bool is_slice = false;
  for (;;) {
    if (SkipOperator(":")) {
      if (bounds.size() == 3) return Unexpected("]");
      is_slice = true;
      bounds.emplace_back();
    } else if (SkipOperator("]")) {
      break;
    } else if (bounds.back() != nullptr) {
      return Unexpected("]");
    } else {
      AWQ_ASSIGN(bounds.back(), Expression());
    }
  }
  if (is_slice) {
    subscript->kind = ExprKind::kSlice;
    bounds.resize(3);
  } else if (bounds.front() == nullptr) {
    return Wrong("a subscript without an index");
  }
  for (ExprPtr& bound : bounds) subscript->parts.push_back(std::move(bound));
  return subscript;
}

Result<ExprPtr> ExpressionParser::Call(ExprPtr function) {
  ExprPtr call = New(ExprKind::kCall, std::move(function));
  AWQ_ASSIGN(call->arguments, Arguments());
  return call;
}

Result<CallExprs> ExpressionParser::Arguments() {
  CallExprs arguments;
  AWQ_TRY(ExpectOperator("("));
  for (bool first = true; !SkipOperator(")"); first = false) {
    if (!first) {
      AWQ_TRY(ExpectOperator(","));
      if (SkipOperator(")")) break;
    }
    if (arguments.named_rest != nullptr) return Wrong("an argument behind **");
    const bool is_named = current().kind == TokenKind::kName &&
                          following().kind == TokenKind::kOperator && following().text == "=";
    if (SkipOperator("**")) {
      AWQ_ASSIGN(arguments.named_rest, Expression());
    } else if (is_named) {
      std::string name = Take().text;
      Take();
      AWQ_ASSIGN(ExprPtr value, Expression());
      arguments.named.emplace_back(std::move(name), std::move(value));
    } else if (arguments.rest != nullptr) {
      return Wrong("an argument behind *");
    } else if (SkipOperator("*")) {
      AWQ_ASSIGN(arguments.rest, Expression());
    } else {
      if (!arguments.named.empty()) return Wrong("an argument behind one with a name");
      AWQ_ASSIGN(ExprPtr value, Expression());
      arguments.positional.push_back(std::move(value));
    }
  }
  return arguments;
}

Result<ExprPtr> ExpressionParser::Filters(ExprPtr value) {
  for (std::size_t count = 0; SkipOperator("|"); ++count) {
    AWQ_TRY(CheckChain(count));
    AWQ_ASSIGN(value, FilterNamed(std::move(value)));
  }
  return value;
}

Result<ExprPtr> ExpressionParser::FilterNamed(ExprPtr value) {
  ExprPtr filter = New(ExprKind::kFilter, std::move(value));
  AWQ_ASSIGN(filter->name, TakeName());
  while (SkipOperator(".")) {
    AWQ_ASSIGN(const std::string more, TakeName());
    filter->name += "." + more;
  }
  if (!in_branch_ && FindFilter(filter->name) == nullptr) {
    unknown_.push_back(MakeError(ErrorCode::kUnsupported, "line {}: there is no filter {}{}",
                                 filter->line, filter->name,
                                 IsKnownFilter(filter->name) ? " here" : ""));
  }
  if (IsOperator("(")) {
    AWQ_ASSIGN(filter->arguments, Arguments());
  }
  return filter;
}

Result<ExprPtr> ExpressionParser::Test(ExprPtr value) {
  AWQ_TRY(ExpectName("is"));
  const bool is_negated = SkipName("not");
  ExprPtr test = New(ExprKind::kTest, std::move(value));
  AWQ_ASSIGN(test->name, TakeName());
  if (!in_branch_ && FindTest(test->name) == nullptr) {
    unknown_.push_back(
        MakeError(ErrorCode::kUnsupported, "line {}: there is no test {}", test->line, test->name));
  }
  const TokenKind kind = current().kind;
  const bool has_argument =
      (kind == TokenKind::kName && !IsName("else") && !IsName("or") && !IsName("and")) ||
      kind == TokenKind::kString || kind == TokenKind::kInteger || kind == TokenKind::kFloat ||
      IsOperator("[") || IsOperator("{");
  if (IsOperator("(")) {
    AWQ_ASSIGN(test->arguments, Arguments());
  } else if (has_argument) {
    if (IsName("is")) return Wrong("tests cannot be chained with is");
    AWQ_ASSIGN(ExprPtr argument, Primary());
    AWQ_ASSIGN(argument, Postfix(std::move(argument)));
    test->arguments.positional.push_back(std::move(argument));
  }
  return is_negated ? New(ExprKind::kNot, std::move(test)) : std::move(test);
}

}  // namespace awq::text::jinja
