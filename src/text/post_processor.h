// The "post_processor" of a tokenizer file, as far as it concerns the ids of one text: what stands
// before and after them.
#pragma once

#include <awq/result.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "text/json_node.h"

namespace awq::text {

struct PostProcessor {
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;

  // The component under "post_processor". `is_known` says whether an id belongs to a token.
  // Unknown types, and more than one component that adds tokens, are kUnsupported.
  static Result<PostProcessor> FromJson(const JsonNode& node,
                                        const std::function<bool(std::int32_t)>& is_known);
};

}  // namespace awq::text
