// Which files of a repository a model needs.
#pragma once

#include <awq/result.h>

#include <string>
#include <vector>

#include "hub/answer.h"

namespace awq::hub {

// Configuration, tokenizer, chat template and licence: what the listing has of them.
std::vector<std::string> SmallFiles(const Listing& listing);

// Those of them with a fixed name that the listing has not.
std::vector<std::string> AbsentSmallFiles(const Listing& listing);

bool Contains(const Listing& listing, const std::string& file);

inline constexpr const char* kSingleWeights = "model.safetensors";
inline constexpr const char* kIndex = "model.safetensors.index.json";

// kUnsupported, where there is neither of the two; says what is there instead. `name` is the
// model's.
Status CheckWeights(const Listing& listing, const std::string& name);

}  // namespace awq::hub
