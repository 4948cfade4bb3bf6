#include "pack/module_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <array>
#include <new>

#include "base/error.h"
#include "pack/config_fields.h"

namespace awq::pack {
namespace {

constexpr std::size_t kMaxExpressionBytes = 1024;
// Names have some fifty characters, and an expression like .*mlp.* costs a step a character.
constexpr std::uint32_t kMaxSteps = 4000;
constexpr std::uint32_t kMaxHeapKib = 1024;
// PCRE2 does not say how many steps it took: a match that needs more than one limit is begun anew
// with the next.
constexpr std::array<std::uint32_t, 3> kStepLimits = {64, 512, kMaxSteps};
// A step copies a frame, which grows with the groups, and may walk through the expression. A unit
// of work is some 10 ns.
constexpr std::size_t kFrameBytesAWork = 256;
constexpr std::size_t kExpressionBytesAWork = 32;
constexpr std::uint64_t kMaxWork = std::uint64_t{1} << 28;

}  // namespace

ModulePattern ModulePattern::Named(std::string name) { return {Kind::kNamed, std::move(name)}; }

ModulePattern ModulePattern::Containing(std::string part) {
  return {Kind::kContaining, std::move(part)};
}

Status PatternBudget::AddNames(std::size_t count, const std::string& place) {
  names_ += count;
  if (names_ <= kMaxPatterns) return {};
  return MakeError(ErrorCode::kUnsupported,
                   "{}: the lists of modules have more than {} names together", place,
                   kMaxPatterns);
}

Result<ModulePattern> PatternBudget::Matching(std::string_view expression,
                                              const std::string& place) {
  if (++expressions_ > kMaxExpressions) {
    return MakeError(ErrorCode::kUnsupported,
                     "{}: the lists of modules have more than {} regular expressions together",
                     place, kMaxExpressions);
  }
  ModulePattern pattern(ModulePattern::Kind::kMatching, std::string(expression));
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
  std::size_t frame_bytes = 0;
  pcre2_pattern_info(code, PCRE2_INFO_FRAMESIZE, &frame_bytes);
  pattern.step_work_ =
      1 + frame_bytes / kFrameBytesAWork + expression.size() / kExpressionBytesAWork;
  pattern.work_done_ = work_done_;
  return pattern;
}

Result<bool> ModulePattern::Matches(std::string_view module) const {
  if (kind_ == Kind::kNamed) return module == text_;
  if (kind_ == Kind::kContaining) return module.find(text_) != std::string_view::npos;
  return MatchesExpression(module);
}

Result<bool> ModulePattern::MatchesExpression(std::string_view module) const {
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> match(
      pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  const std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)> context(
      pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  if (match == nullptr || context == nullptr) throw std::bad_alloc();
  pcre2_set_heap_limit(context.get(), kMaxHeapKib);
  int found = PCRE2_ERROR_MATCHLIMIT;
  for (const std::uint32_t steps : kStepLimits) {
    if (found != PCRE2_ERROR_MATCHLIMIT) break;
    const std::uint64_t work = steps * step_work_;
    if (work_done_->fetch_add(work, std::memory_order_relaxed) + work > kMaxWork) {
      return MakeError(ErrorCode::kUnsupported,
                       "the regular expressions of the lists of modules take too many steps "
                       "together, found at \"{}\" on the module {}",
                       text_, module);
    }
    pcre2_set_match_limit(context.get(), steps);
    found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(module.data()), module.size(), 0,
                        0, match.get(), context.get());
  }
  if (found >= 0) return true;
  if (found == PCRE2_ERROR_NOMATCH) return false;
  return MakeError(ErrorCode::kUnsupported,
                   "the regular expression \"{}\" takes too many steps on the module {}", text_,
                   module);
}

}  // namespace awq::pack
