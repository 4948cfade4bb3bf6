#include "text/windows.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace awq::text {
namespace {

Status Check(const Tokenizer& tokenizer, const WindowOptions& options) {
  if (options.context_tokens < 2) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "windows of {} tokens; expected at least 2, one to see and one to predict",
                     options.context_tokens);
  }
  if (options.max_windows == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "at most 0 windows were asked for");
  }
  if (options.bos == BosMode::kWindow && !tokenizer.bos_id()) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "every window was to begin with BOS, but neither tokenizer_config.json nor the "
        "post_processor of tokenizer.json names one; choose another BOS mode");
  }
  return {};
}

}  // namespace

Result<TokenWindows> CutWindows(const Tokenizer& tokenizer, std::string_view text,
                                const WindowOptions& options) {
  AWQ_TRY(Check(tokenizer, options));
  std::optional<std::int32_t> bos;
  if (options.bos == BosMode::kWindow) bos = tokenizer.bos_id();
  AWQ_ASSIGN(const auto tokens, tokenizer.Encode(text, options.bos == BosMode::kAuto));

  TokenWindows windows;
  windows.context_tokens = options.context_tokens;
  const std::size_t step = options.context_tokens - (bos ? 1 : 0);
  windows.count = std::min(tokens.size() / step, options.max_windows);
  std::size_t taken = step;
  if (windows.count == 0) {
    if (!options.accept_short || tokens.empty()) {
      return MakeError(ErrorCode::kInvalidArgument,
                       "the text has {} tokens; one window of {} needs {}; give a longer text or "
                       "shorter windows",
                       tokens.size(), options.context_tokens, step);
    }
    windows.count = 1;
    taken = tokens.size();
    windows.context_tokens = taken + (bos ? 1 : 0);
  }
  windows.ids.reserve(windows.count * windows.context_tokens);
  for (std::size_t i = 0; i < windows.count; ++i) {
    if (bos) windows.ids.push_back(*bos);
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(i * step);
    windows.ids.insert(windows.ids.end(), first, first + static_cast<std::ptrdiff_t>(taken));
  }
  return windows;
}

}  // namespace awq::text
