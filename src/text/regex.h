// A compiled pattern of a tokenizer file, and the search for it, bounded in steps and memory.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace awq::text {

struct RegexMatch {
  std::size_t start = 0;  // bytes
  std::size_t end = 0;
};

// What one thread needs to search; holds how many steps the current text may still cost.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

  void ResetBudget(std::size_t text_bytes);

 private:
  friend class Regex;
  bool Charge(std::uint64_t steps);  // false when the budget is spent
  void SetMatchLimit(std::uint32_t limit);

  pcre2_real_match_data_8* match_data_;
  pcre2_real_match_context_8* context_;
  pcre2_real_jit_stack_8* jit_stack_;
  std::uint64_t steps_left_ = 0;
  std::uint32_t match_limit_ = 0;
};

class Regex {
 public:
  // An Oniguruma pattern, or text that stands for itself. `where` stands in error messages.
  static Result<Regex> Compile(std::string_view oniguruma, const std::string& where);

  // The first match at or after `offset`. Precondition: `text` is valid UTF-8. A search that costs
  // too many steps or too much memory is kUnsupported.
  Result<std::optional<RegexMatch>> Find(std::string_view text, std::size_t offset,
                                         RegexScratch& scratch) const;

 private:
  std::shared_ptr<const pcre2_real_code_8> code_;
  std::string where_;
};

}  // namespace awq::text
