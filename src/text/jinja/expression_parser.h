// Tokens -> expressions, by jinja2's grammar.
#pragma once

#include <awq/result.h>

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace awq::text::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& following() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token Take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool IsName(std::string_view name) const;
  bool IsOperator(std::string_view op) const;
  bool SkipName(std::string_view name);
  bool SkipOperator(std::string_view op);
  Status Expect(TokenKind kind);
  Status ExpectOperator(std::string_view op);
  Status ExpectName(std::string_view name);
  Result<std::string> TakeName();
  Error Unexpected(std::string_view expected) const;
  Error Wrong(std::string_view what) const;  // with the line

  Result<ExprPtr> Expression();  // with an inline if
  // One expression, or several between commas as a tuple, up to the end of the tag or to `end`.
  Result<ExprPtr> Tuple(bool with_conditional, std::string_view end = "");
  Result<Target> AssignTarget(bool may_be_member, std::string_view end = "");
  Result<CallExprs> Arguments();
  // |a|b(c) behind `value`, which may be null.
  Result<ExprPtr> Filters(ExprPtr value);
  Result<ExprPtr> FilterNamed(ExprPtr value);

  // Filters and tests that are not there are refused before anything runs, but for those in
  // branches (`set_in_branch`), which may not come to run.
  bool set_in_branch(bool in_branch) { return std::exchange(in_branch_, in_branch); }
  Status CheckKnown() const;

  // Names that stood in expressions since the last call, of those that macros treat as special.
  struct Special {
    bool caller = false;
    bool rest = false;
    bool named_rest = false;
  };
  Special& special() { return special_; }

  // As long as it lives, something is parsed inside of something else.
  class Nesting {
   public:
    explicit Nesting(ExpressionParser& parser) : parser_(parser) { ++parser.depth_; }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    Status Check() const;

   private:
    ExpressionParser& parser_;
  };

 private:
  ExprPtr New(ExprKind kind) const;
  ExprPtr New(ExprKind kind, ExprPtr part) const;
  Result<ExprPtr> Or();
  Result<ExprPtr> And();
  Result<ExprPtr> Not();
  Result<ExprPtr> Comparison();
  Result<ExprPtr> Sum();
  Result<ExprPtr> Concatenation();
  Result<ExprPtr> Product();
  Result<ExprPtr> Power();
  Result<ExprPtr> Unary(bool with_filters);
  Result<ExprPtr> Primary();
  Result<ExprPtr> NamePrimary();
  Result<ExprPtr> List();
  Result<ExprPtr> DictDisplay();
  Result<ExprPtr> Postfix(ExprPtr value);
  Result<ExprPtr> FiltersAndTests(ExprPtr value);
  Status CheckChain(std::size_t links) const;
  Result<ExprPtr> Member(ExprPtr object);
  Result<ExprPtr> SubscriptOf(ExprPtr object);
  Result<ExprPtr> Call(ExprPtr function);
  Result<ExprPtr> Test(ExprPtr value);
  Result<Target> OneTarget(bool may_be_member);
  template <class Op>
  Result<ExprPtr> Chain(Result<ExprPtr> (ExpressionParser::*part)(),
                        std::initializer_list<std::pair<std::string_view, Op>> ops);

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  bool in_branch_ = false;
  std::vector<Error> unknown_;
  Special special_;
};

}  // namespace awq::text::jinja
