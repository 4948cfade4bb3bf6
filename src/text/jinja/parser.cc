#include "text/jinja/parser.h"

#include <algorithm>
#include <array>
#include <initializer_list>

#include "text/jinja/expression_parser.h"

namespace awq::text::jinja {
namespace {

using namespace std::string_view_literals;
using StmtPtr = std::unique_ptr<Stmt>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : in_(std::move(tokens)) {}

  Result<Block> Run() {
    AWQ_ASSIGN(Block block, Until({}));
    AWQ_TRY(in_.CheckKnown());
    return block;
  }

 private:
  static StmtPtr New(StmtKind kind, std::size_t line) {
    auto made = std::make_unique<Stmt>();
    made->kind = kind;
    made->line = line;
    return made;
  }

  // Statements up to a tag of one of these names, which is then current; without names, up to the
  // end of the template.
  Result<Block> Until(std::initializer_list<std::string_view> ends) {
    Block block;
    for (;;) {
      const Token token = in_.Take();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() == 0) return block;
        return in_.Unexpected(fmt::format("{{% {} %}}", *std::prev(ends.end())));
      }
      if (token.kind == TokenKind::kData) {
        block.push_back(New(StmtKind::kText, token.line));
        block.back()->text = token.text;
      } else if (token.kind == TokenKind::kVariableBegin) {
        block.push_back(New(StmtKind::kPrint, token.line));
        AWQ_ASSIGN(ExprPtr value, in_.Tuple(/*with_conditional=*/true));
        block.back()->values.push_back(std::move(value));
        AWQ_TRY(in_.Expect(TokenKind::kVariableEnd));
      } else {
        if (std::any_of(ends.begin(), ends.end(), [&](auto end) { return in_.IsName(end); })) {
          return block;
        }
        AWQ_ASSIGN(StmtPtr statement, Statement());
        block.push_back(std::move(statement));
        AWQ_TRY(in_.Expect(TokenKind::kBlockEnd));
      }
    }
  }

  // From the end of the opening tag to one of `ends`.
  Result<Block> Body(std::initializer_list<std::string_view> ends) {
    in_.SkipOperator(":");
    AWQ_TRY(in_.Expect(TokenKind::kBlockEnd));
    return Until(ends);
  }
  // The same, past the end, into the statement.
  Status BodyOf(Stmt& statement, std::string_view end) {
    const bool in_branch = in_.set_in_branch(false);
    AWQ_ASSIGN(Block body, Body({end}));
    in_.Take();
    in_.set_in_branch(in_branch);
    statement.blocks.push_back(std::move(body));
    return {};
  }

  Result<StmtPtr> Statement() {
    const ExpressionParser::Nesting nesting(in_);
    AWQ_TRY(nesting.Check());
    static constexpr std::pair<std::string_view, Result<StmtPtr> (Parser::*)()> kStatements[] = {
        {"if", &Parser::If},       {"for", &Parser::For},       {"set", &Parser::Set},
        {"macro", &Parser::Macro}, {"call", &Parser::Call},     {"filter", &Parser::Filter},
        {"with", &Parser::With},   {"print", &Parser::Print},   {"generation", &Parser::Scope},
        {"break", &Parser::Break}, {"continue", &Parser::Break}};
    for (const auto& [name, parse] : kStatements) {
      if (in_.IsName(name)) return (this->*parse)();
    }
    static constexpr std::array kOthers = {"block"sv, "extends"sv, "include"sv,
                                           "from"sv,  "import"sv,  "autoescape"sv};
    if (in_.current().kind != TokenKind::kName) return in_.Unexpected("the name of a tag");
    const std::string& name = in_.current().text;
    if (std::ranges::find(kOthers, name) == kOthers.end()) {
      return in_.Wrong(fmt::format("there is no tag {} at this place", name));
    }
    return MakeError(ErrorCode::kUnsupported, "line {}: {{% {} %}} is not supported",
                     in_.current().line, name);
  }

  Result<StmtPtr> If() {
    StmtPtr statement = New(StmtKind::kIf, in_.current().line);
    const bool in_branch = in_.set_in_branch(true);
    do {
      in_.Take();
      AWQ_ASSIGN(ExprPtr condition, in_.Tuple(/*with_conditional=*/false));
      AWQ_ASSIGN(Block body, Body({"elif", "else", "endif"}));
      statement->values.push_back(std::move(condition));
      statement->blocks.push_back(std::move(body));
    } while (in_.IsName("elif"));
    if (in_.SkipName("else")) {
      AWQ_ASSIGN(Block otherwise, Body({"endif"}));
      statement->blocks.push_back(std::move(otherwise));
    }
    in_.Take();
    in_.set_in_branch(in_branch);
    return statement;
  }

  static bool Names(const Target& target, std::string_view name) {
    return target.name == name ||
           std::ranges::any_of(target.parts, [&](const Target& part) { return Names(part, name); });
  }

  Result<StmtPtr> For() {
    StmtPtr statement = New(StmtKind::kFor, in_.Take().line);
    AWQ_ASSIGN(Target target, in_.AssignTarget(/*may_be_member=*/false, "in"));
    if (Names(target, "loop")) return in_.Wrong("loop cannot be set by a loop");
    statement->targets.push_back(std::move(target));
    AWQ_TRY(in_.ExpectName("in"));
    AWQ_ASSIGN(ExprPtr items, in_.Tuple(/*with_conditional=*/false, "recursive"));
    statement->values.push_back(std::move(items));
    const bool in_branch = in_.set_in_branch(false);
    ExprPtr condition;
    if (in_.SkipName("if")) {
      AWQ_ASSIGN(condition, in_.Expression());
    }
    statement->values.push_back(std::move(condition));
    statement->is_recursive = in_.SkipName("recursive");
    ++loops_;
    AWQ_ASSIGN(Block body, Body({"else", "endfor"}));
    --loops_;
    statement->blocks.push_back(std::move(body));
    if (in_.SkipName("else")) {
      AWQ_ASSIGN(Block otherwise, Body({"endfor"}));
      statement->blocks.push_back(std::move(otherwise));
    }
    in_.Take();
    in_.set_in_branch(in_branch);
    return statement;
  }

  Result<StmtPtr> Set() {
    StmtPtr statement = New(StmtKind::kSet, in_.Take().line);
    AWQ_ASSIGN(Target target, in_.AssignTarget(/*may_be_member=*/true));
    if (loops_ > 0 && Names(target, "loop"))
      return in_.Wrong("loop cannot be set inside of a loop");
    statement->targets.push_back(std::move(target));
    if (in_.SkipOperator("=")) {
      AWQ_ASSIGN(ExprPtr value, in_.Tuple(/*with_conditional=*/true));
      statement->values.push_back(std::move(value));
      return statement;
    }
    statement->kind = StmtKind::kSetBlock;
    AWQ_ASSIGN(ExprPtr filters, in_.Filters(nullptr));
    statement->values.push_back(std::move(filters));
    AWQ_TRY(BodyOf(*statement, "endset"));
    return statement;
  }

  Result<Signature> ReadSignature() {
    Signature signature;
    AWQ_TRY(in_.ExpectOperator("("));
    while (!in_.SkipOperator(")")) {
      if (!signature.parameters.empty()) AWQ_TRY(in_.ExpectOperator(","));
      Parameter parameter;
      AWQ_ASSIGN(parameter.name, in_.TakeName());
      if (in_.SkipOperator("=")) {
        AWQ_ASSIGN(parameter.fallback, in_.Expression());
      } else if (!signature.parameters.empty() && signature.parameters.back().fallback != nullptr) {
        return in_.Wrong("a parameter without a default behind one that has it");
      }
      signature.parameters.push_back(std::move(parameter));
    }
    return signature;
  }

  // The body, and what of a macro's special names it speaks of.
  Status MacroBody(Stmt& statement, std::string_view end) {
    const ExpressionParser::Special outside = std::exchange(in_.special(), {});
    const std::size_t loops = std::exchange(loops_, 0);
    AWQ_TRY(BodyOf(statement, end));
    loops_ = loops;
    const ExpressionParser::Special inside = in_.special();
    const auto is_parameter = [&](std::string_view name) {
      return std::ranges::any_of(statement.signature.parameters,
                                 [&](const Parameter& each) { return each.name == name; });
    };
    statement.signature.wants_caller = inside.caller && !is_parameter("caller");
    statement.signature.wants_rest = inside.rest && !is_parameter("varargs");
    statement.signature.wants_named_rest = inside.named_rest && !is_parameter("kwargs");
    in_.special() = {.caller = outside.caller || inside.caller,
                     .rest = outside.rest || inside.rest,
                     .named_rest = outside.named_rest || inside.named_rest};
    return {};
  }

  Result<StmtPtr> Macro() {
    StmtPtr statement = New(StmtKind::kMacro, in_.Take().line);
    AWQ_ASSIGN(std::string name, in_.TakeName());
    AWQ_ASSIGN(statement->signature, ReadSignature());
    statement->signature.name = std::move(name);
    AWQ_TRY(MacroBody(*statement, "endmacro"));
    return statement;
  }

  Result<StmtPtr> Call() {
    StmtPtr statement = New(StmtKind::kCall, in_.Take().line);
    if (in_.IsOperator("(")) {
      AWQ_ASSIGN(statement->signature, ReadSignature());
    }
    statement->signature.name = "caller";
    AWQ_ASSIGN(ExprPtr call, in_.Expression());
    if (call->kind != ExprKind::kCall) return in_.Unexpected("a call");
    statement->values.push_back(std::move(call));
    AWQ_TRY(MacroBody(*statement, "endcall"));
    return statement;
  }

  Result<StmtPtr> Filter() {
    StmtPtr statement = New(StmtKind::kFilter, in_.Take().line);
    AWQ_ASSIGN(ExprPtr filter, in_.FilterNamed(nullptr));
    AWQ_ASSIGN(filter, in_.Filters(std::move(filter)));
    statement->values.push_back(std::move(filter));
    AWQ_TRY(BodyOf(*statement, "endfilter"));
    return statement;
  }

  Result<StmtPtr> With() {
    StmtPtr statement = New(StmtKind::kWith, in_.Take().line);
    while (in_.current().kind != TokenKind::kBlockEnd) {
      if (!statement->targets.empty()) AWQ_TRY(in_.ExpectOperator(","));
      AWQ_ASSIGN(Target target, in_.AssignTarget(/*may_be_member=*/false));
      AWQ_TRY(in_.ExpectOperator("="));
      AWQ_ASSIGN(ExprPtr value, in_.Expression());
      statement->targets.push_back(std::move(target));
      statement->values.push_back(std::move(value));
    }
    AWQ_TRY(BodyOf(*statement, "endwith"));
    return statement;
  }

  Result<StmtPtr> Print() {
    StmtPtr statement = New(StmtKind::kPrint, in_.Take().line);
    while (in_.current().kind != TokenKind::kBlockEnd) {
      if (!statement->values.empty()) AWQ_TRY(in_.ExpectOperator(","));
      AWQ_ASSIGN(ExprPtr value, in_.Expression());
      statement->values.push_back(std::move(value));
    }
    return statement;
  }

  Result<StmtPtr> Scope() {
    StmtPtr statement = New(StmtKind::kScope, in_.Take().line);
    const std::size_t loops = std::exchange(loops_, 0);
    AWQ_TRY(BodyOf(*statement, "endgeneration"));
    loops_ = loops;
    return statement;
  }

  Result<StmtPtr> Break() {
    if (loops_ == 0) return in_.Wrong("break or continue outside of a loop");
    const Token token = in_.Take();
    return New(token.text == "break" ? StmtKind::kBreak : StmtKind::kContinue, token.line);
  }

  ExpressionParser in_;
  std::size_t loops_ = 0;  // open around this place, in this function
};

}  // namespace

Result<Block> Parse(std::string_view source) {
  AWQ_ASSIGN(std::vector<Token> tokens, Tokenize(source));
  return Parser(std::move(tokens)).Run();
}

}  // namespace awq::text::jinja
