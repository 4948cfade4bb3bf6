#include "generate/stop_strings.h"

#include <algorithm>
#include <utility>

namespace awq::generate {

StopStrings::StopStrings(std::vector<std::string> strings) : strings_(std::move(strings)) {
  std::erase(strings_, "");
}

std::string StopStrings::Feed(std::string_view piece) {
  if (matched_) return "";
  held_ += piece;
  std::size_t shown = held_.size();
  for (const std::string& each : strings_) {
    const std::size_t found = held_.find(each);
    if (found != std::string::npos) {
      matched_ = true;
      shown = std::min(shown, found);
    }
  }
  // A tail that one of them begins with.
  for (const std::string& each : strings_) {
    const std::size_t longest = std::min(each.size() - 1, held_.size());
    for (std::size_t length = longest; length > 0 && !matched_; --length) {
      if (!each.starts_with(std::string_view(held_).substr(held_.size() - length))) continue;
      shown = std::min(shown, held_.size() - length);
      break;
    }
  }
  std::string text = held_.substr(0, shown);
  held_ = matched_ ? "" : held_.substr(shown);
  return text;
}

std::string StopStrings::Flush() { return std::exchange(held_, ""); }

}  // namespace awq::generate
