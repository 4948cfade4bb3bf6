// Which modules a list in config.json means.
#pragma once

#include <awq/result.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace awq::pack {

class ModulePattern {
 public:
  static ModulePattern Named(std::string name);       // exactly this module
  static ModulePattern Containing(std::string part);  // as AutoAWQ's modules_to_not_convert

  // Error: an expression that takes too many steps, or all of its budget have.
  Result<bool> Matches(std::string_view module) const;

 private:
  friend class PatternBudget;
  enum class Kind : std::uint8_t { kNamed, kContaining, kMatching };
  ModulePattern(Kind kind, std::string text) : kind_(kind), text_(std::move(text)) {}
  Result<bool> MatchesExpression(std::string_view module) const;

  Kind kind_;
  std::string text_;
  std::shared_ptr<const pcre2_real_code_8> code_;
  std::size_t step_work_ = 1;                              // the most that a step of it costs
  std::shared_ptr<std::atomic<std::uint64_t>> work_done_;  // of the whole budget
};

// Makes the expressions of all lists of one configuration: bounds how many they are, and what
// matching them costs together.
class PatternBudget {
 public:
  // A regular expression that must match from the name's start, as Python's re.match has it.
  // Bounded in steps and memory. `place` stands in errors.
  Result<ModulePattern> Matching(std::string_view expression, const std::string& place);
  // Counts names of a list, expressions among them.
  Status AddNames(std::size_t count, const std::string& place);

 private:
  std::size_t names_ = 0;
  std::size_t expressions_ = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> work_done_ =
      std::make_shared<std::atomic<std::uint64_t>>(0);
};

}  // namespace awq::pack
