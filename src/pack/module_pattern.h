// Which modules a list in config.json means.
#pragma once

#include <awq/result.h>

#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace awq::pack {

class ModulePattern {
 public:
  static ModulePattern Named(std::string name);       // exactly this module
  static ModulePattern Containing(std::string part);  // as AutoAWQ's modules_to_not_convert
  // A regular expression that must match from the name's start, as Python's re.match has it.
  // Bounded in steps and memory. `place` stands in errors.
  static Result<ModulePattern> Matching(std::string_view expression, const std::string& place);

  Result<bool> Matches(std::string_view module) const;

 private:
  enum class Kind : std::uint8_t { kNamed, kContaining, kMatching };
  ModulePattern(Kind kind, std::string text) : kind_(kind), text_(std::move(text)) {}

  Kind kind_;
  std::string text_;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

}  // namespace awq::pack
