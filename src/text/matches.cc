#include "text/matches.h"

namespace awq::text {

Result<Pattern> Pattern::FromJson(const JsonNode& node) {
  Pattern pattern;
  if (const auto literal = node.Find("String")) {
    AWQ_ASSIGN(pattern.literal_, literal->String());
    return pattern;
  }
  const auto regex = node.Find("Regex");
  if (!regex) return node.Wrong(R"({"String": text} or {"Regex": pattern})");
  AWQ_ASSIGN(const std::string source, regex->String());
  AWQ_ASSIGN(pattern.regex_, Regex::Compile(source, regex->path()));
  return pattern;
}

Result<SplitBehavior> SplitBehaviorFromJson(const JsonNode& node) {
  struct Row {
    std::string_view name;
    SplitBehavior behavior;
  };
  constexpr Row kRows[] = {
      {"Removed", SplitBehavior::kRemoved},
      {"Isolated", SplitBehavior::kIsolated},
      {"MergedWithPrevious", SplitBehavior::kMergedWithPrevious},
      {"MergedWithNext", SplitBehavior::kMergedWithNext},
      {"Contiguous", SplitBehavior::kContiguous},
  };
  AWQ_ASSIGN(const std::string name, node.String());
  for (const Row& row : kRows) {
    if (row.name == name) return row.behavior;
  }
  return node.Wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

}  // namespace awq::text
