#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <new>

#include "base/error.h"
#include "text/regex_syntax.h"

namespace awq::text {
namespace {

constexpr std::size_t kJitStackStartBytes = 32 << 10;
constexpr std::size_t kJitStackMaxBytes = 4 << 20;
// A search starts with this many steps; only one that needs more is charged to the text's budget.
// So an ordinary text costs nothing to count, and a hostile pattern at most first steps per byte.
constexpr std::uint32_t kFirstSteps = 1000;
constexpr std::uint32_t kStepsGrowth = 32;
constexpr std::uint64_t kBudgetSteps = 100'000'000;
constexpr std::uint64_t kBudgetStepsPerByte = 64;
constexpr std::uint32_t kHeapLimitKib = 16 << 10;

std::string Pcre2Message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

bool IsLimit(int code) {
  return code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_DEPTHLIMIT ||
         code == PCRE2_ERROR_HEAPLIMIT || code == PCRE2_ERROR_JIT_STACKLIMIT;
}

}  // namespace

RegexScratch::RegexScratch()
    : match_data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)),
      jit_stack_(pcre2_jit_stack_create(kJitStackStartBytes, kJitStackMaxBytes, nullptr)) {
  if (match_data_ == nullptr || context_ == nullptr) throw std::bad_alloc();
  if (jit_stack_ != nullptr) pcre2_jit_stack_assign(context_, nullptr, jit_stack_);
  pcre2_set_heap_limit(context_, kHeapLimitKib);
}

RegexScratch::~RegexScratch() {
  pcre2_match_data_free(match_data_);
  pcre2_match_context_free(context_);
  pcre2_jit_stack_free(jit_stack_);
}

void RegexScratch::ResetBudget(std::size_t text_bytes) {
  steps_left_ = kBudgetSteps + kBudgetStepsPerByte * text_bytes;
  match_limit_ = kFirstSteps;
  pcre2_set_match_limit(context_, match_limit_);
}

Result<Regex> Regex::Compile(std::string_view oniguruma, const std::string& where) {
  AWQ_ASSIGN(const std::string pattern, TranslateOniguruma(oniguruma, where));
  std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), &pcre2_compile_context_free);
  if (context == nullptr) throw std::bad_alloc();
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get());
  if (code == nullptr) {
    return MakeError(ErrorCode::kCorrupt, "{}: the pattern does not compile: {}", where,
                     Pcre2Message(error));
  }
  Regex regex;
  regex.code_.reset(code, &pcre2_code_free);
  regex.where_ = where;
  // Without a compiler for this machine pcre2_match interprets, which is slower and equal.
  static_cast<void>(pcre2_jit_compile(code, PCRE2_JIT_COMPLETE));
  return regex;
}

Result<std::optional<RegexMatch>> Regex::Find(std::string_view text, std::size_t offset,
                                              RegexScratch& scratch) const {
  for (std::uint32_t limit = kFirstSteps;;) {
    if (scratch.match_limit_ != limit) {
      pcre2_set_match_limit(scratch.context_, limit);
      scratch.match_limit_ = limit;
    }
    const int found =
        pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), offset,
                    PCRE2_NO_UTF_CHECK, scratch.match_data_, scratch.context_);
    if (found >= 0) {
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.match_data_);
      return std::optional(RegexMatch{ends[0], ends[1]});
    }
    if (found == PCRE2_ERROR_NOMATCH) return std::optional<RegexMatch>();
    scratch.steps_left_ -= std::min<std::uint64_t>(scratch.steps_left_, limit);
    if (found != PCRE2_ERROR_MATCHLIMIT || scratch.steps_left_ == 0) {
      return MakeError(ErrorCode::kUnsupported, "{}: {} in a text of {} bytes, at byte {}{}",
                       where_, Pcre2Message(found), text.size(), offset,
                       IsLimit(found) ? "; this pattern costs too much on this text" : "");
    }
    const std::uint64_t larger = std::uint64_t{limit} * kStepsGrowth;
    limit = static_cast<std::uint32_t>(std::min(larger, scratch.steps_left_));
  }
}

}  // namespace awq::text
