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
// A search starts with few steps and sees few bytes ahead; only one that needs more is charged to
// the text's budget. So an ordinary text costs nothing to count, and a hostile pattern is refused
// after time linear in the text. PCRE2 counts backtracking, not the bytes it runs over: hence both.
constexpr std::uint32_t kFirstSteps = 500;
constexpr std::uint32_t kStepsGrowth = 32;
constexpr std::size_t kFirstWindowBytes = 256;
constexpr std::size_t kWindowGrowth = 8;
constexpr std::uint64_t kBudgetSteps = 100'000'000;
constexpr std::uint64_t kBudgetStepsPerByte = 64;
// What an attempt that ran out of stack has cost.
constexpr std::uint64_t kStackSteps = kJitStackMaxBytes / 8;
constexpr std::uint32_t kHeapLimitKib = 16 << 10;

std::string Pcre2Message(int code) {
  PCRE2_UCHAR buffer[256] = {};
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

// `window` bytes on from `offset`, to the end of a character.
std::size_t WindowEnd(std::string_view text, std::size_t offset, std::size_t window) {
  if (window >= text.size() - offset) return text.size();
  std::size_t end = offset + window;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) ++end;
  return end;
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
}

void RegexScratch::SetMatchLimit(std::uint32_t limit) {
  if (limit == match_limit_) return;
  pcre2_set_match_limit(context_, limit);
  match_limit_ = limit;
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
  static_cast<void>(pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD));
  return regex;
}

bool RegexScratch::Charge(std::uint64_t steps) {
  steps_left_ -= std::min(steps_left_, steps);
  return steps_left_ > 0;
}

Result<std::optional<RegexMatch>> Regex::Find(std::string_view text, std::size_t offset,
                                              RegexScratch& scratch) const {
  std::uint32_t limit = kFirstSteps;
  std::size_t window = kFirstWindowBytes;
  std::uint32_t without_jit = 0;
  for (;;) {
    const std::size_t end = WindowEnd(text, offset, window);
    // Partial: whatever looks at the end of the window is not decided yet.
    const std::uint32_t partial = end < text.size() ? PCRE2_PARTIAL_HARD : 0U;
    scratch.SetMatchLimit(limit);
    const int found = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), end,
                                  offset, PCRE2_NO_UTF_CHECK | partial | without_jit,
                                  scratch.match_data_, scratch.context_);
    if (found >= 0) {
      const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(scratch.match_data_);
      return std::optional(RegexMatch{ends[0], ends[1]});
    }
    bool affordable = true;
    if (found == PCRE2_ERROR_PARTIAL || (found == PCRE2_ERROR_NOMATCH && partial != 0)) {
      window *= kWindowGrowth;
      affordable = scratch.Charge(end - offset);
    } else if (found == PCRE2_ERROR_NOMATCH) {
      return std::optional<RegexMatch>();
    } else if (found == PCRE2_ERROR_MATCHLIMIT) {
      affordable = scratch.Charge(limit);
      const std::uint64_t larger = std::uint64_t{limit} * kStepsGrowth;
      limit = static_cast<std::uint32_t>(std::min(larger, kBudgetSteps));
    } else if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
      without_jit = PCRE2_NO_JIT;  // the interpreter keeps no state per repeat
      affordable = scratch.Charge(kStackSteps);
    } else {
      affordable = false;
    }
    if (affordable) continue;
    return MakeError(ErrorCode::kUnsupported,
                     "{}: {} in a text of {} bytes, at byte {}; the "
                     "pattern costs too much on this text",
                     where_, Pcre2Message(found), text.size(), offset);
  }
}

}  // namespace awq::text
