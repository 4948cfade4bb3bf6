// A reader's terms against a model's facts. Pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "verify/facts.h"
#include "verify/readers.h"

namespace awq::verify {

inline constexpr std::size_t kRankCounts[] = {1, 2, 4, 8, 16};

struct Finding {
  std::string where;  // a key of config.json, or a linear
  std::string expects;
  std::string found;
  std::string mend;                     // empty where another finding cannot be mended
  std::vector<std::size_t> ranks = {};  // that it rules out; empty: the model itself
};

struct Verdict {
  const Reader* reader = nullptr;
  std::vector<std::size_t> ranks;  // of those asked for; empty where the model is not taken
  std::string remark;
  std::vector<Finding> findings;

  bool takes() const { return !ranks.empty(); }
};

// `ranks` in ascending order, each a multiple of those before. Error: a pattern of config.json that
// costs too much.
Result<Verdict> Judge(const Reader& reader, const ModelFacts& facts,
                      std::span<const std::size_t> ranks = kRankCounts);

}  // namespace awq::verify
