// Ends a text where one of some strings begins.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace awq::generate {

// Text comes in pieces; what could still become one of the strings is held back.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> strings);  // empty ones count for nothing

  // What of the text so far may be shown and was not yet. After a match: nothing more.
  std::string Feed(std::string_view piece);
  // At the end of the text: what was held back.
  std::string Flush();
  bool matched() const { return matched_; }

 private:
  std::vector<std::string> strings_;
  std::string held_;
  bool matched_ = false;
};

}  // namespace awq::generate
