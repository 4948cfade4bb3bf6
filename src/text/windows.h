// Cutting a text into windows of tokens, for calibration and for perplexity.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace awq::text {

enum class BosMode : std::uint8_t {
  kAuto,    // the text is tokenized once with its special tokens, then cut
  kWindow,  // no special tokens; each window is BOS and the next context - 1 tokens
  kNever,   // no special tokens at all
};

struct WindowOptions {
  std::size_t context_tokens = 2048;  // of one window, its BOS included; at least 2
  BosMode bos = BosMode::kAuto;
  std::size_t max_windows = std::numeric_limits<std::size_t>::max();
  // A text too short for one window gives one short window instead of an error, if it has at least
  // one token of its own.
  bool accept_short = false;
};

// `count` windows of `context_tokens` ids each, row by row; what was left of the text is dropped.
struct TokenWindows {
  std::size_t context_tokens = 0;
  std::size_t count = 0;
  std::vector<std::int32_t> ids;

  std::span<const std::int32_t> window(std::size_t i) const {
    return std::span(ids).subspan(i * context_tokens, context_tokens);
  }
};

// kInvalidArgument: a text too short (says how many tokens it has), kWindow without a known BOS,
// a context of fewer than 2 tokens, no windows asked for.
Result<TokenWindows> CutWindows(const Tokenizer& tokenizer, std::string_view text,
                                const WindowOptions& options);

}  // namespace awq::text
