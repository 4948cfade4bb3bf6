#include <algorithm>
#include <array>

#include "text/jinja/filter_tables.h"

namespace awq::text::jinja {

const Function* FindFilter(std::string_view name) {
  for (const auto table : {TextFilters(), NumberFilters(), SequenceFilters(), ChoosingFilters()}) {
    const auto row = std::ranges::find(table, name, &Function::name);
    if (row != table.end()) return &*row;
  }
  return nullptr;
}

bool IsKnownFilter(std::string_view name) {
  static constexpr std::array<std::string_view, 15> kOthers = {
      "attr",      "batch",    "filesizeformat", "groupby",     "pprint",
      "random",    "slice",    "striptags",      "urlize",      "urlencode",
      "wordcount", "wordwrap", "xmlattr",        "forceescape", "center"};
  return std::ranges::find(kOthers, name) != kOthers.end();
}

}  // namespace awq::text::jinja
