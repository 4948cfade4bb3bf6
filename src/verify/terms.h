// The parts of a verdict: one function a kind of rule. Each says nothing where the rule is kept.
#pragma once

#include <string>
#include <vector>

#include "verify/judge.h"

namespace awq::verify {

// Architecture, head_dim and keys of config.json, and that it says of the quantization.
std::vector<Finding> CheckModel(const Reader& reader, const ModelFacts& facts);
// Bits, groups, order and dtype.
std::vector<Finding> CheckNumbers(const Terms& terms, const ModelFacts& facts);
std::vector<Finding> CheckKeys(const Terms& terms, const ModelFacts& facts);
// Which linears are in 16 bits, and that the reader knows it.
Result<std::vector<Finding>> CheckNames(const Terms& terms, const ModelFacts& facts);
std::vector<Finding> CheckAlike(const Terms& terms, const ModelFacts& facts);

// What keeps the ranks from sharing the work; `ranks` is at least 1.
struct ShareProblem {
  Finding finding;
  bool padding_mends = false;  // a larger intermediate_size
};
std::vector<ShareProblem> CheckShares(const Reader& reader, const Terms& terms,
                                      const ModelFacts& facts, std::size_t ranks);

// How the model becomes one that the reader takes: another format, or quantized otherwise.
std::string SuggestFormat(const Reader& reader, const ModelFacts& facts);

}  // namespace awq::verify
