// tokenizer.ggml.token_type.
#pragma once

#include <cstdint>

namespace awq::text {

enum class GgufTokenType : std::int32_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

}  // namespace awq::text
