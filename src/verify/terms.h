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
std::vector<Finding> CheckShares(const Reader& reader, const Terms& terms, const ModelFacts& facts,
                                 std::size_t ranks);

// A command after which the reader takes the model.
struct Remedy {
  std::string command;  // "awq quantize ORIGINAL ..."; empty: there is none
  bool padded = false;  // with --tp-pad and the number of ranks besides

  std::string Text(std::size_t ranks) const;
  bool operator==(const Remedy&) const = default;
};

// How the model becomes one that the reader takes on so many ranks: another format, or the original
// quantized otherwise. By the same rules as the verdict.
Remedy Suggest(const Reader& reader, const ModelFacts& facts, std::size_t ranks);

}  // namespace awq::verify
