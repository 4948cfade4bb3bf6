// Cutting a text into windows of tokens, for calibration and for perplexity.
#pragma once

#include <awq/result.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "tensor/tensor.h"
#include "text/tokenizer.h"

namespace awq::text {

enum class BosMode : std::uint8_t {
  kAuto,    // the text is tokenized once with its special tokens, then cut
  kWindow,  // no special tokens; each window is BOS and the next ctx_tokens - 1 tokens
  kNever,   // no special tokens at all
};

struct WindowOptions {
  std::size_t ctx_tokens = 2048;  // of one window, its BOS included; at least 2
  BosMode bos = BosMode::kAuto;
  std::optional<std::int32_t> bos_token_id;  // for kWindow; none: the tokenizer's
  std::string_view ctx_flag = "--ctx";       // what sets ctx_tokens, for messages
  std::size_t max_windows = std::numeric_limits<std::size_t>::max();
};

struct TokenWindows {
  Matrix<std::int32_t> ids;     // [windows, ctx_tokens]
  std::size_t text_tokens = 0;  // of the whole text; what does not fill a window is dropped
};

// kInvalidArgument: a text too short (says how many tokens it has), kWindow without a known BOS,
// a context of fewer than 2 tokens, no windows asked for.
Result<TokenWindows> CutWindows(const Tokenizer& tokenizer, std::string_view text,
                                const WindowOptions& options);

}  // namespace awq::text
