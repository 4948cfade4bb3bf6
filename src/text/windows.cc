#include "text/windows.h"

#include <algorithm>
#include <vector>

#include "base/error.h"

namespace awq::text {
namespace {

Status Check(const WindowOptions& options, std::optional<std::int32_t> bos) {
  if (options.ctx_tokens < 2) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "windows of {} tokens; expected at least 2, one to see and one to predict",
                     options.ctx_tokens);
  }
  if (options.max_windows == 0) {
    return MakeError(ErrorCode::kInvalidArgument, "at most 0 windows were asked for");
  }
  if (options.bos == BosMode::kWindow && !bos) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "every window was to begin with BOS, but none of config.json, "
                     "tokenizer_config.json and tokenizer.json's post_processor names one; use "
                     "--bos auto or never");
  }
  return {};
}

}  // namespace

Result<TokenWindows> CutWindows(const Tokenizer& tokenizer, std::string_view text,
                                const WindowOptions& options) {
  const auto bos = options.bos_token_id ? options.bos_token_id : tokenizer.bos_id();
  AWQ_TRY(Check(options, bos));
  AWQ_ASSIGN(const std::vector<std::int32_t> tokens,
             tokenizer.Encode(text, options.bos == BosMode::kAuto));
  const std::size_t given = options.bos == BosMode::kWindow ? 1 : 0;
  const std::size_t step = options.ctx_tokens - given;
  const std::size_t count = std::min(tokens.size() / step, options.max_windows);
  if (count == 0) {
    return MakeError(
        ErrorCode::kInvalidArgument,
        "the text has {} of the {} tokens that one window needs; give a longer text or a "
        "smaller {}",
        tokens.size(), step, options.ctx_flag);
  }
  TokenWindows windows{Matrix<std::int32_t>(count, options.ctx_tokens), tokens.size()};
  for (std::size_t i = 0; i < count; ++i) {
    std::int32_t* row = windows.ids.row(i);
    if (given == 1) row[0] = *bos;
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(i * step), step, row + given);
  }
  return windows;
}

}  // namespace awq::text
