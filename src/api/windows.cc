#include "api/windows.h"

#include <algorithm>

#include "api/runtime.h"
#include "base/error.h"
#include "calib/text_source.h"
#include "calib/tokens.h"

namespace awq::api {

Result<text::TokenWindows> ReadWindows(const model::ModelConfig& config,
                                       const text::Tokenizer& tokenizer,
                                       const WindowRequest& request, const Runtime& runtime) {
  AWQ_ASSIGN(const std::string text, calib::ReadWholeText(request.text));
  if (request.ctx < 2) {
    return MakeError(ErrorCode::kInvalidArgument, "windows of {} tokens: expected at least 2",
                     request.ctx);
  }
  text::WindowOptions cut;
  cut.ctx_tokens = std::min(request.ctx, request.most_tokens);
  if (request.ctx_was_given && cut.ctx_tokens < request.ctx) {
    Note(runtime, fmt::format("windows of {} tokens: the model takes no more", cut.ctx_tokens));
  }
  cut.bos = ToBosMode(request.bos);
  cut.bos_token_id = calib::BosToken(config, tokenizer);
  if (request.max_tokens) {
    cut.max_windows = std::max<std::size_t>(1, *request.max_tokens / cut.ctx_tokens);
  }
  auto windows = text::CutWindows(tokenizer, text, cut);
  if (windows) return windows;
  return MakeError(windows.error().code, "{}: {}", request.text, windows.error().message);
}

}  // namespace awq::api
