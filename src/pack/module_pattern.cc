#include "pack/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <new>

#include "base/error.h"

namespace awq::pack {
namespace {

constexpr std::size_t kMaxExpressionBytes = 1024;
// Names have some fifty characters, and an expression like .*mlp.* costs a step a character.
constexpr std::uint32_t kMaxSteps = 4000;
constexpr std::uint32_t kMaxHeapKib = 1024;

}  // namespace

ModulePattern ModulePattern::Named(std::string name) { return {Kind::kNamed, std::move(name)}; }

ModulePattern ModulePattern::Containing(std::string part) {
  return {Kind::kContaining, std::move(part)};
}

Result<ModulePattern> ModulePattern::Matching(std::string_view expression,
                                              const std::string& place) {
  ModulePattern pattern(Kind::kMatching, std::string(expression));
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = nullptr;
  if (expression.size() <= kMaxExpressionBytes) {
    code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                         PCRE2_ANCHORED | PCRE2_UTF, &error, &offset, nullptr);
  }
  if (code == nullptr) {
    return MakeError(ErrorCode::kCorrupt,
                     "{}: \"{}\" is no regular expression of at most {} bytes (wrong at byte {})",
                     place, expression.substr(0, 60), kMaxExpressionBytes, offset);
  }
  pattern.code_.reset(code,
                      [](const pcre2_code* c) { pcre2_code_free(const_cast<pcre2_code*>(c)); });
  return pattern;
}

Result<bool> ModulePattern::Matches(std::string_view module) const {
  if (kind_ == Kind::kNamed) return module == text_;
  if (kind_ == Kind::kContaining) return module.find(text_) != std::string_view::npos;
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  if (match == nullptr || context == nullptr) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), kMaxSteps);
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(module.data()),
                                module.size(), 0, 0, match.get(), context.get());
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return MakeError(ErrorCode::kUnsupported,
                   "the regular expression \"{}\" takes too many steps on the module {}", text_,
                   module);
}

}  // namespace awq::pack
